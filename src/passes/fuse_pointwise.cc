// f(g(x)) -> (f.g)(x) for pointwise f and g, where g has no other use and the result's shape, so that nothing
// is computed twice. Bounded: 48 instructions, 8 inputs.
#include <algorithm>

#include "passes/pass.h"

namespace headrace::passes {
namespace {

constexpr std::size_t kMaxInstructions = 48, kMaxInputs = 8;

/// `outer` with the load of its input `slot` replaced by `inner`; `inputs` are those of the merged node.
PwExpr inlined(const PwExpr& outer, std::int32_t slot, const PwExpr& inner,
               const std::vector<ValueId>& outer_inputs, const std::vector<ValueId>& inner_inputs,
               std::vector<ValueId>& inputs) {
  const auto input = [&](ValueId value) {
    const auto it = std::find(inputs.begin(), inputs.end(), value);
    if (it == inputs.end()) {
      inputs.push_back(value);
      return static_cast<std::int32_t>(inputs.size()) - 1;
    }
    return static_cast<std::int32_t>(it - inputs.begin());
  };
  PwExpr merged;
  const auto append = [&](const PwExpr& expr, const std::vector<ValueId>& values, std::int32_t replaced,
                          std::int32_t by) {
    std::vector<std::int32_t> index;
    for (PwInstr in : expr.code) {
      if (in.op == PwOp::load) {
        if (in.a == replaced) {
          index.push_back(by);
          continue;
        }
        in.a = input(values[static_cast<std::size_t>(in.a)]);
      } else {
        for (std::int32_t* o : {&in.a, &in.b, &in.c})
          if (*o >= 0) *o = index[static_cast<std::size_t>(*o)];
      }
      merged.code.push_back(in);
      index.push_back(static_cast<std::int32_t>(merged.code.size()) - 1);
    }
    return index.back();
  };
  const std::int32_t value = append(inner, inner_inputs, -2, -2);
  const std::int32_t last = append(outer, outer_inputs, slot, value);
  if (last != static_cast<std::int32_t>(merged.code.size()) - 1)
    merged.code.push_back(merged.code[static_cast<std::size_t>(last)]);
  return merged;
}

}  // namespace

bool fuse_pointwise(Graph& graph, const PassContext&) {
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    for (bool again = true; again;) {
      again = false;
      const Node outer = graph.node(id);
      if (!std::holds_alternative<Pointwise>(outer.op)) break;
      for (std::size_t slot = 0; slot < outer.inputs.size(); ++slot) {
        const ValueId between = outer.inputs[slot];
        const NodeId producer = graph.value(between).producer;
        if (producer == kNoNode || graph.is_output(between)) continue;
        const std::vector<NodeId> users = graph.users(between);
        if (users.size() != 1 || users[0] != id) continue;
        if (std::count(outer.inputs.begin(), outer.inputs.end(), between) != 1) continue;
        const Node inner = graph.node(producer);
        const auto* g = std::get_if<Pointwise>(&inner.op);
        if (!g || graph.value(between).type.shape != graph.value(outer.outputs[0]).type.shape) continue;
        const PwExpr& f = std::get<Pointwise>(outer.op).expr;
        std::vector<ValueId> inputs;
        PwExpr merged =
            inlined(f, static_cast<std::int32_t>(slot), g->expr, outer.inputs, inner.inputs, inputs);
        if (merged.code.size() > kMaxInstructions || inputs.size() > kMaxInputs) continue;
        std::vector<std::string> origins = inner.origins;
        origins.insert(origins.end(), outer.origins.begin(), outer.origins.end());
        const ValueId result = graph.add1(Pointwise{std::move(merged)}, inputs, origins, id);
        graph.replace_uses(outer.outputs[0], result);
        graph.erase(id);
        graph.erase(producer);
        id = graph.value(result).producer;
        changed = again = true;
        break;
      }
    }
  }
  return changed;
}

}  // namespace headrace::passes
