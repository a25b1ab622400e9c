// ConvTranspose: every input element scatters its weighted kernel into a plane of doubles.
#include "backends/reference/post.h"
#include "backends/reference/reference.h"
#include "backends/reference/spatial.h"

namespace headrace::reference {

namespace {

template <class T>
Work make_conv_transpose(const ConvTranspose& op, const Problem& problem) {
  const TensorDesc &src = problem.srcs[0], &weights = problem.srcs[1], &dst = problem.dsts[0];
  const Ints kernel(weights.shape.begin() + 2, weights.shape.end());
  const Window w =
      make_window(src.shape, dst.shape, kernel, op.strides, op.dilations, op.pads_begin, op.pads_end);
  const PostSteps post(op.post, problem, op.has_bias ? 3 : 2);
  const std::int64_t channels = src.shape[1] / op.groups, maps = dst.shape[1] / op.groups;
  const auto src_bytes = align64(static_cast<std::size_t>(src.elements()) * sizeof(T));
  const auto weight_bytes = align64(static_cast<std::size_t>(weights.elements()) * sizeof(T));
  const std::size_t operands = problem.srcs.size();
  const bool has_bias = op.has_bias;
  const TensorDesc bias = has_bias ? problem.srcs[2] : TensorDesc{};

  Work work;
  work.workspace = src_bytes + weight_bytes + static_cast<std::size_t>(w.out_size()) * sizeof(double);
  work.run = [=](Data data, std::byte* workspace) {
    T* in = reinterpret_cast<T*>(workspace);
    T* filter = reinterpret_cast<T*>(workspace + src_bytes);
    double* sum = reinterpret_cast<double*>(workspace + src_bytes + weight_bytes);
    to_dense(src, data[0], in);
    to_dense(weights, data[1], filter);
    std::int64_t index[5];
    for (std::int64_t n = 0; n < dst.shape[0]; ++n)
      for (std::int64_t m = 0; m < dst.shape[1]; ++m) {
        const std::int64_t group = m / maps;
        std::fill_n(sum, w.out_size(), has_bias ? real_at(bias.dtype, data[2], m * bias.strides[0]) : 0);
        for (std::int64_t c = group * channels; c < (group + 1) * channels; ++c) {
          const T* from = in + (n * src.shape[1] + c) * w.in_size();
          const T* taps = filter + (c * maps + m % maps) * w.kernel_size();
          for (std::int64_t id = 0; id < w.in[0]; ++id)
            for (std::int64_t kd = 0; kd < w.kernel[0]; ++kd) {
              const std::int64_t od = id * w.stride[0] + kd * w.dilation[0] - w.begin[0];
              if (od < 0 || od >= w.out[0]) continue;
              for (std::int64_t ih = 0; ih < w.in[1]; ++ih)
                for (std::int64_t kh = 0; kh < w.kernel[1]; ++kh) {
                  const std::int64_t oh = ih * w.stride[1] + kh * w.dilation[1] - w.begin[1];
                  if (oh < 0 || oh >= w.out[1]) continue;
                  double* to = sum + (od * w.out[1] + oh) * w.out[2];
                  const T* x = from + (id * w.in[1] + ih) * w.in[2];
                  for (std::int64_t kw = 0; kw < w.kernel[2]; ++kw) {
                    const double factor = taps[(kd * w.kernel[1] + kh) * w.kernel[2] + kw];
                    const std::int64_t shift = kw * w.dilation[2] - w.begin[2];
                    const Range r =
                        valid(shift, w.stride[2], w.out[2], w.in[2]);  // inputs whose output exists
                    for (std::int64_t i = r.first; i < r.last; ++i)
                      to[i * w.stride[2] + shift] += factor * static_cast<double>(x[i]);
                  }
                }
            }
        }
        for (std::int64_t od = 0; od < w.out[0]; ++od)
          for (std::int64_t oh = 0; oh < w.out[1]; ++oh) {
            const std::size_t rank = w.index(n, m, od, oh, 0, index);
            finish_row(post, dst, data, operands, {index, rank}, w.out[2],
                       sum + (od * w.out[1] + oh) * w.out[2]);
          }
      }
  };
  return work;
}

}  // namespace

Work make(const ConvTranspose& op, const Problem& problem) {
  return problem.srcs[0].dtype == DType::f64 ? make_conv_transpose<double>(op, problem)
                                             : make_conv_transpose<float>(op, problem);
}

}  // namespace headrace::reference
