// Conv: direct, one row of the output at a time, accumulated in double; then its max-pool, if it has one.
#include <array>

#include "backends/reference/post.h"
#include "backends/reference/reference.h"
#include "backends/reference/spatial.h"
#include "core/post.h"

namespace headrace::reference {

namespace {

template <class T>
Work make_conv(const Conv& op, const Problem& problem) {
  const TensorDesc &src = problem.srcs[0], &weights = problem.srcs[1], &dst = problem.dsts[0];
  const Ints kernel(weights.shape.begin() + 2, weights.shape.end());
  const Window w =
      make_window(src.shape, dst.shape, kernel, op.strides, op.dilations, op.pads_begin, op.pads_end);
  const PostSteps post(op.post, problem, op.has_bias ? 3 : 2);
  const std::int64_t channels = src.shape[1] / op.groups, maps = dst.shape[1] / op.groups;
  const auto src_bytes = align64(static_cast<std::size_t>(src.elements()) * sizeof(T));
  const auto weight_bytes = align64(static_cast<std::size_t>(weights.elements()) * sizeof(T));
  const std::size_t operands = problem.srcs.size();
  const bool has_bias = op.has_bias, rounds = weights.dtype == DType::f16 && src.dtype != DType::f16;
  const TensorDesc bias = has_bias ? problem.srcs[2] : TensorDesc{};

  Work work;
  work.workspace = src_bytes + weight_bytes + static_cast<std::size_t>(w.out[2]) * sizeof(double);
  work.run = [=](Data data, std::byte* workspace) {
    T* in = reinterpret_cast<T*>(workspace);
    T* filter = reinterpret_cast<T*>(workspace + src_bytes);
    double* row = reinterpret_cast<double*>(workspace + src_bytes + weight_bytes);
    to_dense(src, data[0], in);
    if (rounds)
      for (std::int64_t i = 0; i < src.elements(); ++i)
        in[i] = static_cast<T>(round_to(DType::f16, static_cast<double>(in[i])));
    to_dense(weights, data[1], filter);
    std::int64_t index[5];
    for (std::int64_t n = 0; n < dst.shape[0]; ++n)
      for (std::int64_t m = 0; m < dst.shape[1]; ++m) {
        const T* plane = in + (n * src.shape[1] + m / maps * channels) * w.in_size();
        const T* taps = filter + m * channels * w.kernel_size();
        const double start = has_bias ? real_at(bias.dtype, data[2], m * bias.strides[0]) : 0;
        for (std::int64_t od = 0; od < w.out[0]; ++od)
          for (std::int64_t oh = 0; oh < w.out[1]; ++oh) {
            std::fill_n(row, w.out[2], start);
            for (std::int64_t c = 0; c < channels; ++c)
              for (std::int64_t kd = 0; kd < w.kernel[0]; ++kd) {
                const std::int64_t id = od * w.stride[0] - w.begin[0] + kd * w.dilation[0];
                if (id < 0 || id >= w.in[0]) continue;
                for (std::int64_t kh = 0; kh < w.kernel[1]; ++kh) {
                  const std::int64_t ih = oh * w.stride[1] - w.begin[1] + kh * w.dilation[1];
                  if (ih < 0 || ih >= w.in[1]) continue;
                  const T* from = plane + ((c * w.in[0] + id) * w.in[1] + ih) * w.in[2];
                  const T* tap = taps + ((c * w.kernel[0] + kd) * w.kernel[1] + kh) * w.kernel[2];
                  for (std::int64_t kw = 0; kw < w.kernel[2]; ++kw) {
                    const std::int64_t shift = kw * w.dilation[2] - w.begin[2], stride = w.stride[2];
                    const Range r = valid(shift, stride, w.in[2], w.out[2]);
                    const double factor = tap[kw];
                    if (stride == 1) {
                      const T* x = from + shift;
#pragma GCC ivdep
                      for (std::int64_t i = r.first; i < r.last; ++i)
                        row[i] += factor * static_cast<double>(x[i]);
                    } else {
                      for (std::int64_t i = r.first; i < r.last; ++i)
                        row[i] += factor * static_cast<double>(from[shift + i * stride]);
                    }
                  }
                }
              }
            const std::size_t rank = w.index(n, m, od, oh, 0, index);
            finish_row(post, dst, data, operands, {index, rank}, w.out[2], row);
          }
      }
  };
  return work;
}

Work make_pooled(const Conv& op, const Problem& problem) {
  Problem conv = problem;
  conv.op = without_pool(op);
  std::vector<ValueType> types;
  for (const TensorDesc& d : problem.srcs) types.push_back({d.dtype, to_dims(d.shape)});
  ShapeProgram program;
  const ValueType result = infer_types(conv.op, types, program).front();
  conv.dsts = {TensorDesc::dense(result.dtype, to_shape(result.shape))};
  Problem pool{pool_of(op), conv.dsts, {problem.dsts[0]}, problem.threads};
  const Work first = make(std::get<Conv>(conv.op), conv), second = make(std::get<Pool>(pool.op), pool);
  const std::size_t between = align64(conv.dsts[0].span_bytes()), sources = problem.srcs.size();
  constexpr std::size_t kMost = 80;
  if (sources + 1 > kMost) throw Error(ErrorCode::unsupported, "a Conv with too many post operands");
  Work work;
  work.workspace = between + std::max(first.workspace, second.workspace);
  work.run = [=](Data data, std::byte* workspace) {
    std::array<std::byte*, kMost> operands;
    std::copy_n(data.begin(), sources, operands.begin());
    operands[sources] = workspace;
    first.run({operands.data(), sources + 1}, workspace + between);
    std::byte* const pooled[] = {workspace, data[sources]};
    second.run(pooled, workspace + between);
  };
  return work;
}

}  // namespace

Work make(const Conv& op, const Problem& problem) {
  if (!op.pool_kernel.empty()) return make_pooled(op, problem);
  return problem.srcs[0].dtype == DType::f64 ? make_conv<double>(op, problem) : make_conv<float>(op, problem);
}

}  // namespace headrace::reference
