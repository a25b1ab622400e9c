// Small tensors whose elements are known from shapes: the importer's host values.
//
// Problem: reshape targets, slice bounds and sizes come from Shape and arithmetic on it. Contract: an array
// of integers (or bools), each a Dim; or of floats, each Dim divided by the common `den` (a positive number),
// or the bits of a real. The latter come from float inputs of the model; arithmetic makes fixed point of
// them. Evaluating an ONNX operator on such arrays makes another one, and no node of the graph.
#pragma once

#include <memory>
#include <optional>

#include "core/shape_program.h"
#include "core/tensor.h"

namespace headrace::onnx {

inline constexpr std::int64_t kMaxHostElements = 4096;

struct HostArray {
  DType dtype = DType::i64;
  Shape shape;
  Dims values;           ///< row-major
  std::int64_t den = 1;  ///< floats: value = values[i] / den
  bool bits = false;     ///< floats: values[i] are the bits of a Real, den is 1
};

/// The same floats in the other form.
HostArray as_fixed(ShapeProgram& shapes, HostArray array);
HostArray as_bits(ShapeProgram& shapes, HostArray array);

/// The constant as a host array; nothing when it is large, of a dtype that host values do not have (only i32,
/// i64, bool and floats do), or a float that fixed point does not hold exactly.
std::optional<HostArray> to_host_array(const HostTensor& tensor);

/// The array as a tensor; all values must be constants.
HostTensor to_host_tensor(const HostArray& array);

class ImportNode;
/// True when evaluate_host knows this ONNX operator.
bool is_host_operator(std::string_view op_type);
/// Runs the node on arrays (null: absent input). Nothing when the result cannot be had exactly. Throws Error
/// when the node is wrong.
std::optional<std::vector<HostArray>> evaluate_host(ImportNode& node,
                                                    const std::vector<const HostArray*>& inputs);

}  // namespace headrace::onnx
