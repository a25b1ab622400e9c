// conv(pad(x, zeros)) -> conv(x) with larger pads. Only spatial axes, only amounts >= 0, only the constant 0.
#include "passes/pass.h"

namespace headrace::passes {
namespace {

bool zero_constant(const Graph& graph, const Node& pad) {
  if (pad.inputs.size() < 2) return true;
  const Constant& value = graph.value(pad.inputs[1]).constant;
  return value && value->elements() == 1 && value->at_double(0) == 0;
}

bool spatial_only(const Pad& pad) {
  for (std::size_t i = 0; i < pad.before.size(); ++i)
    for (const Dim& amount : {pad.before[i], pad.after[i]})
      if (!amount.is_constant() || amount.value < 0 || (i < 2 && amount.value != 0)) return false;
  return true;
}

}  // namespace

bool fold_pad(Graph& graph, const PassContext&) {
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node node = graph.node(id);
    const auto* conv = std::get_if<Conv>(&node.op);
    if (!conv) continue;
    const NodeId producer = graph.value(node.inputs[0]).producer;
    if (producer == kNoNode) continue;
    const Node& source = graph.node(producer);
    const auto* pad = std::get_if<Pad>(&source.op);
    if (!pad || pad->mode != PadMode::constant || !zero_constant(graph, source) || !spatial_only(*pad))
      continue;
    Conv wider = *conv;
    for (std::size_t i = 0; i < wider.pads_begin.size(); ++i) {
      wider.pads_begin[i] = graph.shapes().add(wider.pads_begin[i], pad->before[i + 2]);
      wider.pads_end[i] = graph.shapes().add(wider.pads_end[i], pad->after[i + 2]);
    }
    std::vector<ValueId> inputs = node.inputs;
    inputs[0] = source.inputs[0];
    graph.replace_uses(node.outputs[0], graph.add1(wider, inputs, node.origins, id));
    graph.erase(id);
    changed = true;
  }
  return changed;
}

}  // namespace headrace::passes
