// LayerNorm and RMS norm over the axes from `axis` on, statistics in double.
#include <cmath>

#include "backends/reference/reference.h"

namespace headrace::reference {

Work make(const LayerNorm& op, const Problem& problem) {
  const TensorDesc src = problem.srcs[0], dst = problem.dsts[0];
  const auto axis = static_cast<std::ptrdiff_t>(op.axis);
  // Tensors of both nests: src, dst, scale, bias, mean, inv_std_dev; absent ones have stride 0.
  const Strides none(src.shape.size(), 0);
  std::vector<Strides> strides{src.strides, dst.strides, none, none, none, none};
  std::size_t next = 1;
  std::size_t scale_at = 0, bias_at = 0;
  DType scale_dtype = DType::f32, bias_dtype = DType::f32;
  if (op.has_scale) {
    scale_at = next++;
    strides[2] = broadcast_strides(problem.srcs[scale_at], src.shape);
    scale_dtype = problem.srcs[scale_at].dtype;
  }
  if (op.has_bias) {
    bias_at = next++;
    strides[3] = broadcast_strides(problem.srcs[bias_at], src.shape);
    bias_dtype = problem.srcs[bias_at].dtype;
  }
  const std::size_t outputs = problem.dsts.size(), first = problem.srcs.size();
  for (std::size_t i = 1; i < outputs; ++i) strides[3 + i] = problem.dsts[i].strides;
  Nest outer{Shape(src.shape.begin(), src.shape.begin() + axis), {}},
      inner{Shape(src.shape.begin() + axis, src.shape.end()), {}};
  for (const Strides& s : strides) {
    outer.strides.emplace_back(s.begin(), s.begin() + axis);
    inner.strides.emplace_back(s.begin() + axis, s.end());
  }
  const std::int64_t count = element_count(inner.shape);
  const double epsilon = op.epsilon;
  const bool rms = op.rms, has_scale = op.has_scale, has_bias = op.has_bias;
  const DType mean_dtype = outputs > 1 ? problem.dsts[1].dtype : DType::f32;
  const DType inv_dtype = outputs > 2 ? problem.dsts[2].dtype : DType::f32;

  return {[=](Data data, std::byte*) {
    std::int64_t offset[6] = {};
    outer.each(offset, [&] {
      std::int64_t at[6];
      double mean = 0, variance = 0;
      if (!rms) {
        std::copy_n(offset, 6, at);
        inner.each(at, [&] { mean += real_at(src.dtype, data[0], at[0]); });
        mean /= static_cast<double>(count);
      }
      std::copy_n(offset, 6, at);
      inner.each(at, [&] {
        const double x = real_at(src.dtype, data[0], at[0]) - mean;
        variance += x * x;
      });
      const double inverse = 1 / std::sqrt(variance / static_cast<double>(count) + epsilon);
      std::copy_n(offset, 6, at);
      inner.each(at, [&] {
        double x = (real_at(src.dtype, data[0], at[0]) - mean) * inverse;
        if (has_scale) x *= real_at(scale_dtype, data[scale_at], at[2]);
        if (has_bias) x += real_at(bias_dtype, data[bias_at], at[3]);
        put_real(dst.dtype, data[first], at[1], x);
      });
      if (outputs > 1) put_real(mean_dtype, data[first + 1], offset[4], mean);
      if (outputs > 2) put_real(inv_dtype, data[first + 2], offset[5], inverse);
    });
  }};
}

}  // namespace headrace::reference
