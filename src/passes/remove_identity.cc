// Operators that give back their input: reshape, broadcast to the same shape; transpose by the identity;
// slice and pad of everything; pointwise that only loads; sums over no axis.  identity(x) -> x
#include <algorithm>

#include "passes/pass.h"

namespace headrace::passes {
namespace {

struct IsIdentity {
  const Graph& graph;
  const Node& node;

  const ValueType& in() const { return graph.value(node.inputs[0]).type; }
  const ValueType& out() const { return graph.value(node.outputs[0]).type; }
  bool all(const Dims& dims, Dim value) const {
    return std::all_of(dims.begin(), dims.end(), [&](Dim d) { return d == value; });
  }
  bool operator()(const Reshape&) const { return in() == out(); }
  bool operator()(const Broadcast&) const { return in() == out(); }
  bool operator()(const Reorder&) const { return true; }
  bool operator()(const Transpose& op) const { return std::is_sorted(op.perm.begin(), op.perm.end()); }
  bool operator()(const Slice& op) const { return in() == out() && all(op.starts, 0) && all(op.steps, 1); }
  bool operator()(const Pad& op) const { return all(op.before, 0) && all(op.after, 0); }
  bool operator()(const Concat&) const { return node.inputs.size() == 1; }
  bool operator()(const Resize& op) const {
    return in() == out() && op.coord != ResizeCoord::tf_crop_and_resize && op.scales.empty();
  }
  bool operator()(const Pointwise& op) const {
    return node.inputs.size() == 1 && op.expr.code.back().op == PwOp::load && in() == out();
  }
  template <class T>
  bool operator()(const T&) const {
    return false;
  }
};

}  // namespace

bool remove_identity(Graph& graph, const PassContext&) {
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (node.inputs.empty() || !std::visit(IsIdentity{graph, node}, node.op)) continue;
    graph.replace_uses(node.outputs[0], node.inputs[0]);
    graph.erase(id);
    changed = true;
  }
  return changed;
}

}  // namespace headrace::passes
