// The ONNX file format, read into light structs.
//
// Problem: an .onnx file is a stranger's bytes. Contract: every struct below only views the bytes it was read
// from (keep them alive); any malformed byte is an Error(invalid_model) that says which message and where;
// nothing here recurses by the data's will (subgraphs of attributes stay unread), and no allocation depends
// on a number in the file other than through bytes that are really there. Use: ModelProto model =
// read_model(bytes);  HostTensor w = to_host_tensor(model.graph.initializers[0], owner, {});
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace headrace::onnx {

struct TensorProto {
  std::string_view name;
  std::int64_t data_type = 0;
  std::vector<std::int64_t> dims;
  std::optional<std::string_view> raw;
  bool has_typed = false, has_strings = false, external = false;
  std::vector<std::pair<std::string_view, std::string_view>> external_data;
  std::string_view message;  ///< the whole TensorProto: typed data is read from here on demand
};

/// AttributeProto.type; absent types are inferred from the field that is set.
enum class AttributeType : std::uint8_t {
  undefined,
  real,
  integer,
  string,
  tensor,
  graph,
  reals,
  integers,
  strings,
  tensors,
  graphs,
  sparse_tensor,
  other
};
std::string_view to_string(AttributeType type);

struct AttributeProto {
  std::string_view name, ref_name;
  AttributeType type = AttributeType::undefined;
  float real = 0;
  std::int64_t integer = 0;
  std::string_view string;
  std::optional<TensorProto> tensor;
  std::vector<float> reals;
  std::vector<std::int64_t> integers;
  std::vector<std::string_view> strings;
};

struct NodeProto {
  std::string_view name, op_type, domain, overload;
  std::vector<std::string_view> inputs, outputs;
  std::vector<AttributeProto> attributes;
};

struct DimProto {
  std::optional<std::int64_t> value;  ///< absent or negative: dynamic
  std::string_view param;
};
struct ValueInfoProto {
  std::string_view name;
  std::string_view kind = "untyped";  ///< "tensor", "sequence", ...
  std::int64_t data_type = 0;
  std::optional<std::vector<DimProto>> shape;
};

struct GraphProto {
  std::string_view name;
  std::vector<NodeProto> nodes;
  std::vector<TensorProto> initializers;
  std::vector<ValueInfoProto> inputs, outputs;
  bool has_sparse_initializers = false;
};

using OpsetImports = std::vector<std::pair<std::string_view, std::int64_t>>;

struct FunctionProto {
  std::string_view name, domain, overload;
  std::vector<std::string_view> inputs, outputs, attributes;
  std::vector<AttributeProto> attribute_defaults;
  std::vector<NodeProto> nodes;
  OpsetImports opsets;
};

struct ModelProto {
  std::int64_t ir_version = 0;
  std::string_view producer_name, producer_version;
  OpsetImports opsets;
  std::optional<GraphProto> graph;
  std::vector<FunctionProto> functions;
  std::vector<std::pair<std::string_view, std::string_view>> metadata;
};

ModelProto read_model(std::span<const std::byte> bytes);
TensorProto read_tensor(std::span<const std::byte> bytes);

/// The DType of a TensorProto.DataType; Error(unsupported) names the type when headrace has none for it.
DType to_dtype(std::int64_t data_type);

/// The tensor's data. raw_data is aliased where its alignment allows (`owner` keeps the bytes alive), typed
/// data is copied. External data is read from `folder` (empty: refused).
HostTensor to_host_tensor(const TensorProto& proto, const std::shared_ptr<const void>& owner,
                          const std::string& folder);

}  // namespace headrace::onnx
