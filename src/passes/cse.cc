// f(a); f(a) -> one f(a)
#include <map>
#include <tuple>

#include "passes/pass.h"

namespace headrace::passes {

bool cse(Graph& graph, const PassContext&) {
  using Key = std::tuple<std::string, std::vector<std::int64_t>, std::vector<double>,
                         std::vector<std::string>, std::vector<ValueId>, std::size_t>;
  std::map<Key, NodeId> seen;
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    if (std::holds_alternative<Custom>(node.op)) continue;
    OpRecord record = to_record(node.op);
    const auto [it, fresh] =
        seen.try_emplace(Key{std::move(record.id), std::move(record.ints), std::move(record.reals),
                             std::move(record.strings), node.inputs, node.outputs.size()},
                         id);
    if (fresh) continue;
    const std::vector<ValueId> mine = node.outputs, kept = graph.node(it->second).outputs;
    for (std::size_t i = 0; i < mine.size(); ++i) graph.replace_uses(mine[i], kept[i]);
    graph.erase(id);
    changed = true;
  }
  return changed;
}

}  // namespace headrace::passes
