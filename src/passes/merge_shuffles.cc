// transpose(transpose(x)) -> transpose(x);  reshape(reshape(x)) -> reshape(x);
// slice(slice(x)) -> slice(x);  matmul(a, transpose(b)) -> matmul(a, b, transpose_b) when only the last two
// axes swap transpose that moves only extents of 1 -> reshape (to the same shape, when it moves nothing:
// remove_identity takes it)
#include "passes/pass.h"

namespace headrace::passes {
namespace {

const Node* producer(const Graph& graph, ValueId id) {
  const NodeId node = graph.value(id).producer;
  return node == kNoNode ? nullptr : &graph.node(node);
}

bool moves_only_ones(const Transpose& op, const Dims& shape) {
  std::int64_t last = -1;
  for (std::int64_t axis : op.perm) {
    if (shape[static_cast<std::size_t>(axis)] == Dim(1)) continue;
    if (axis < last) return false;
    last = axis;
  }
  return true;
}

void replace(Graph& graph, NodeId id, Op op, ValueId input) {
  const Node node = graph.node(id);
  graph.replace_uses(node.outputs[0], graph.add1(std::move(op), {input}, node.origins, id));
  graph.erase(id);
}

Slice composed(ShapeProgram& p, const Slice& first, const Slice& second) {
  Slice out = second;
  for (std::size_t i = 0; i < out.starts.size(); ++i) {
    out.starts[i] = p.add(first.starts[i], p.mul(second.starts[i], first.steps[i]));
    out.steps[i] = p.mul(first.steps[i], second.steps[i]);
  }
  return out;
}

bool swaps_last_two(const Ints& perm) {
  const std::size_t rank = perm.size();
  for (std::size_t i = 0; i + 2 < rank; ++i)
    if (perm[i] != static_cast<std::int64_t>(i)) return false;
  return rank >= 2 && perm[rank - 2] == static_cast<std::int64_t>(rank) - 1;
}

/// Takes transposes of the operands of matrix product `id` into the product.
bool absorb_transposes(Graph& graph, NodeId id) {
  Node node = graph.node(id);
  auto& matmul = std::get<MatMul>(node.op);
  bool changed = false;
  for (std::size_t i = 0; i < 2; ++i) {
    const Node* source = producer(graph, node.inputs[i]);
    const auto* transpose = source ? std::get_if<Transpose>(&source->op) : nullptr;
    if (!transpose || !swaps_last_two(transpose->perm)) continue;
    node.inputs[i] = source->inputs[0];
    bool& flag = i == 0 ? matmul.transpose_a : matmul.transpose_b;
    flag = !flag;
    changed = true;
  }
  if (!changed) return false;
  graph.replace_uses(node.outputs[0], graph.add1(node.op, node.inputs, node.origins, id));
  graph.erase(id);
  return true;
}

}  // namespace

bool merge_shuffles(Graph& graph, const PassContext&) {
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (const auto* transpose = std::get_if<Transpose>(&node.op)) {
      const Node* inner = producer(graph, node.inputs[0]);
      if (const auto* first = inner ? std::get_if<Transpose>(&inner->op) : nullptr) {
        Ints perm;
        for (std::int64_t axis : transpose->perm) perm.push_back(first->perm[static_cast<std::size_t>(axis)]);
        const ValueId source = inner->inputs[0];
        const Dims& shape = graph.value(source).type.shape;
        if (moves_only_ones({perm}, shape)) {
          replace(graph, id, Reshape{graph.value(node.outputs[0]).type.shape}, source);
        } else {
          replace(graph, id, Transpose{perm}, source);
        }
        changed = true;
      } else if (moves_only_ones(*transpose, graph.value(node.inputs[0]).type.shape)) {
        replace(graph, id, Reshape{graph.value(node.outputs[0]).type.shape}, node.inputs[0]);
        changed = true;
      }
    } else if (const auto* reshape = std::get_if<Reshape>(&node.op)) {
      const Node* inner = producer(graph, node.inputs[0]);
      if (!inner || !std::holds_alternative<Reshape>(inner->op)) continue;
      replace(graph, id, Reshape(*reshape), inner->inputs[0]);
      changed = true;
    } else if (const auto* slice = std::get_if<Slice>(&node.op)) {
      const Node* inner = producer(graph, node.inputs[0]);
      if (const auto* first = inner ? std::get_if<Slice>(&inner->op) : nullptr) {
        replace(graph, id, composed(graph.shapes(), *first, *slice), inner->inputs[0]);
        changed = true;
      }
    } else if (std::holds_alternative<MatMul>(node.op)) {
      changed |= absorb_transposes(graph, id);
    }
  }
  return changed;
}

}  // namespace headrace::passes
