// The state of one import: ONNX names bound to slots, nodes of the main graph and of inlined functions.
//
// A slot is what an ONNX name stands for: a value of the graph, a host array (made a value only when somebody
// needs the tensor), or poison (its producer failed: follow-up errors are not reported).
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "onnx/host_array.h"
#include "onnx/import.h"
#include "onnx/import_node.h"
#include "onnx/wire.h"

namespace headrace::onnx {

inline std::string in_quotes(std::string_view s) { return "'" + std::string(s) + "'"; }

struct Slot {
  std::string name;
  bool poisoned = false;
  ValueId value = kNoValue;
  std::shared_ptr<const HostArray> host;
  bool host_tried = false;         ///< host is final
  NodeRecord* producer = nullptr;  ///< may compute the host array on demand
  std::size_t producer_output = 0;
};

struct BoundAttribute {
  std::string_view name;
  const AttributeProto* value = nullptr;
};

/// One ONNX node with its names resolved.
struct NodeRecord {
  const NodeProto* proto = nullptr;
  std::string label;  ///< "conv1" or "(unnamed, makes 'y')"
  int opset = 0;
  std::vector<BoundAttribute> attributes;
  std::vector<Slot*> inputs, outputs;  ///< null: left out
};

class ImportState {
 public:
  ImportState(const ModelProto& model, std::shared_ptr<const void> owner, std::string folder)
      : model_(model), owner_(std::move(owner)), folder_(std::move(folder)) {}

  Graph run(const ImportOptions& options);

  Graph graph;
  /// The slot's tensor; a host array becomes one here.
  ValueId value_of(Slot& slot);
  /// The slot's elements when they are known on the host; null otherwise. Integer graph inputs become symbols
  /// here.
  const HostArray* host_of(Slot& slot, int depth = 0);
  ValueId materialise(const HostArray& array, const std::string& name);
  HostTensor tensor(const TensorProto& proto) const { return to_host_tensor(proto, owner_, folder_); }

 private:
  using Names = std::map<std::string, Slot*, std::less<>>;
  struct Scope {
    Names names;
    OpsetImports opsets;
    std::map<std::string_view, const AttributeProto*> attributes;  ///< a function's, for ref_attr_name
    bool is_function = false;
    std::string prefix;  ///< of node labels: "call/..."
    int depth = 0;
  };
  using FunctionKey = std::tuple<std::string_view, std::string_view, std::string_view>;

  void check_versions();
  void read_functions();
  void add_inputs(Scope& scope);
  void add_initializers(Scope& scope);
  void add_nodes(const std::vector<NodeProto>& nodes, Scope& scope);
  void add_node(const NodeProto& proto, Scope& scope);
  void inline_function(const FunctionProto& function, const NodeRecord& call, Scope& scope);
  void import_node(NodeRecord& record);
  bool try_host(NodeRecord& record, int depth, bool eager);
  void add_outputs(Scope& scope, const ImportOptions& options);
  void report();
  void error(const Error& e, const std::string& where);
  void poison(NodeRecord& record);
  Slot& new_slot(std::string name);
  std::string describe(const NodeRecord& record) const;
  std::optional<int> opset_of(const Scope& scope, std::string_view domain) const;

  const ModelProto& model_;
  std::shared_ptr<const void> owner_;
  std::string folder_;
  std::deque<Slot> slots_;
  std::deque<NodeRecord> records_;
  std::map<FunctionKey, const FunctionProto*> functions_;
  std::vector<const FunctionProto*> call_stack_;
  std::size_t inlined_nodes_ = 0;
  std::map<std::string, std::vector<std::string>> unsupported_operators_;  ///< "domain.Name" -> node labels
  std::vector<std::string> errors_;
  std::size_t more_errors_ = 0;
  bool any_invalid_ = false;
};

}  // namespace headrace::onnx
