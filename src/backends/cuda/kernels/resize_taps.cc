#include "backends/cuda/kernels/resize_taps.h"

#include <algorithm>
#include <cmath>

namespace headrace::cuda {
namespace {

double source_position(const Resize& op, std::size_t axis, std::int64_t at, std::int64_t in, std::int64_t out,
                       double scale) {
  const double x = static_cast<double>(at), n = static_cast<double>(in), m = static_cast<double>(out);
  const double width = op.scales.empty() ? m : scale * n;  // the extent before it was rounded
  switch (op.coord) {
    case ResizeCoord::half_pixel: return (x + 0.5) / scale - 0.5;
    case ResizeCoord::half_pixel_symmetric: return n / 2 * (1 - m / width) + (x + 0.5) / scale - 0.5;
    case ResizeCoord::pytorch_half_pixel: return width == 1 ? -0.5 : (x + 0.5) / scale - 0.5;
    case ResizeCoord::align_corners: return width == 1 || out == 1 ? 0 : x * (n - 1) / (width - 1);
    case ResizeCoord::asymmetric: return x / scale;
    case ResizeCoord::tf_crop_and_resize: {
      const double begin = op.roi.empty() ? 0 : op.roi[axis].value,
                   end = op.roi.empty() ? 1 : op.roi[op.roi.size() / 2 + axis].value;
      const double middle = width == 1 || out == 1 ? 0.5 : x / (width - 1);
      return middle * (end - begin) * (n - 1) + begin * (n - 1);
    }
  }
  return 0;
}

double cubic_weight(double x, double a) {
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

std::int64_t nearest_position(ResizeNearest rule, double at) {
  double r = 0;
  switch (rule) {
    case ResizeNearest::round_prefer_floor: r = std::ceil(at - 0.5); break;
    case ResizeNearest::round_prefer_ceil: r = std::floor(at + 0.5); break;
    case ResizeNearest::floor: r = std::floor(at); break;
    case ResizeNearest::ceil: r = std::ceil(at); break;
  }
  return static_cast<std::int64_t>(r);
}

}  // namespace

ResizeAxis make_resize_axis(const Resize& op, std::size_t axis, std::int64_t in, std::int64_t out) {
  constexpr double kFar = 0x1p50;
  const double scale =
      op.scales.empty() ? static_cast<double>(out) / static_cast<double>(in) : op.scales[axis].value;
  const double shrink = op.antialias ? std::min(scale, 1.0) : 1.0;
  const double radius = (op.mode == ResizeMode::linear ? 1 : 2) / shrink;
  const auto reach = static_cast<std::int64_t>(std::ceil(radius));
  ResizeAxis t;
  t.identity = in == out;
  t.taps = op.mode == ResizeMode::nearest ? 1 : 2 * reach;
  for (std::int64_t i = 0; i < out && in > 0; ++i) {
    const double at = std::clamp(source_position(op, axis, i, in, out, scale), -kFar, kFar);
    const bool outside =
        op.coord == ResizeCoord::tf_crop_and_resize && (at < 0 || at > static_cast<double>(in - 1));
    t.outside.push_back(outside);
    t.identity = t.identity && at == static_cast<double>(i) && !outside;
    std::vector<std::int64_t> index;
    std::vector<double> weight;
    if (op.mode == ResizeMode::nearest) {
      index = {nearest_position(op.nearest, at)};
      weight = {1};
    } else {
      const auto base = static_cast<std::int64_t>(std::floor(at)) - reach + 1;
      double sum = 0;
      for (std::int64_t k = 0; k < t.taps; ++k) {
        const double x = (static_cast<double>(base + k) - at) * shrink;
        double w =
            op.mode == ResizeMode::linear ? std::max(0.0, 1 - std::abs(x)) : cubic_weight(x, op.cubic_coeff);
        if (op.exclude_outside && (base + k < 0 || base + k >= in)) w = 0;
        index.push_back(base + k);
        weight.push_back(w);
        sum += w;
      }
      if (op.antialias || op.exclude_outside)
        for (double& w : weight) w /= sum;
    }
    for (std::int64_t k = 0; k < t.taps; ++k) {
      t.index.push_back(std::clamp<std::int64_t>(index[static_cast<std::size_t>(k)], 0, in - 1));
      t.weight.push_back(weight[static_cast<std::size_t>(k)]);
    }
  }
  return t;
}

}  // namespace headrace::cuda
