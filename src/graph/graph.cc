#include "graph/graph.h"

#include <algorithm>

#include <headrace/error.h>

namespace headrace {

namespace {

[[noreturn]] void broken(const std::string& what) { throw Error(ErrorCode::internal, "graph: " + what); }

void add_name(std::vector<std::string>& names, const std::string& name) {
  if (!name.empty() && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

}  // namespace

ValueId Graph::add_input(std::string name, ValueType type) {
  Value v;
  v.id = static_cast<ValueId>(values_.size());
  v.type = std::move(type);
  v.input_index = static_cast<std::int32_t>(inputs_.size());
  v.names.push_back(std::move(name));
  inputs_.push_back(v.id);
  values_.push_back(std::move(v));
  users_.emplace_back();
  return inputs_.back();
}

ValueId Graph::add_constant(HostTensor tensor, std::string name) {
  return add_constant(std::make_shared<const HostTensor>(std::move(tensor)), std::move(name));
}

ValueId Graph::add_constant(Constant tensor, std::string name) {
  if (!tensor) broken("a constant without data");
  Value v;
  v.id = static_cast<ValueId>(values_.size());
  v.type = {tensor->dtype(), to_dims(tensor->shape())};
  v.constant = std::move(tensor);
  add_name(v.names, name);
  values_.push_back(std::move(v));
  users_.emplace_back();
  return values_.back().id;
}

NodeId Graph::add(Op op, std::vector<ValueId> inputs, std::vector<std::string> origins, NodeId before) {
  std::vector<ValueType> types;
  types.reserve(inputs.size());
  for (const ValueId id : inputs) {
    if (id < 0 || static_cast<std::size_t>(id) >= values_.size())
      broken("value %" + std::to_string(id) + " is not there");
    types.push_back(value(id).type);
  }
  std::vector<ValueType> results = infer_types(op, types, shapes_);
  auto place = order_.end();
  if (before != kNoNode) {
    place = std::find(order_.begin(), order_.end(), before);
    if (place == order_.end())
      broken("insertion before node " + std::to_string(before) + ", which is not there");
  }
  Node n;
  n.id = static_cast<NodeId>(nodes_.size());
  n.op = std::move(op);
  n.inputs = std::move(inputs);
  n.origins = std::move(origins);
  for (const ValueId id : n.inputs) users_[static_cast<std::size_t>(id)].push_back(n.id);
  for (ValueType& type : results) {
    Value v;
    v.id = static_cast<ValueId>(values_.size());
    v.type = std::move(type);
    v.producer = n.id;
    v.producer_output = static_cast<std::int32_t>(n.outputs.size());
    n.outputs.push_back(v.id);
    values_.push_back(std::move(v));
    users_.emplace_back();
  }
  order_.insert(place, n.id);
  alive_.push_back(true);
  nodes_.push_back(std::move(n));
  return nodes_.back().id;
}

ValueId Graph::add1(Op op, std::vector<ValueId> inputs, std::vector<std::string> origins, NodeId before) {
  return node(add(std::move(op), std::move(inputs), std::move(origins), before)).outputs.at(0);
}

void Graph::add_output(std::string name, ValueId value) {
  if (value < 0 || static_cast<std::size_t>(value) >= values_.size())
    broken("output '" + name + "' has no value");
  outputs_.push_back({std::move(name), value});
}

void Graph::replace_uses(ValueId from, ValueId to) {
  if (from == to) return;
  auto& uses = users_[static_cast<std::size_t>(from)];
  for (const NodeId user : uses) {
    auto& inputs = nodes_[static_cast<std::size_t>(user)].inputs;
    std::replace(inputs.begin(), inputs.end(), from, to);
  }
  auto& target = users_[static_cast<std::size_t>(to)];
  target.insert(target.end(), uses.begin(), uses.end());
  uses.clear();
  for (GraphOutput& out : outputs_) {
    if (out.value == from) out.value = to;
  }
  for (const std::string& n : value(from).names) add_name(value(to).names, n);
}

void Graph::set_input(NodeId id, std::size_t index, ValueId to) {
  Node& n = nodes_[static_cast<std::size_t>(id)];
  ValueId& slot = n.inputs.at(index);
  auto& uses = users_[static_cast<std::size_t>(slot)];
  uses.erase(std::find(uses.begin(), uses.end(), id));
  slot = to;
  users_[static_cast<std::size_t>(to)].push_back(id);
}

void Graph::erase(NodeId id) {
  if (!alive(id)) broken("node " + std::to_string(id) + " is erased twice");
  Node& n = nodes_[static_cast<std::size_t>(id)];
  for (const ValueId out : n.outputs) {
    if (use_count(out) != 0) broken("node " + std::to_string(id) + " is erased while its result is used");
  }
  for (const ValueId in : n.inputs) {
    auto& uses = users_[static_cast<std::size_t>(in)];
    uses.erase(std::find(uses.begin(), uses.end(), id));
  }
  for (const ValueId out : n.outputs) value(out).producer = kNoNode;
  n.inputs.clear();
  n.outputs.clear();
  n.origins.clear();
  alive_[static_cast<std::size_t>(id)] = false;
  order_.erase(std::find(order_.begin(), order_.end(), id));
}

bool Graph::erase_dead() {
  bool changed = false;
  const std::vector<NodeId> order = nodes();
  for (auto it = order.rbegin(); it != order.rend(); ++it) {
    const auto& outputs = node(*it).outputs;
    if (std::any_of(outputs.begin(), outputs.end(), [&](ValueId v) { return use_count(v) != 0; })) {
      // Optional results at the end that nobody reads (indices of a max pool, statistics of a norm) go.
      auto& own = nodes_[static_cast<std::size_t>(*it)];
      const bool optional = std::holds_alternative<Pool>(own.op) || std::holds_alternative<LayerNorm>(own.op);
      while (optional && own.outputs.size() > 1 && use_count(own.outputs.back()) == 0) {
        value(own.outputs.back()).producer = kNoNode;
        own.outputs.pop_back();
        changed = true;
      }
      continue;
    }
    erase(*it);
    changed = true;
  }
  return changed;
}

const Node& Graph::node(NodeId id) const {
  if (!alive(id)) broken("node " + std::to_string(id) + " is not there");
  return nodes_[static_cast<std::size_t>(id)];
}

bool Graph::alive(NodeId id) const {
  return id >= 0 && static_cast<std::size_t>(id) < alive_.size() && alive_[static_cast<std::size_t>(id)];
}

std::vector<NodeId> Graph::nodes() const { return order_; }

std::vector<NodeId> Graph::users(ValueId id) const {
  const auto& uses = users_[static_cast<std::size_t>(id)];
  std::vector<NodeId> out(uses.begin(), uses.end());
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  if (out.size() <= 1) return out;
  std::vector<NodeId> ordered;
  for (const NodeId n : order_) {
    if (std::binary_search(out.begin(), out.end(), n)) ordered.push_back(n);
    if (ordered.size() == out.size()) break;
  }
  return ordered;
}

bool Graph::is_output(ValueId id) const {
  return std::any_of(outputs_.begin(), outputs_.end(), [&](const GraphOutput& o) { return o.value == id; });
}

std::size_t Graph::use_count(ValueId id) const {
  return users_[static_cast<std::size_t>(id)].size() +
         static_cast<std::size_t>(std::count_if(outputs_.begin(), outputs_.end(),
                                                [&](const GraphOutput& o) { return o.value == id; }));
}

}  // namespace headrace
