// The compiler's program: values and nodes of core operators, in topological order.
//
// Contract: values and nodes have stable ids that are never re-used; `nodes()` lists the live nodes in
// topological order; the graph changes only through add*, replace_uses, erase, set_output. Every value
// remembers the ONNX names it came from. Constants are values with data, not nodes. Not thread-safe. `verify`
// states the invariants.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <headrace/input_format.h>

#include "core/op.h"
#include "core/shape_program.h"
#include "core/tensor.h"

namespace headrace {

using ValueId = std::int32_t;
using NodeId = std::int32_t;
inline constexpr ValueId kNoValue = -1;
inline constexpr NodeId kNoNode = -1;

struct Value {
  ValueId id = kNoValue;
  ValueType type;
  std::vector<std::string>
      names;                  ///< ONNX names, most specific first; may be empty for values that passes made
  Constant constant;          ///< set: the value is this tensor and has no producer
  NodeId producer = kNoNode;  ///< kNoNode for inputs and constants
  std::int32_t producer_output = 0;
  std::int32_t input_index = -1;  ///< >= 0: a graph input
};

struct Node {
  NodeId id = kNoNode;
  Op op;
  std::vector<ValueId> inputs, outputs;
  std::vector<std::string> origins;  ///< "conv1 (Conv)": ONNX nodes this one stands for
};

struct GraphOutput {
  std::string name;
  ValueId value = kNoValue;
};

class Graph {
 public:
  ShapeProgram& shapes() { return shapes_; }
  const ShapeProgram& shapes() const { return shapes_; }
  /// The model's metadata_props and producer, carried into the plan's provenance as "onnx.KEY".
  std::map<std::string, std::string> metadata;
  /// Of inputs whose data the graph converts itself, by name; carried into the plan.
  std::map<std::string, InputFormat> input_formats;

  ValueId add_input(std::string name, ValueType type);
  ValueId add_constant(HostTensor tensor, std::string name = {});
  ValueId add_constant(Constant tensor, std::string name = {});
  /// Appends a node (or inserts it before node `before`) and creates its output values with infer_types'
  /// types. Throws what infer_types throws; the graph is then unchanged.
  NodeId add(Op op, std::vector<ValueId> inputs, std::vector<std::string> origins = {},
             NodeId before = kNoNode);
  /// add() for operators with one output; returns that value.
  ValueId add1(Op op, std::vector<ValueId> inputs, std::vector<std::string> origins = {},
               NodeId before = kNoNode);
  void add_output(std::string name, ValueId value);

  /// Every use of `from` (inputs of nodes and graph outputs) becomes `to`; `to` inherits `from`'s names.
  /// `to` must come earlier in the order than each user (checked by verify).
  void replace_uses(ValueId from, ValueId to);
  void set_input(NodeId node, std::size_t index, ValueId value);
  /// The node's outputs must be unused.
  void erase(NodeId node);
  /// Erases nodes whose outputs reach no graph output. Returns true when any was erased.
  bool erase_dead();

  const Value& value(ValueId id) const { return values_[static_cast<std::size_t>(id)]; }
  Value& value(ValueId id) { return values_[static_cast<std::size_t>(id)]; }
  const Node& node(NodeId id) const;
  bool alive(NodeId id) const;
  std::vector<NodeId> nodes() const;  ///< live nodes in topological order (a snapshot: safe while mutating)
  std::size_t value_count() const { return values_.size(); }
  const std::vector<ValueId>& inputs() const { return inputs_; }
  const std::vector<GraphOutput>& outputs() const { return outputs_; }
  /// Live nodes that read the value, in order, each once; and whether a graph output reads it.
  std::vector<NodeId> users(ValueId id) const;
  bool is_output(ValueId id) const;
  std::size_t use_count(
      ValueId id) const;  ///< reads by node inputs (each position counts) plus graph outputs

 private:
  ShapeProgram shapes_;
  std::vector<Value> values_;
  std::vector<Node> nodes_;  ///< by id; erased nodes keep their slot
  std::vector<bool> alive_;
  std::vector<NodeId> order_;
  std::vector<std::vector<NodeId>> users_;  ///< by value; a node stands once per reading position
  std::vector<ValueId> inputs_;
  std::vector<GraphOutput> outputs_;
};

/// Throws Error(internal) naming the first broken invariant (order, types, dangling ids, use lists).
void verify(const Graph& graph);

/// Text form, one line each: `%0 = input "x" f32[Nx3x224x224]`, `%2 = Conv(strides=[2,2], ...) %0, %1 "conv1
/// (Conv)"`,
/// `%1 = constant f32[64x3x7x7] {...}` (values printed when at most 16 elements, else `random(seed)` is
/// accepted when parsing), `output "y" %5`. print(parse(text)) == text for canonical text.
std::string print(const Graph& graph);
Graph parse_graph(std::string_view text);

}  // namespace headrace
