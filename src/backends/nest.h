// Loop nests over strided operands: axes sorted by one operand's strides, and merged where all operands allow
// it.
//
//   Nest nest = make_nest(dst.shape, {dst.strides, broadcast_strides(src, dst.shape)});   // operand 0 gives
//   the order
// Contract: extents of 1 vanish; there is at least one axis; the last one is the innermost.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace headrace {

using Strides = std::vector<std::int64_t>;

struct Nest {
  std::vector<std::int64_t> extents;
  std::vector<Strides> strides;  ///< [operand][axis]
  std::size_t axes() const { return extents.size(); }
  std::int64_t count() const;
  /// Offset of operand `o` at flat position `i` over the first `axes` axes.
  std::int64_t offset(std::size_t o, std::int64_t i, std::size_t axes) const {
    std::int64_t at = 0;
    for (std::size_t a = axes; a-- > 0;) {
      at += i % extents[a] * strides[o][a];
      i /= extents[a];
    }
    return at;
  }
  /// Largest distance of an element from the first, in elements of that operand.
  std::int64_t span(std::size_t operand) const;
  Nest without(std::size_t axis) const;
};

/// `single`: the stride that a nest of one element gets.
Nest make_nest(const Shape& shape, const std::vector<Strides>& operands, std::int64_t single = 1);

}  // namespace headrace
