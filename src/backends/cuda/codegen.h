// Generating CUDA C++: what all own kernels share.
//
// Problem: a kernel that knows its extents, strides and dtypes at compile time needs no index arithmetic
// worth the name and no dispatch; NVRTC makes one in 50 ms. Contract: generation is a pure function of the
// Problem and the Choice (tests compile every kernel without a GPU), and gives KernelSources: text, geometry,
// operands. A kernel's parameters are its operands' addresses `p0, p1, ...` in the order of `operands`, then
// the `scalars` as i64 `s0, s1, ...`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/cuda/module.h"
#include "backends/nest.h"
#include "core/tensor.h"

namespace headrace::cuda {

/// Index of an operand that stands for the workspace.
inline constexpr std::size_t kWorkspace = SIZE_MAX;

/// One launch.
struct KernelSource {
  std::string source;  ///< the whole translation unit
  Geometry geometry;
  std::vector<std::size_t> operands;  ///< of the problem: sources, then destinations; or kWorkspace
  std::vector<std::int64_t> scalars;
};

/// What a tactic makes of a problem; no launches when there is nothing to do.
struct Program {
  std::string name;  ///< for traces
  std::vector<KernelSource> launches;
  std::size_t workspace_bytes = 0;
};

/// "f32", "u8", ... as the prelude spells element types (bool: u8).
std::string type_name(DType dtype);
/// An unsigned integer of the element's size: for kernels that only move.
DType raw_dtype(DType dtype);
/// "float", "double" or "i64": the type of registers.
std::string register_name(DType dtype);
/// A literal of that value and register type.
std::string literal(double value, DType dtype);
std::string literal(std::int64_t value);

/// As headrace::make_nest; a single element is read like a broadcast one.
inline Nest make_nest(const Shape& shape, const std::vector<Strides>& operands) {
  return headrace::make_nest(shape, operands, 0);
}
/// Over all axes but one: a row along `axis` is one point of it. The operands have strides of all axes.
inline Nest make_nest_without(std::int64_t axis, Shape shape, std::vector<Strides> operands) {
  shape.erase(shape.begin() + axis);
  for (Strides& strides : operands) strides.erase(strides.begin() + axis);
  return make_nest(shape, operands);
}

/// Whether counts or offsets need 64-bit arithmetic.
bool is_wide(const Nest& nest);
/// "typedef int idx; typedef unsigned uidx;" or the 64-bit ones.
std::string index_types(bool wide);
/// Statements that add to `offsets[o]` (idx variables) the place of flat position `flat` (a uidx expression)
/// over the axes of the nest.
std::string decompose(const Nest& nest, const std::string& flat, const std::vector<std::string>& offsets);

/// `text` with each "$NAME$" replaced. Names that are not listed are an internal error.
struct Field {
  const char* name;
  std::string value;
};
std::string fill(std::string_view text, const std::vector<Field>& fields);

/// ceil(a / b).
inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
/// Bytes of one access to `count` elements of `size` bytes whose places are multiples of every one of `steps`
/// elements: the largest power of two up to 16 that divides all, at least `size`.
std::int64_t access_bytes(std::int64_t count, std::int64_t size, const Strides& steps);
/// A one-dimensional launch of `threads` threads in all; beyond 2^31-1 blocks Error(unsupported).
Geometry linear_geometry(std::int64_t threads, unsigned block);

}  // namespace headrace::cuda
