#include "onnx/node_order.h"

#include <queue>
#include <string>
#include <unordered_map>

#include "onnx/import_node.h"

namespace headrace::onnx {
namespace {
std::string in_quotes(std::string_view s) { return "'" + std::string(s) + "'"; }
}  // namespace

std::vector<std::size_t> node_order(const std::vector<NodeProto>& nodes,
                                    const std::function<bool(std::string_view)>& defined) {
  std::unordered_map<std::string_view, std::size_t> producer;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (std::string_view name : nodes[i].outputs) {
      if (name.empty()) continue;
      if (defined(name) || !producer.emplace(name, i).second) {
        invalid("tensor " + in_quotes(name) + " is defined twice");
      }
    }
  }
  std::vector<std::size_t> waiting(nodes.size());
  std::vector<std::vector<std::size_t>> users(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    for (std::string_view name : nodes[i].inputs) {
      const auto it = producer.find(name);
      if (it == producer.end()) continue;
      ++waiting[i];
      users[it->second].push_back(i);
    }
  }
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (waiting[i] == 0) ready.push(i);
  }
  std::vector<std::size_t> order;
  while (!ready.empty()) {
    const std::size_t i = ready.top();
    ready.pop();
    order.push_back(i);
    for (std::size_t user : users[i]) {
      if (--waiting[user] == 0) ready.push(user);
    }
  }
  if (order.size() != nodes.size()) {
    std::size_t first = 0;
    while (waiting[first] == 0) ++first;
    const NodeProto& n = nodes[first];
    invalid("the graph is cyclic: " + std::to_string(nodes.size() - order.size()) +
            " nodes wait for each other's outputs, among them " + in_quotes(n.name) + " (" +
            std::string(n.op_type) + ")" +
            (n.outputs.empty() ? "" : ", which makes " + in_quotes(n.outputs[0])));
  }
  return order;
}

}  // namespace headrace::onnx
