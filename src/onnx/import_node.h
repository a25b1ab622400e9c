// What an operator's importer (src/onnx/ops/*.cc) sees of its ONNX node, and what it builds with.
//
// Contract: getters throw Error when an input or attribute is missing, of the wrong kind or out of range; the
// caller adds node, operator and opset. An attribute that no getter asked for is an error after the import,
// so a misspelt or newer attribute is never silently dropped. Every wanted output must be set. Use: void
// import_Celu(ImportNode& n) { n.out(0, n.unary(PwOp::celu, n.in(0), n.attr_real("alpha", 1))); }
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <headrace/error.h>

#include "graph/graph.h"
#include "onnx/host_array.h"
#include "onnx/wire.h"

namespace headrace::onnx {

struct NodeRecord;
class ImportState;

[[noreturn]] void invalid(const std::string& message);      ///< Error(invalid_model)
[[noreturn]] void unsupported(const std::string& message);  ///< Error(unsupported)

class ImportNode {
 public:
  ImportNode(ImportState& state, NodeRecord& record) : state_(state), record_(record) {}

  Graph& graph();
  ShapeProgram& shapes();
  int opset() const;
  std::string_view op_type() const;
  std::string describe() const;  ///< "node 'up' (Resize)"

  // Inputs.
  std::size_t input_count() const;
  bool has(std::size_t i) const;
  ValueId in(std::size_t i);
  /// Types of inputs without making a host value a tensor.
  DType in_dtype(std::size_t i);
  Dims in_shape(std::size_t i);
  const HostTensor* constant(std::size_t i);  ///< null when not constant
  /// Integers known on the host; null when they depend on data.
  const HostArray* host(std::size_t i);
  Dims host_dims(std::size_t i, std::string_view what);    ///< Error(unsupported) when they depend on data
  Ints host_ints(std::size_t i, std::string_view what);    ///< the same, and all constant
  Reals host_reals(std::size_t i, std::string_view what);  ///< the same of a float input

  // Attributes. A getter without default: required.
  bool has_attr(std::string_view name);
  std::int64_t attr_int(std::string_view name, std::optional<std::int64_t> fallback = {});
  bool attr_flag(std::string_view name, bool fallback) { return attr_int(name, fallback) != 0; }
  double attr_real(std::string_view name, std::optional<double> fallback = {});
  std::string attr_string(std::string_view name, std::optional<std::string> fallback = {});
  std::optional<Ints> attr_ints(std::string_view name);
  std::optional<std::vector<double>> attr_reals(std::string_view name);
  const TensorProto& attr_tensor(std::string_view name);
  void ignore_attr(std::string_view name) { used_.insert(std::string(name)); }
  HostTensor tensor(const TensorProto& proto);

  // Outputs.
  std::size_t output_count() const;
  bool wants(std::size_t i) const;
  void out(std::size_t i, ValueId value);
  void out(std::size_t i, HostArray array);
  void finish();  ///< checks attributes and outputs

  // Building.
  DType dtype(ValueId v) { return graph().value(v).type.dtype; }
  Dims shape(ValueId v) { return graph().value(v).type.shape; }
  std::int64_t rank(ValueId v) { return static_cast<std::int64_t>(graph().value(v).type.shape.size()); }
  ValueId add(Op op, std::vector<ValueId> inputs);
  std::vector<ValueId> add_all(Op op, std::vector<ValueId> inputs);
  ValueId constant_value(HostTensor tensor);
  ValueId scalar(double value, DType dtype);
  ValueId materialise(const HostArray& array);
  ValueId unary(PwOp op, ValueId x, double alpha = 0, double beta = 0);
  ValueId binary(PwOp op, ValueId a, ValueId b);   ///< result dtype: a's
  ValueId compare(PwOp op, ValueId a, ValueId b);  ///< result dtype: bool
  ValueId cast(ValueId x, DType to);
  ValueId reshape(ValueId x, Dims to);
  ValueId transpose(ValueId x, Ints perm);
  /// Pointwise over `inputs`; `build` gets the expression and the loads.
  ValueId pointwise(std::vector<ValueId> inputs,
                    const std::function<void(PwExpr&, const std::vector<std::int32_t>&)>& build);

 private:
  const AttributeProto* find(std::string_view name, AttributeType type);
  [[noreturn]] void data_dependent(std::size_t i, std::string_view what) const;
  ImportState& state_;
  NodeRecord& record_;
  std::set<std::string, std::less<>> used_;
};

/// axis in [-rank, rank) made non-negative.
std::int64_t normal_axis(std::int64_t axis, std::int64_t rank, std::string_view what = "axis");
Ints normal_axes(Ints axes, std::int64_t rank);  ///< also sorted; duplicates are an error

// Dims.
bool depends_on_input_value(const ShapeProgram& shapes, Dim d);  ///< through a SymbolSource::value
bool is_non_negative(const ShapeProgram& shapes, Dim d);         ///< provably
/// product(a) / product(b), equal factors cancelled.
Dim ratio(ShapeProgram& shapes, Dims a, Dims b);

using ImportFn = void (*)(ImportNode&);
struct OperatorEntry {
  std::string_view name;
  int since;
  ImportFn import;
};
std::span<const OperatorEntry> operators();  ///< ops.inc, sorted by name

}  // namespace headrace::onnx
