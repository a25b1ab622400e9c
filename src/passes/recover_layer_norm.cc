// d = x - mean(x); d / sqrt(mean(d^2) + eps) [* scale] [+ bias] over the last axis -> layer_norm(x, scale,
// bias) The root may stand in the quotient's expression or in a node of its own.
#include <optional>

#include "passes/pass.h"

namespace headrace::passes {
namespace {

class Match {
 public:
  Match(const Graph& graph, const Node& node)
      : graph_(graph), node_(node), code_(std::get<Pointwise>(node.op).expr.code) {}

  bool run() {
    std::int32_t at = static_cast<std::int32_t>(code_.size()) - 1;
    if (const auto [rest, value] = with_constant(at, PwOp::add); rest >= 0) {
      bias = value;
      at = rest;
    }
    if (const auto [rest, value] = with_constant(at, PwOp::mul); rest >= 0) {
      scale = value;
      at = rest;
    }
    if (instr(at).op != PwOp::div) return false;
    const ValueId difference = loaded(instr(at).a);
    const ValueId variance = under_root(instr(at).b);
    if (difference == kNoValue || variance == kNoValue) return false;
    return is_mean_of_square(variance, difference) && is_centred(difference);
  }
  ValueId x = kNoValue, scale = kNoValue, bias = kNoValue;
  double epsilon = 0;

 private:
  const PwInstr& instr(std::int32_t i) const { return code_[static_cast<std::size_t>(i)]; }
  ValueId loaded(std::int32_t i) const {
    return i >= 0 && instr(i).op == PwOp::load ? node_.inputs[static_cast<std::size_t>(instr(i).a)]
                                               : kNoValue;
  }
  /// Instruction i is op(rest, constant tensor over the last axis).
  std::pair<std::int32_t, ValueId> with_constant(std::int32_t i, PwOp op) const {
    if (instr(i).op != op) return {-1, kNoValue};
    for (const auto& [rest, c] : {std::pair{instr(i).a, instr(i).b}, std::pair{instr(i).b, instr(i).a}}) {
      const ValueId value = loaded(c);
      if (value == kNoValue || !graph_.value(value).constant) continue;
      const Shape& shape = graph_.value(value).constant->shape();
      if (shape.size() == 1 && Dim(shape[0]) == graph_.value(node_.outputs[0]).type.shape.back())
        return {rest, value};
    }
    return {-1, kNoValue};
  }
  /// v of sqrt(v + eps), which is instruction i or the result of a node of its own (it is smaller than the
  /// quotient).
  ValueId under_root(std::int32_t i) {
    if (const ValueId value = loaded(i); value != kNoValue) {
      const Node* node = producer(value);
      if (!node || !std::holds_alternative<Pointwise>(node->op)) return kNoValue;
      Match root(graph_, *node);
      const auto last = static_cast<std::int32_t>(root.code_.size()) - 1;
      if (root.instr(last).op != PwOp::sqrt) return kNoValue;
      const ValueId v = root.under_root(last);
      epsilon = root.epsilon;
      return v;
    }
    if (instr(i).op != PwOp::sqrt || instr(instr(i).a).op != PwOp::add) return kNoValue;
    const PwInstr& sum = instr(instr(i).a);
    const std::int32_t eps = instr(sum.b).op == PwOp::constant ? sum.b : sum.a;
    if (instr(eps).op != PwOp::constant) return kNoValue;
    epsilon = instr(eps).alpha;
    return loaded(eps == sum.b ? sum.a : sum.b);
  }
  const Node* producer(ValueId v) const {
    const NodeId id = graph_.value(v).producer;
    return id == kNoNode ? nullptr : &graph_.node(id);
  }
  const Node* mean_over_last(ValueId v) const {
    const Node* node = producer(v);
    const auto* reduce = node ? std::get_if<Reduce>(&node->op) : nullptr;
    if (!reduce || reduce->kind != ReduceKind::mean || !reduce->keep_dims || reduce->axes.size() != 1)
      return nullptr;
    return reduce->axes[0] + 1 == static_cast<std::int64_t>(graph_.value(v).type.shape.size()) ? node
                                                                                               : nullptr;
  }
  bool is_mean_of_square(ValueId variance, ValueId difference) const {
    const Node* mean = mean_over_last(variance);
    const Node* square = mean ? producer(mean->inputs[0]) : nullptr;
    const auto* p = square ? std::get_if<Pointwise>(&square->op) : nullptr;
    if (!p || square->inputs.empty() || square->inputs[0] != difference || square->inputs.size() != 1)
      return false;
    const std::vector<PwInstr>& c = p->expr.code;
    const PwInstr& last = c.back();
    if (last.op == PwOp::mul) return c.size() == 2 && last.a == 0 && last.b == 0;
    return last.op == PwOp::pow && c.size() == 3 && c[static_cast<std::size_t>(last.a)].op == PwOp::load &&
           c[static_cast<std::size_t>(last.b)].op == PwOp::constant &&
           c[static_cast<std::size_t>(last.b)].alpha == 2;
  }
  bool is_centred(ValueId difference) {
    const Node* node = producer(difference);
    const auto* p = node ? std::get_if<Pointwise>(&node->op) : nullptr;
    if (!p || p->expr.code.size() != 3 || p->expr.code[2].op != PwOp::sub || node->inputs.size() != 2)
      return false;
    const PwInstr& sub = p->expr.code[2];
    if (p->expr.code[0].op != PwOp::load || p->expr.code[1].op != PwOp::load) return false;
    x = node->inputs[static_cast<std::size_t>(p->expr.code[static_cast<std::size_t>(sub.a)].a)];
    const Node* mean = mean_over_last(
        node->inputs[static_cast<std::size_t>(p->expr.code[static_cast<std::size_t>(sub.b)].a)]);
    return mean && mean->inputs[0] == x;
  }
  const Graph& graph_;
  const Node& node_;
  const std::vector<PwInstr>& code_;
};

}  // namespace

bool recover_layer_norm(Graph& graph, const PassContext&) {
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node node = graph.node(id);
    if (!std::holds_alternative<Pointwise>(node.op)) continue;
    Match match(graph, node);
    if (!match.run() || (match.scale == kNoValue && match.bias != kNoValue)) continue;
    const auto axis = static_cast<std::int64_t>(graph.value(match.x).type.shape.size()) - 1;
    std::vector<ValueId> inputs = {match.x};
    if (match.scale != kNoValue) inputs.push_back(match.scale);
    if (match.bias != kNoValue) inputs.push_back(match.bias);
    const LayerNorm norm{axis, match.epsilon, match.scale != kNoValue, match.bias != kNoValue, false};
    graph.replace_uses(node.outputs[0], graph.add1(norm, inputs, node.origins, id));
    graph.erase(id);
    changed = true;
  }
  return changed;
}

}  // namespace headrace::passes
