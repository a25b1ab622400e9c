// What the plain loops share: walking strided tensors, and reading and writing rows of any element type.
//
// Real element types are computed in double, integers and bool in int64 (u64 as its bit pattern); storing
// rounds or wraps to the element type. Nothing here allocates while a kernel runs: a kernel that needs room
// says so in Work::workspace. Strides and offsets count elements.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "backends/backend.h"

namespace headrace::reference {

inline constexpr std::size_t kMaxRank = 16;
inline constexpr std::int64_t kBlock = 256;

using Data = std::span<std::byte* const>;
using Strides = std::vector<std::int64_t>;

/// What a kernel does: addresses of sources then destinations, and `workspace` bytes, 64-byte aligned.
struct Work {
  std::function<void(Data, std::byte*)> run;
  std::size_t workspace = 0;
};

/// A loop nest over `shape`, with one offset per tensor.
struct Nest {
  Shape shape;
  std::vector<Strides> strides;  ///< per tensor, one per axis of shape

  /// Without axis `axis`.
  Nest without(std::size_t axis) const;
  std::int64_t stride(std::size_t tensor, std::size_t axis) const { return strides[tensor][axis]; }
  /// Stride of the last axis (0 for rank 0).
  std::int64_t inner(std::size_t tensor) const { return shape.empty() ? 0 : strides[tensor].back(); }

  /// f(n): one row along the last axis; offset[t] is where it begins in tensor t. Adds to the offsets given.
  template <class F>
  void rows(std::int64_t* offset, F&& f) const {
    for (std::int64_t extent : shape)
      if (extent == 0) return;
    if (shape.empty()) return f(std::int64_t{1});
    const std::size_t outer = shape.size() - 1;
    std::array<std::int64_t, kMaxRank> index{};
    for (;;) {
      f(shape[outer]);
      std::size_t axis = outer;
      for (;;) {
        if (axis == 0) return;
        --axis;
        for (std::size_t t = 0; t < strides.size(); ++t) offset[t] += strides[t][axis];
        if (++index[axis] < shape[axis]) break;
        for (std::size_t t = 0; t < strides.size(); ++t) offset[t] -= strides[t][axis] * shape[axis];
        index[axis] = 0;
      }
    }
  }
  /// f(): every element.
  template <class F>
  void each(std::int64_t* offset, F&& f) const {
    rows(offset, [&](std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i) {
        f();
        for (std::size_t t = 0; t < strides.size(); ++t) offset[t] += inner(t);
      }
      for (std::size_t t = 0; t < strides.size(); ++t) offset[t] -= inner(t) * n;
    });
  }
};

void load_real(DType dtype, const std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
               double* to);
void store_real(DType dtype, std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
                const double* from);
void load_int(DType dtype, const std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
              std::int64_t* to);
void store_int(DType dtype, std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
               const std::int64_t* from);
/// One element.
double real_at(DType dtype, const std::byte* base, std::int64_t offset);
std::int64_t int_at(DType dtype, const std::byte* base, std::int64_t offset);
void put_real(DType dtype, std::byte* base, std::int64_t offset, double value);
void put_int(DType dtype, std::byte* base, std::int64_t offset, std::int64_t value);

/// `value` as the element type holds it.
double round_to(DType dtype, double value);
std::int64_t wrap_to(DType dtype, std::int64_t value);
/// Conversions of Cast: truncation towards zero, saturating at 64 bits, then wrapping; NaN becomes the lowest
/// number.
std::int64_t real_to_int(DType dtype, double value);
double int_to_real(DType from, std::int64_t value);
/// a < b, as numbers of `dtype`.
inline bool int_less(DType dtype, std::int64_t a, std::int64_t b) {
  return dtype == DType::u64 ? static_cast<std::uint64_t>(a) < static_cast<std::uint64_t>(b) : a < b;
}

/// Copies elements of `size` bytes from tensor 1 of the nest to tensor 0.
void copy_elements(std::size_t size, const Nest& nest, std::byte* dst, std::int64_t dst_offset,
                   const std::byte* src, std::int64_t src_offset);
/// A dense row-major copy of a tensor of reals as T (float or double).
template <class T>
void to_dense(const TensorDesc& desc, const std::byte* data, T* to);

inline std::size_t align64(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace headrace::reference
