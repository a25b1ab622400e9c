// Coordinates of Resize along one axis, as tables made once per kernel.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/op.h"

namespace headrace::cpu {

/// Source coordinate of destination index i (not yet clamped). Not for tf_crop_and_resize.
inline double resize_coordinate(const Resize& op, std::size_t axis, std::int64_t i, std::int64_t in,
                                std::int64_t out) {
  const double factor =
      op.scales.empty() ? static_cast<double>(out) / static_cast<double>(in) : op.scales[axis].value;
  const double x = static_cast<double>(i), n_in = static_cast<double>(in), n_out = static_cast<double>(out);
  const double width =
      op.scales.empty() ? n_out : factor * n_in;  // before it was rounded to `out`; what ONNX's formulas take
  switch (op.coord) {
    case ResizeCoord::half_pixel: return (x + 0.5) / factor - 0.5;
    case ResizeCoord::half_pixel_symmetric: {
      const double adjustment = n_out / width;
      return n_in / 2 * (1 - adjustment) + (x + 0.5) / factor - 0.5;
    }
    case ResizeCoord::pytorch_half_pixel: return width == 1 ? -0.5 : (x + 0.5) / factor - 0.5;
    case ResizeCoord::align_corners: return width == 1 || out == 1 ? 0 : x * (n_in - 1) / (width - 1);
    default: return x / factor;
  }
}

/// True when the axis is copied as it is.
inline bool resize_is_identity(const Resize& op, std::size_t axis, std::int64_t in, std::int64_t out) {
  return in == out && (op.scales.empty() || op.scales[axis] == Real(1)) &&
         op.coord != ResizeCoord::tf_crop_and_resize;
}

inline std::int64_t resize_nearest(const Resize& op, std::size_t axis, std::int64_t i, std::int64_t in,
                                   std::int64_t out) {
  const double x = resize_coordinate(op, axis, i, in, out);
  double r = 0;
  switch (op.nearest) {
    case ResizeNearest::round_prefer_floor: r = std::ceil(x - 0.5); break;
    case ResizeNearest::round_prefer_ceil: r = std::floor(x + 0.5); break;
    case ResizeNearest::floor: r = std::floor(x); break;
    case ResizeNearest::ceil: r = std::ceil(x); break;
  }
  return static_cast<std::int64_t>(std::clamp<double>(r, 0, static_cast<double>(in - 1)));
}

}  // namespace headrace::cpu
