// relu(add(conv(x, w), r)) -> conv(x, w, r, post=[add, relu]); likewise for transposed convolutions and
// matrix products. The heavy node's result must have no other use and the pointwise result's shape. The fused
// node stands where the pointwise one stood, so that operands computed after the convolution are in reach. A
// chain of at most 6 steps.
#include <algorithm>
#include <optional>

#include "passes/pass.h"

namespace headrace::passes {
namespace {

constexpr std::size_t kMaxPost = 6;

bool fusable_unary(PwOp op) {
  switch (op) {
    case PwOp::relu:
    case PwOp::clip:
    case PwOp::leaky_relu:
    case PwOp::elu:
    case PwOp::sigmoid:
    case PwOp::hard_sigmoid:
    case PwOp::hard_swish:
    case PwOp::silu:
    case PwOp::gelu_erf:
    case PwOp::gelu_tanh:
    case PwOp::tanh:
    case PwOp::abs:
    case PwOp::sqrt:
    case PwOp::exp: return true;
    default: return false;
  }
}
bool commutes(PwOp op) { return op == PwOp::add || op == PwOp::mul || op == PwOp::min || op == PwOp::max; }
bool fusable_binary(PwOp op) { return commutes(op) || op == PwOp::sub || op == PwOp::div; }

struct Chain {
  std::vector<Post> post;
  std::vector<ValueId> operands;
};

/// The expression as steps applied one after the other to its input `x`; a one-element constant becomes an
/// operand.
std::optional<Chain> as_chain(Graph& graph, const Node& node, ValueId x) {
  const std::vector<PwInstr>& code = std::get<Pointwise>(node.op).expr.code;
  const auto is_leaf = [&](std::int32_t i) {
    const PwInstr& in = code[static_cast<std::size_t>(i)];
    return in.op == PwOp::constant ||
           (in.op == PwOp::load && node.inputs[static_cast<std::size_t>(in.a)] != x);
  };
  Chain chain;
  std::int32_t current = -1;
  for (std::size_t i = 0; i < code.size(); ++i) {
    const PwInstr& in = code[i];
    if (in.dtype != DType::f32) return std::nullopt;
    if (in.op == PwOp::load) {
      if (node.inputs[static_cast<std::size_t>(in.a)] != x) continue;
      if (current >= 0) return std::nullopt;
      current = static_cast<std::int32_t>(i);
    } else if (in.op == PwOp::constant) {
      continue;
    } else if (arity(in.op) == 1) {
      if (in.a != current || !fusable_unary(in.op)) return std::nullopt;
      chain.post.push_back({in.op, in.alpha, in.beta});
      current = static_cast<std::int32_t>(i);
    } else {
      if (arity(in.op) != 2 || !fusable_binary(in.op)) return std::nullopt;
      const bool left = in.a == current && is_leaf(in.b),
                 right = in.b == current && commutes(in.op) && is_leaf(in.a);
      if (!left && !right) return std::nullopt;
      const PwInstr& leaf = code[static_cast<std::size_t>(left ? in.b : in.a)];
      ValueId operand = kNoValue;
      if (leaf.op == PwOp::load) {
        operand = node.inputs[static_cast<std::size_t>(leaf.a)];
      } else {
        HostTensor scalar(DType::f32, {1});
        scalar.set_double(0, leaf.alpha);
        operand = graph.add_constant(std::move(scalar));
      }
      chain.post.push_back({in.op});
      chain.operands.push_back(operand);
      current = static_cast<std::int32_t>(i);
    }
  }
  if (current + 1 != static_cast<std::int32_t>(code.size())) return std::nullopt;
  return chain;
}

bool has_room(const Op& op, std::size_t more) {
  return std::visit(
      [&](const auto& o) {
        if constexpr (requires { o.post; })
          return o.post.size() + more <= kMaxPost;
        else
          return false;
      },
      op);
}

/// matmul + constant bias over the last axis is the bias of the product.
void take_bias(const Graph& graph, MatMul& op, std::vector<ValueId>& inputs, Chain& chain,
               const ValueType& out) {
  if (op.has_bias || !op.post.empty() || chain.post.empty() || chain.post[0].op != PwOp::add) return;
  const Constant& c = graph.value(chain.operands[0]).constant;
  if (!c || c->shape().size() != 1 || Dim(c->shape()[0]) != out.shape.back()) return;
  op.has_bias = true;
  inputs.push_back(chain.operands[0]);
  chain.post.erase(chain.post.begin());
  chain.operands.erase(chain.operands.begin());
}

}  // namespace

bool fuse_post(Graph& graph, const PassContext&) {
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node pointwise = graph.node(id);
    if (!std::holds_alternative<Pointwise>(pointwise.op)) continue;
    const ValueType type = graph.value(pointwise.outputs[0]).type;
    for (ValueId x : pointwise.inputs) {
      const NodeId producer = graph.value(x).producer;
      if (producer == kNoNode || graph.is_output(x) || graph.users(x).size() != 1 ||
          graph.value(x).type != type)
        continue;
      const Node heavy = graph.node(producer);
      if (!has_room(heavy.op, 1)) continue;
      auto chain = as_chain(graph, pointwise, x);
      if (!chain || !has_room(heavy.op, chain->post.size())) continue;
      Op op = heavy.op;
      std::vector<ValueId> inputs = heavy.inputs;
      if (auto* matmul = std::get_if<MatMul>(&op)) take_bias(graph, *matmul, inputs, *chain, type);
      std::visit(
          [&](auto& o) {
            if constexpr (requires { o.post; })
              o.post.insert(o.post.end(), chain->post.begin(), chain->post.end());
          },
          op);
      inputs.insert(inputs.end(), chain->operands.begin(), chain->operands.end());
      std::vector<std::string> origins = heavy.origins;
      origins.insert(origins.end(), pointwise.origins.begin(), pointwise.origins.end());
      const ValueId result = graph.add1(std::move(op), inputs, origins, id);
      graph.replace_uses(pointwise.outputs[0], result);
      graph.erase(id);
      graph.erase(producer);
      changed = true;
      break;
    }
  }
  return changed;
}

}  // namespace headrace::passes
