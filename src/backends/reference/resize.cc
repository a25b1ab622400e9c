// Resize: a table of taps {source index, weight} per axis and output position; one axis after the other, in
// double.
//
// Every mode of ONNX is such a table, since its interpolation is separable: nearest has one tap, linear two,
// cubic four, antialiasing more. Positions that tf_crop_and_resize puts outside take the extrapolation value.
#include <cmath>

#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

constexpr double kFar = 0x1p50;

struct AxisTable {
  std::int64_t in = 0, out = 0, taps = 0;
  std::vector<std::int64_t> index;  ///< [out][taps]
  std::vector<double> weight;
  std::vector<bool> outside;  ///< [out]
  bool identity = false;
};

double coordinate(const Resize& op, std::size_t axis, std::int64_t x, std::int64_t in, std::int64_t out,
                  double scale) {
  const double width = op.scales.empty() ? static_cast<double>(out) : scale * static_cast<double>(in);
  const double i = static_cast<double>(x), last = static_cast<double>(in - 1);
  switch (op.coord) {
    case ResizeCoord::align_corners: return width == 1 || out == 1 ? 0 : i * last / (width - 1);
    case ResizeCoord::asymmetric: return i / scale;
    case ResizeCoord::pytorch_half_pixel: return width == 1 ? -0.5 : (i + 0.5) / scale - 0.5;
    case ResizeCoord::half_pixel: return (i + 0.5) / scale - 0.5;
    case ResizeCoord::half_pixel_symmetric: {
      const double adjustment = static_cast<double>(out) / width;
      return static_cast<double>(in) / 2 * (1 - adjustment) + (i + 0.5) / scale - 0.5;
    }
    case ResizeCoord::tf_crop_and_resize: {
      const std::size_t rank = op.roi.size() / 2;
      const double begin = op.roi.empty() ? 0 : op.roi[axis].value,
                   end = op.roi.empty() ? 1 : op.roi[rank + axis].value;
      if (width == 1 || out == 1) return (end - begin) * last / 2 + begin * last;
      return i * (end - begin) * last / (width - 1) + begin * last;
    }
  }
  return 0;
}

double cubic(double x, double a) {
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((x - 5) * x + 8) * x * a - 4 * a;
  return 0;
}

/// Weights of the taps at floor + first .. for a fraction `ratio`; returns `first`.
std::int64_t taps(const Resize& op, double ratio, double scale, std::vector<double>& weights) {
  weights.clear();
  if (op.mode == ResizeMode::nearest) {
    bool upper = false;
    if (ratio == 1)
      upper = true;
    else if (op.nearest == ResizeNearest::round_prefer_floor)
      upper = ratio > 0.5;
    else if (op.nearest == ResizeNearest::round_prefer_ceil)
      upper = ratio >= 0.5;
    else
      upper = op.nearest == ResizeNearest::ceil;
    weights = {1};
    return upper ? 1 : 0;
  }
  const double radius = op.mode == ResizeMode::linear ? 1 : 2;
  const double shrink = op.antialias ? std::min(scale, 1.0) : 1.0;
  const auto first = static_cast<std::int64_t>(std::floor(-radius / shrink)) + 1;
  double sum = 0;
  for (std::int64_t i = first; i < 2 - first; ++i) {
    const double x = (static_cast<double>(i) - ratio) * shrink;
    weights.push_back(op.mode == ResizeMode::linear ? std::max(0.0, 1 - std::abs(x))
                                                    : cubic(x, op.cubic_coeff));
    sum += weights.back();
  }
  if (op.antialias)
    for (double& w : weights) w /= sum;
  return first;
}

AxisTable make_table(const Resize& op, std::size_t axis, std::int64_t in, std::int64_t out) {
  AxisTable table;
  table.in = in;
  table.out = out;
  const double scale =
      op.scales.empty() ? static_cast<double>(out) / static_cast<double>(in) : op.scales[axis].value;
  std::vector<double> weights;
  table.identity = in == out;
  for (std::int64_t x = 0; x < out && in > 0; ++x) {
    // Far outside is outside; what an integer cannot hold is not asked for.
    const double at = std::fmax(-kFar, std::fmin(coordinate(op, axis, x, in, out, scale), kFar));
    const double floor = std::floor(at);
    const bool whole = at == floor;
    const auto base = static_cast<std::int64_t>(whole ? floor - 1 : floor);
    const std::int64_t first = base + taps(op, whole ? 1 : at - floor, scale, weights);
    const bool outside =
        op.coord == ResizeCoord::tf_crop_and_resize && (at < 0 || at > static_cast<double>(in - 1));
    table.outside.push_back(outside);
    table.taps = static_cast<std::int64_t>(weights.size());
    if (op.exclude_outside) {
      double sum = 0;
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const std::int64_t index = first + static_cast<std::int64_t>(i);
        if (index < 0 || index >= in) weights[i] = 0;
        sum += weights[i];
      }
      for (double& w : weights) w /= sum;
    }
    table.identity &= whole && floor == static_cast<double>(x) && !outside;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      table.index.push_back(std::clamp<std::int64_t>(first + static_cast<std::int64_t>(i), 0, in - 1));
      table.weight.push_back(weights[i]);
    }
  }
  return table;
}

/// Elements of a shape before and after an axis.
std::int64_t product(const Shape& shape, std::size_t begin, std::size_t end) {
  std::int64_t p = 1;
  for (std::size_t i = begin; i < end; ++i) p *= shape[i];
  return p;
}

/// Nearest moves elements, so it is exact for every type.
Work make_nearest(const TensorDesc& src, const TensorDesc& dst, std::vector<AxisTable> tables,
                  double extrapolation) {
  const Nest nest{dst.shape, {dst.strides}};
  const std::size_t size = size_bytes(src.dtype);
  return {[=](Data data, std::byte*) {
    std::array<std::int64_t, kMaxRank> index{};
    std::int64_t offset[1] = {0};
    nest.each(offset, [&] {
      std::int64_t from = 0;
      bool outside = false;
      for (std::size_t axis = 0; axis < tables.size(); ++axis) {
        const auto i = static_cast<std::size_t>(index[axis]);
        from += tables[axis].index[i] * src.strides[axis];
        outside |= tables[axis].outside[i];
      }
      if (outside)
        put_real(dst.dtype, data[1], offset[0], extrapolation);
      else
        std::memcpy(data[1] + static_cast<std::size_t>(offset[0]) * size,
                    data[0] + static_cast<std::size_t>(from) * size, size);
      for (std::size_t axis = tables.size(); axis-- > 0;) {
        if (++index[axis] < nest.shape[axis]) break;
        index[axis] = 0;
      }
    });
  }};
}

void resize_axis(const AxisTable& table, std::int64_t outer, std::int64_t inner, double extrapolation,
                 const double* from, double* to) {
  for (std::int64_t o = 0; o < outer; ++o, from += table.in * inner)
    for (std::int64_t x = 0; x < table.out; ++x, to += inner) {
      const auto i = static_cast<std::size_t>(x);
      std::fill_n(to, inner, table.outside[i] ? extrapolation : 0);
      if (table.outside[i]) continue;
      for (std::int64_t t = 0; t < table.taps; ++t) {
        const auto tap = static_cast<std::size_t>(x * table.taps + t);
        const double weight = table.weight[tap];
        if (weight == 0) continue;
        const double* row = from + table.index[tap] * inner;
        for (std::int64_t k = 0; k < inner; ++k) to[k] += weight * row[k];
      }
    }
}

}  // namespace

Work make(const Resize& op, const Problem& problem) {
  const TensorDesc src = problem.srcs[0], dst = problem.dsts[0];
  if (src.shape.size() != dst.shape.size() || (!op.scales.empty() && op.scales.size() != src.shape.size()) ||
      (!op.roi.empty() && op.roi.size() != 2 * src.shape.size()))
    throw Error(ErrorCode::invalid_model,
                "Resize: sizes, scales and roi must have an entry per axis of " + to_string(src));
  if (src.elements() == 0 && dst.elements() > 0)
    throw Error(ErrorCode::invalid_argument, "Resize of the empty tensor " + to_string(src));
  std::vector<AxisTable> tables;
  for (std::size_t i = 0; i < src.shape.size(); ++i)
    tables.push_back(make_table(op, i, src.shape[i], dst.shape[i]));
  if (op.mode == ResizeMode::nearest) return make_nearest(src, dst, std::move(tables), op.extrapolation);

  // Two dense buffers in turn, each as large as the largest step.
  std::size_t largest = static_cast<std::size_t>(src.elements());
  Shape shape = src.shape;
  for (std::size_t axis = tables.size(); axis-- > 0;) {
    shape[axis] = dst.shape[axis];
    largest = std::max(largest, static_cast<std::size_t>(element_count(shape)));
  }
  const std::size_t bytes = align64(largest * sizeof(double));
  const double extrapolation = op.extrapolation;
  const Nest out{dst.shape, {dst.strides}};
  Work work;
  work.workspace = 2 * bytes;
  work.run = [=](Data data, std::byte* workspace) {
    double* from = reinterpret_cast<double*>(workspace);
    double* to = reinterpret_cast<double*>(workspace + bytes);
    to_dense(src, data[0], from);
    // `shape` has src's extents before axis and dst's from it on.
    for (std::size_t axis = tables.size(); axis-- > 0;) {
      if (tables[axis].identity) continue;
      resize_axis(tables[axis], product(src.shape, 0, axis), product(dst.shape, axis + 1, dst.shape.size()),
                  extrapolation, from, to);
      std::swap(from, to);
    }
    std::int64_t offset[1] = {0};
    out.rows(offset, [&](std::int64_t n) {
      store_real(dst.dtype, data[1], offset[0], out.inner(0), n, from);
      from += n;
    });
  };
  return work;
}

}  // namespace headrace::reference
