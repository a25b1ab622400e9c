// op(constants) -> constant
#include "core/op_fields.h"
#include "passes/pass.h"

namespace headrace::passes {
namespace {

bool resolved(const Op& op) {
  bool symbolic = false;
  std::visit(
      [&](const auto& o) {
        fields(o, [&](const char*, const auto& field) {
          using T = std::decay_t<decltype(field)>;
          if constexpr (std::is_same_v<T, Dim>) symbolic |= !field.is_constant();
          if constexpr (std::is_same_v<T, Dims>) symbolic |= !all_constant(field);
          if constexpr (std::is_same_v<T, Reals>)
            for (const Real& r : field) symbolic |= !r.is_constant();
        });
      },
      op);
  return !symbolic;
}

std::size_t output_bytes(const Graph& graph, const Node& node) {
  std::size_t total = 0;
  for (ValueId id : node.outputs) {
    const ValueType& type = graph.value(id).type;
    if (!all_constant(type.shape)) return SIZE_MAX;
    total += static_cast<std::size_t>(element_count(to_shape(type.shape))) * size_bytes(type.dtype);
  }
  return total;
}

}  // namespace

bool fold_constants(Graph& graph, const PassContext& context) {
  if (!context.evaluate) return false;
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node node = graph.node(id);
    std::vector<const HostTensor*> inputs;
    for (ValueId input : node.inputs)
      if (const Constant& c = graph.value(input).constant) inputs.push_back(c.get());
    if (inputs.size() != node.inputs.size() || std::holds_alternative<Custom>(node.op)) continue;
    if (!resolved(node.op) || output_bytes(graph, node) > context.max_folded_bytes) continue;
    std::vector<HostTensor> results = context.evaluate(node.op, inputs);
    for (std::size_t i = 0; i < node.outputs.size();
         ++i)  // optional results may be fewer than the evaluator gives
      graph.replace_uses(node.outputs[i], graph.add_constant(std::move(results[i])));
    graph.erase(id);
    changed = true;
  }
  return changed;
}

}  // namespace headrace::passes
