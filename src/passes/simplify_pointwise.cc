// Inside one expression: one-element constants become immediates, equal instructions become one, and
// activations that exporters spell out get their name back:
//   mul(x, sigmoid(x)) -> silu(x)                          mul(x, hard_sigmoid(x, 1/6, 0.5)) -> hard_swish(x)
//   div(mul(x, clip(add(x, 3), 0, 6)), 6) -> hard_swish(x) (also with mul by 1/6, and the factors in any
//   order) div(clip(add(x, 3), 0, 6), 6) -> hard_sigmoid(x, 1/6, 0.5) mul(mul(x, add(erf(div(x, sqrt 2)),
//   1)), 0.5) -> gelu_erf(x)      mul(x, tanh(softplus(x))) -> mish(x) mul(mul(x, 0.5), add(tanh(sqrt(2/pi) *
//   (x + 0.044715 x^3)), 1)) -> gelu_tanh(x) clip(x, 0, inf), max(x, 0) -> relu(x)                  mul(x,
//   1), add(x, 0), div(x, 1), sub(x, 0) -> x
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "passes/pass.h"

namespace headrace::passes {
namespace {

class Rebuilt {
 public:
  /// Appends `in` (operands already renumbered), or gives an equal instruction or its simplification.
  std::int32_t push(PwInstr in) {
    if (const std::int32_t same = simplify(in); same >= 0) return same;
    const auto it = std::find(code.begin(), code.end(), in);
    if (it != code.end()) return static_cast<std::int32_t>(it - code.begin());
    code.push_back(in);
    return static_cast<std::int32_t>(code.size()) - 1;
  }
  std::vector<PwInstr> code;

 private:
  const PwInstr& at(std::int32_t i) const { return code[static_cast<std::size_t>(i)]; }
  bool is(std::int32_t i, PwOp op) const { return i >= 0 && at(i).op == op; }
  bool constant(std::int32_t i, double value, double tolerance = 1e-6) const {
    return is(i, PwOp::constant) && is_float(at(i).dtype) &&
           std::abs(at(i).alpha - value) <= tolerance * std::max(1.0, std::abs(value));
  }
  /// Instruction i is op(p, q) with one of them satisfying f; returns the other one, else -1.
  template <class F>
  std::int32_t other(std::int32_t i, PwOp op, F f) const {
    if (!is(i, op)) return -1;
    if (f(at(i).b)) return at(i).a;
    if (f(at(i).a)) return at(i).b;
    return -1;
  }
  std::int32_t unary(PwOp op, const PwInstr& like, std::int32_t a, double alpha = 0, double beta = 0) {
    return push({.op = op, .dtype = like.dtype, .a = a, .alpha = alpha, .beta = beta});
  }
  /// clip(x + 3, 0, 6) -> x
  std::int32_t shifted_clip(std::int32_t i) const {
    if (!is(i, PwOp::clip) || at(i).alpha != 0 || at(i).beta != 6) return -1;
    return other(at(i).a, PwOp::add, [&](std::int32_t c) { return constant(c, 3); });
  }
  /// div(i, 6) or mul(i, 1/6) -> i
  std::int32_t over_six(const PwInstr& in) const {
    if (in.op == PwOp::div && constant(in.b, 6)) return in.a;
    if (in.op != PwOp::mul) return -1;
    if (constant(in.b, 1.0 / 6)) return in.a;
    return constant(in.a, 1.0 / 6) ? in.b : -1;
  }
  std::int32_t simplify(const PwInstr& in) {
    if (in.op == PwOp::cast && at(in.a).dtype == in.dtype) return in.a;
    if (!is_float(in.dtype)) return -1;
    if ((in.op == PwOp::mul || in.op == PwOp::div) && constant(in.b, 1, 0)) return in.a;
    if ((in.op == PwOp::add || in.op == PwOp::sub) && constant(in.b, 0, 0)) return in.a;
    if (in.op == PwOp::mul && constant(in.a, 1, 0)) return in.b;
    if (in.op == PwOp::add && constant(in.a, 0, 0)) return in.b;
    if (in.op == PwOp::clip && in.alpha == 0 && in.beta >= std::numeric_limits<float>::max())
      return unary(PwOp::relu, in, in.a);
    if (in.op == PwOp::max && constant(in.b, 0, 0)) return unary(PwOp::relu, in, in.a);
    if (const std::int32_t i = over_six(in); i >= 0) {
      if (const std::int32_t x = shifted_clip(i); x >= 0)
        return unary(PwOp::hard_sigmoid, in, x, 1.0 / 6, 0.5);
      if (is(i, PwOp::mul)) {
        const std::int32_t a = at(i).a, b = at(i).b;
        if (shifted_clip(b) == a || shifted_clip(a) == b)
          return unary(PwOp::hard_swish, in, shifted_clip(b) == a ? a : b);
      }
    }
    if (in.op != PwOp::mul) return -1;
    for (const auto& [x, f] : {std::pair{in.a, in.b}, std::pair{in.b, in.a}}) {
      if (is(f, PwOp::sigmoid) && at(f).a == x) return unary(PwOp::silu, in, x, 1.0);
      if (is(f, PwOp::hard_sigmoid) && at(f).a == x && std::abs(at(f).alpha - 1.0 / 6) < 1e-6 &&
          at(f).beta == 0.5)
        return unary(PwOp::hard_swish, in, x);
      if (is(f, PwOp::tanh) && is(at(f).a, PwOp::softplus) && at(at(f).a).a == x)
        return unary(PwOp::mish, in, x);
    }
    const std::int32_t x = gelu(in, PwOp::gelu_erf);
    return x >= 0 ? x : gelu(in, PwOp::gelu_tanh);
  }
  /// Argument of erf(x / sqrt 2) or erf(x * 1/sqrt 2), plus one.
  std::int32_t one_plus_erf(std::int32_t i) const {
    const std::int32_t e = other(i, PwOp::add, [&](std::int32_t c) { return constant(c, 1); });
    if (!is(e, PwOp::erf)) return -1;
    const std::int32_t arg = at(e).a;
    if (is(arg, PwOp::div) && constant(at(arg).b, std::sqrt(2.0), 1e-4)) return at(arg).a;
    return other(arg, PwOp::mul, [&](std::int32_t c) { return constant(c, std::sqrt(0.5), 1e-4); });
  }
  /// Argument of tanh(sqrt(2/pi) * (x + 0.044715 * x^3)), plus one.
  std::int32_t one_plus_tanh(std::int32_t i) const {
    const std::int32_t t = other(i, PwOp::add, [&](std::int32_t c) { return constant(c, 1); });
    if (!is(t, PwOp::tanh)) return -1;
    const double factor = std::sqrt(2 / std::acos(-1.0));
    const std::int32_t sum =
        other(at(t).a, PwOp::mul, [&](std::int32_t c) { return constant(c, factor, 1e-4); });
    if (!is(sum, PwOp::add)) return -1;
    for (const auto& [x, term] : {std::pair{at(sum).a, at(sum).b}, std::pair{at(sum).b, at(sum).a}}) {
      const std::int32_t cube =
          other(term, PwOp::mul, [&](std::int32_t c) { return constant(c, 0.044715, 1e-5); });
      if (is(cube, PwOp::pow) && at(cube).a == x && constant(at(cube).b, 3)) return x;
      const auto square = [&](std::int32_t s) { return is(s, PwOp::mul) && at(s).a == x && at(s).b == x; };
      if (other(cube, PwOp::mul, square) == x) return x;
    }
    return -1;
  }
  std::int32_t gelu(const PwInstr& in, PwOp form) {
    const auto argument = [&](std::int32_t i) {
      return form == PwOp::gelu_erf ? one_plus_erf(i) : one_plus_tanh(i);
    };
    // x, 0.5 and (1 + erf) multiplied in any grouping: collect the three factors.
    for (const auto& [pair, single] : {std::pair{in.a, in.b}, std::pair{in.b, in.a}}) {
      if (!is(pair, PwOp::mul)) continue;
      std::int32_t factors[3] = {at(pair).a, at(pair).b, single};
      for (std::int32_t half : factors)
        for (std::int32_t erf : factors)
          for (std::int32_t x : factors)
            if (constant(half, 0.5) && x != half && erf != half && argument(erf) == x && x >= 0)
              return unary(form, in, x);
    }
    return -1;
  }
};

/// Drops instructions that the last one does not need.
void drop_unused(std::vector<PwInstr>& code) {
  std::vector<bool> used(code.size(), false);
  used.back() = true;
  for (std::size_t i = code.size(); i-- > 0;)
    if (used[i] && code[i].op != PwOp::load)
      for (std::int32_t o : {code[i].a, code[i].b, code[i].c})
        if (o >= 0) used[static_cast<std::size_t>(o)] = true;
  std::vector<std::int32_t> index(code.size(), -1);
  std::vector<PwInstr> kept;
  for (std::size_t i = 0; i < code.size(); ++i) {
    if (!used[i]) continue;
    PwInstr in = code[i];
    if (in.op != PwOp::load)
      for (std::int32_t* o : {&in.a, &in.b, &in.c})
        if (*o >= 0) *o = index[static_cast<std::size_t>(*o)];
    index[i] = static_cast<std::int32_t>(kept.size());
    kept.push_back(in);
  }
  code = std::move(kept);
}

/// A one-element constant that does not give the result its rank.
bool is_immediate(const Graph& graph, const Node& node, ValueId id) {
  const Constant& c = graph.value(id).constant;
  if (!c || c->elements() != 1) return false;
  const std::size_t rank = graph.value(node.outputs[0]).type.shape.size();
  for (ValueId other : node.inputs)
    if (!graph.value(other).constant && graph.value(other).type.shape.size() == rank) return true;
  return false;
}

}  // namespace

bool simplify_pointwise(Graph& graph, const PassContext&) {
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node node = graph.node(id);
    const auto* pointwise = std::get_if<Pointwise>(&node.op);
    if (!pointwise) continue;
    Rebuilt rebuilt;
    std::vector<std::int32_t> index;
    for (PwInstr in : pointwise->expr.code) {
      if (in.op == PwOp::load) {
        const ValueId input = node.inputs[static_cast<std::size_t>(in.a)];
        if (is_immediate(graph, node, input)) {
          const HostTensor& c = *graph.value(input).constant;
          in = {.op = PwOp::constant, .dtype = c.dtype()};
          if (is_float(c.dtype()))
            in.alpha = c.at_double(0);
          else
            in.imm = c.at_int(0);
        }
      } else {
        for (std::int32_t* o : {&in.a, &in.b, &in.c})
          if (*o >= 0) *o = index[static_cast<std::size_t>(*o)];
      }
      index.push_back(rebuilt.push(in));
    }
    std::vector<PwInstr> code(rebuilt.code.begin(), rebuilt.code.begin() + index.back() + 1);
    drop_unused(code);
    // Inputs that are no longer loaded, or loaded under two numbers, go.
    std::vector<ValueId> inputs;
    for (PwInstr& in : code) {
      if (in.op != PwOp::load) continue;
      const ValueId value = node.inputs[static_cast<std::size_t>(in.a)];
      auto it = std::find(inputs.begin(), inputs.end(), value);
      in.a = static_cast<std::int32_t>(it - inputs.begin());
      if (it == inputs.end()) inputs.push_back(value);
    }
    // By record: a NaN among the immediates must not look like a change for ever.
    const auto bits = [](const std::vector<PwInstr>& c) {
      OpRecord record = to_record(Pointwise{PwExpr{c}});
      for (double& v : record.reals)
        if (std::isnan(v)) record.strings.push_back("nan " + std::to_string(&v - record.reals.data())), v = 0;
      return record;
    };
    if (inputs.empty() || (bits(code) == bits(pointwise->expr.code) && inputs == node.inputs)) continue;
    const ValueId result = graph.add1(Pointwise{PwExpr{code}}, inputs, node.origins, id);
    if (graph.value(result).type !=
        graph.value(node.outputs[0]).type) {  // an input that gave the shape was dropped
      graph.erase(graph.value(result).producer);
      continue;
    }
    graph.replace_uses(node.outputs[0], result);
    graph.erase(id);
    changed = true;
  }
  return changed;
}

}  // namespace headrace::passes
