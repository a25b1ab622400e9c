// Pool: max, average and Lp over windows. Padding never wins a max and never counts unless asked.
#include <cmath>
#include <limits>

#include "backends/reference/reference.h"
#include "backends/reference/spatial.h"

namespace headrace::reference {

namespace {

/// Elements of the window at output o that lie inside [0, in) or, with padding counted, inside [-begin, in +
/// end).
std::int64_t counted(const Window& w, std::size_t k, std::int64_t o, bool with_padding) {
  std::int64_t count = 0;
  for (std::int64_t t = 0; t < w.kernel[k]; ++t) {
    const std::int64_t i = o * w.stride[k] - w.begin[k] + t * w.dilation[k];
    count += with_padding ? i < w.in[k] + w.end[k] : i >= 0 && i < w.in[k];
  }
  return count;
}

}  // namespace

Work make(const Pool& op, const Problem& problem) {
  const TensorDesc src = problem.srcs[0], dst = problem.dsts[0];
  const Window w =
      make_window(src.shape, dst.shape, op.kernel, op.strides, op.dilations, op.pads_begin, op.pads_end);
  const bool with_indices = problem.dsts.size() > 1;
  const TensorDesc indices = with_indices ? problem.dsts[1] : TensorDesc{};
  const Pool pool = op;

  Work work;
  work.workspace = static_cast<std::size_t>(w.in_size()) * sizeof(double);
  work.run = [=](Data data, std::byte* workspace) {
    double* plane = reinterpret_cast<double*>(workspace);
    TensorDesc one = src;
    const bool integers = !is_float(src.dtype);
    std::int64_t index[5];
    for (std::int64_t n = 0; n < dst.shape[0]; ++n)
      for (std::int64_t c = 0; c < dst.shape[1]; ++c) {
        // the plane, dense
        std::int64_t at = 0;
        for (std::int64_t d = 0; d < w.in[0]; ++d)
          for (std::int64_t h = 0; h < w.in[1]; ++h, at += w.in[2]) {
            const std::size_t rank = w.index(n, c, d, h, 0, index);
            std::int64_t offset = 0;
            for (std::size_t i = 0; i < rank; ++i) offset += index[i] * src.strides[i];
            load_real(src.dtype, data[0], offset, src.strides[rank - 1], w.in[2], plane + at);
          }
        for (std::int64_t od = 0; od < w.out[0]; ++od)
          for (std::int64_t oh = 0; oh < w.out[1]; ++oh)
            for (std::int64_t ow = 0; ow < w.out[2]; ++ow) {
              const std::int64_t o[3] = {od, oh, ow};
              double result = pool.kind == PoolKind::max ? -std::numeric_limits<double>::infinity() : 0;
              std::int64_t best = -1;
              for (std::int64_t kd = 0; kd < w.kernel[0]; ++kd) {
                const std::int64_t id = od * w.stride[0] - w.begin[0] + kd * w.dilation[0];
                if (id < 0 || id >= w.in[0]) continue;
                for (std::int64_t kh = 0; kh < w.kernel[1]; ++kh) {
                  const std::int64_t ih = oh * w.stride[1] - w.begin[1] + kh * w.dilation[1];
                  if (ih < 0 || ih >= w.in[1]) continue;
                  for (std::int64_t kw = 0; kw < w.kernel[2]; ++kw) {
                    const std::int64_t iw = ow * w.stride[2] - w.begin[2] + kw * w.dilation[2];
                    if (iw < 0 || iw >= w.in[2]) continue;
                    const std::int64_t flat = (id * w.in[1] + ih) * w.in[2] + iw;
                    const double x = plane[flat];
                    if (pool.kind == PoolKind::average)
                      result += x;
                    else if (pool.kind == PoolKind::lp)
                      result += std::pow(std::abs(x), static_cast<double>(pool.p));
                    else if (best < 0 || x > result || (std::isnan(x) && !std::isnan(result))) {
                      result = x;
                      best = pool.column_major ? (iw * w.in[1] + ih) * w.in[0] + id : flat;
                    }
                  }
                }
              }
              if (pool.kind == PoolKind::lp) result = std::pow(result, 1.0 / static_cast<double>(pool.p));
              if (pool.kind == PoolKind::average) {
                std::int64_t count = 1;
                for (std::size_t k = 0; k < 3; ++k) count *= counted(w, k, o[k], pool.count_include_pad);
                result /= static_cast<double>(count);
              }
              const std::size_t rank = w.index(n, c, od, oh, ow, index);
              std::int64_t to = 0, to_index = 0;
              for (std::size_t i = 0; i < rank; ++i) {
                to += index[i] * dst.strides[i];
                if (with_indices) to_index += index[i] * indices.strides[i];
              }
              if (integers)
                put_int(dst.dtype, data[1], to, best < 0 ? 0 : static_cast<std::int64_t>(result));
              else
                put_real(dst.dtype, data[1], to, result);
              if (with_indices)
                put_int(indices.dtype, data[2], to_index,
                        best < 0 ? 0 : best + (n * src.shape[1] + c) * w.in_size());
            }
      }
  };
  return work;
}

}  // namespace headrace::reference
