// The invariants of a graph, checked one by one.
#include <algorithm>

#include <headrace/error.h>

#include "graph/graph.h"

namespace headrace {

namespace {

[[noreturn]] void broken(const Graph& graph, NodeId node, const std::string& what) {
  std::string where;
  if (graph.alive(node)) {
    where = "node " + std::to_string(node) + " " + to_string(graph.node(node).op, graph.shapes());
    for (const std::string& origin : graph.node(node).origins) where += " \"" + origin + "\"";
    where += ": ";
  }
  throw Error(ErrorCode::internal, "broken graph: " + where + what);
}

bool compatible(const ValueType& a, const ValueType& b) {
  if (a.dtype != b.dtype || a.shape.size() != b.shape.size()) return false;
  for (std::size_t i = 0; i < a.shape.size(); ++i) {
    if (a.shape[i].is_constant() && b.shape[i].is_constant() && a.shape[i] != b.shape[i]) return false;
  }
  return true;
}

}  // namespace

void verify(const Graph& graph) {
  const auto count = static_cast<ValueId>(graph.value_count());
  std::vector<bool> ready(static_cast<std::size_t>(count), false);
  for (ValueId id = 0; id < count; ++id) {
    const Value& v = graph.value(id);
    if (v.id != id) broken(graph, kNoNode, "value %" + std::to_string(id) + " has another id");
    const bool input = v.input_index >= 0;
    if (input && (static_cast<std::size_t>(v.input_index) >= graph.inputs().size() ||
                  graph.inputs()[static_cast<std::size_t>(v.input_index)] != id)) {
      broken(graph, kNoNode, "value %" + std::to_string(id) + " is no graph input");
    }
    if (v.constant && !compatible(v.type, {v.constant->dtype(), to_dims(v.constant->shape())})) {
      broken(graph, kNoNode, "constant %" + std::to_string(id) + " has another type than its data");
    }
    if ((input || v.constant) && v.producer != kNoNode) {
      broken(graph, v.producer, "produces %" + std::to_string(id) + ", which is an input or a constant");
    }
    ready[static_cast<std::size_t>(id)] = input || v.constant != nullptr;
  }
  ShapeProgram shapes = graph.shapes();  // rules may add expressions
  std::vector<std::size_t> reads(static_cast<std::size_t>(count), 0);
  for (const NodeId id : graph.nodes()) {
    const Node& n = graph.node(id);
    std::vector<ValueType> types;
    for (const ValueId in : n.inputs) {
      if (in < 0 || in >= count) broken(graph, id, "reads %" + std::to_string(in) + ", which is not there");
      if (!ready[static_cast<std::size_t>(in)]) {
        broken(graph, id, "reads %" + std::to_string(in) + " before it is computed");
      }
      ++reads[static_cast<std::size_t>(in)];
      types.push_back(graph.value(in).type);
    }
    std::vector<ValueType> results;
    try {
      results = infer_types(n.op, types, shapes);
    } catch (const Error& error) {
      broken(graph, id, error.message());
    }
    if (n.outputs.empty() || n.outputs.size() > results.size())
      broken(graph, id, "has a wrong number of results");
    for (std::size_t i = 0; i < n.outputs.size(); ++i) {
      const ValueId out = n.outputs[i];
      if (out < 0 || out >= count)
        broken(graph, id, "writes %" + std::to_string(out) + ", which is not there");
      const Value& v = graph.value(out);
      if (v.producer != id || v.producer_output != static_cast<std::int32_t>(i)) {
        broken(graph, id, "is not the producer that %" + std::to_string(out) + " names");
      }
      if (!compatible(v.type, results[i])) {
        broken(graph, id,
               "%" + std::to_string(out) + " is " + std::string(to_string(v.type.dtype)) + "[" +
                   shapes.to_string(v.type.shape) + "], the rule says " +
                   std::string(to_string(results[i].dtype)) + "[" + shapes.to_string(results[i].shape) + "]");
      }
      ready[static_cast<std::size_t>(out)] = true;
    }
  }
  for (const GraphOutput& out : graph.outputs()) {
    if (out.value < 0 || out.value >= count || !ready[static_cast<std::size_t>(out.value)]) {
      broken(graph, kNoNode, "output '" + out.name + "' is never computed");
    }
    ++reads[static_cast<std::size_t>(out.value)];
  }
  for (ValueId id = 0; id < count; ++id) {
    if (reads[static_cast<std::size_t>(id)] != graph.use_count(id)) {
      broken(graph, kNoNode, "the use list of %" + std::to_string(id) + " is wrong");
    }
  }
}

}  // namespace headrace
