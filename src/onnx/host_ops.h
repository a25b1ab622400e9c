// The functions behind evaluate_host: ONNX operators on host arrays, several operators to a function, which
// asks the node which one it is. Contract: as evaluate_host; input 0 is there, except for shape_of.
#pragma once

#include <optional>
#include <vector>

#include "onnx/host_array.h"
#include "onnx/import_node.h"

namespace headrace::onnx::host {

using Inputs = std::vector<const HostArray*>;
using Result = std::optional<std::vector<HostArray>>;

// host_arithmetic.cc
Result binary(ImportNode& n, const Inputs& in);
Result variadic(ImportNode& n, const Inputs& in);
Result unary(ImportNode& n, const Inputs& in);
Result cast(ImportNode& n, const Inputs& in);
Result where(ImportNode& n, const Inputs& in);
Result range(ImportNode& n, const Inputs& in);
Result reduce(ImportNode& n, const Inputs& in);
// host_movement.cc
Result concat(ImportNode& n, const Inputs& in);
Result gather(ImportNode& n, const Inputs& in);
Result slice(ImportNode& n, const Inputs& in);
Result split(ImportNode& n, const Inputs& in);
Result reshaped(ImportNode& n, const Inputs& in);
Result shape_of(ImportNode& n, const Inputs& in);
Result expand(ImportNode& n, const Inputs& in);
Result constant_of_shape(ImportNode& n, const Inputs& in);

inline std::size_t count_of(const Shape& shape) { return static_cast<std::size_t>(element_count(shape)); }
bool too_many(const Shape& shape);  ///< elements for a host array
/// The shape that both broadcast to; nothing when they do not or it is too large.
std::optional<Shape> broadcast(const Shape& a, const Shape& b);
/// The element of `a` that stands at flat index `i` of `shape`, which `a` broadcasts to.
Dim element(const HostArray& a, const Shape& shape, std::size_t i);
/// The only result; nothing when a number does not fit its dtype.
Result one(HostArray a);

}  // namespace headrace::onnx::host
