// transpose(transpose(x)) -> transpose(x);  reshape(reshape(x)) -> reshape(x);
// transpose that moves only extents of 1 -> reshape
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
        replace(graph, id, Transpose{perm}, inner->inputs[0]);
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
    }
  }
  return changed;
}

}  // namespace headrace::passes
