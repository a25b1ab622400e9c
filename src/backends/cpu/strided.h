// Loop nests over strided operands: axes sorted by one operand's strides, and merged where all operands allow
// it.
//
//   Nest nest = make_nest(dst.shape, {dst.strides, broadcast_strides(src, dst.shape)});   // operand 0 gives
//   the order
// Contract: extents of 1 vanish; there is at least one axis; the last one is the innermost.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace headrace::cpu {

using Strides = std::vector<std::int64_t>;

struct Nest {
  std::vector<std::int64_t> extents;
  std::vector<Strides> strides;  ///< [operand][axis]
  std::int64_t count() const {
    std::int64_t n = 1;
    for (std::int64_t e : extents) n *= e;
    return n;
  }
  /// Offset of operand `o` at flat position `i` over the first `axes` axes.
  std::int64_t offset(std::size_t o, std::int64_t i, std::size_t axes) const {
    std::int64_t at = 0;
    for (std::size_t a = axes; a-- > 0;) {
      at += i % extents[a] * strides[o][a];
      i /= extents[a];
    }
    return at;
  }
};

inline Nest make_nest(const Shape& shape, const std::vector<Strides>& operands) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1) order.push_back(i);
  }
  const auto magnitude = [](std::int64_t s) { return s < 0 ? -s : s; };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return magnitude(operands[0][a]) > magnitude(operands[0][b]);
  });
  Nest nest;
  nest.strides.resize(operands.size());
  for (std::size_t axis : order) {
    bool merges = !nest.extents.empty();
    for (std::size_t o = 0; o < operands.size() && merges; ++o) {
      merges = nest.strides[o].back() == operands[o][axis] * shape[axis];
    }
    if (merges) {
      nest.extents.back() *= shape[axis];
      for (std::size_t o = 0; o < operands.size(); ++o) nest.strides[o].back() = operands[o][axis];
      continue;
    }
    nest.extents.push_back(shape[axis]);
    for (std::size_t o = 0; o < operands.size(); ++o) nest.strides[o].push_back(operands[o][axis]);
  }
  if (nest.extents.empty()) {
    nest.extents.push_back(1);
    for (auto& s : nest.strides) s.push_back(1);
  }
  return nest;
}

/// Strides of `desc` read as `shape` by numpy's broadcasting: 0 along repeated axes.
inline Strides broadcast_strides(const TensorDesc& desc, const Shape& shape) {
  Strides strides(shape.size(), 0);
  const std::size_t pad = shape.size() - desc.shape.size();
  for (std::size_t i = 0; i < desc.shape.size(); ++i) {
    if (desc.shape[i] != 1) strides[pad + i] = desc.strides[i];
  }
  return strides;
}

}  // namespace headrace::cpu
