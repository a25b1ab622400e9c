// Geometry of sliding windows: one to three spatial axes, seen as three (missing ones in front have extent
// 1).
#pragma once

#include "backends/reference/loops.h"
#include "core/op.h"

namespace headrace::reference {

struct Window {
  std::size_t rank = 0;  ///< spatial axes that exist
  std::int64_t in[3] = {1, 1, 1}, out[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};
  std::int64_t stride[3] = {1, 1, 1}, dilation[3] = {1, 1, 1}, begin[3] = {0, 0, 0}, end[3] = {0, 0, 0};

  std::int64_t in_size() const { return in[0] * in[1] * in[2]; }
  std::int64_t out_size() const { return out[0] * out[1] * out[2]; }
  std::int64_t kernel_size() const { return kernel[0] * kernel[1] * kernel[2]; }
  /// dst index of (n, c, position); returns its length.
  std::size_t index(std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h, std::int64_t w,
                    std::int64_t* to) const {
    const std::int64_t position[3] = {d, h, w};
    to[0] = n;
    to[1] = c;
    for (std::size_t i = 0; i < rank; ++i) to[2 + i] = position[3 - rank + i];
    return 2 + rank;
  }
};

/// Throws Error(unsupported) for more than three spatial axes.
inline Window make_window(const Shape& src, const Shape& dst, const Ints& kernel, const Ints& strides,
                          const Ints& dilations, const Dims& pads_begin, const Dims& pads_end) {
  Window w;
  if (src.size() < 3 || src.size() > 5)
    throw Error(ErrorCode::unsupported,
                "a window over " + to_string(src) + ": one to three spatial axes are supported");
  w.rank = src.size() - 2;
  if (dst.size() != src.size() || kernel.size() != w.rank || strides.size() != w.rank ||
      dilations.size() != w.rank || pads_begin.size() != w.rank || pads_end.size() != w.rank)
    throw Error(ErrorCode::invalid_model, "a window over " + to_string(src) +
                                              ": kernel, strides, dilations and pads "
                                              "must have one entry per spatial axis");
  for (std::size_t i = 0; i < w.rank; ++i) {
    const std::size_t k = 3 - w.rank + i;
    w.in[k] = src[2 + i];
    w.out[k] = dst[2 + i];
    w.kernel[k] = kernel[i];
    w.stride[k] = strides[i];
    w.dilation[k] = dilations[i];
    w.begin[k] = pads_begin[i].value;
    w.end[k] = pads_end[i].value;
  }
  return w;
}

/// Outputs o in [first, last) of axis k whose input o*stride + shift lies in [0, in).
struct Range {
  std::int64_t first = 0, last = 0;
};
inline Range valid(std::int64_t shift, std::int64_t stride, std::int64_t in, std::int64_t out) {
  Range r;
  r.first = shift >= 0 ? 0 : (-shift + stride - 1) / stride;
  r.last = in - shift <= 0 ? 0 : std::min(out, (in - shift - 1) / stride + 1);
  r.first = std::min(r.first, r.last);
  return r;
}

}  // namespace headrace::reference
