// Softmax and log-softmax along one axis, in double.
#include <cmath>
#include <limits>

#include "backends/reference/reference.h"

namespace headrace::reference {

Work make(const Softmax& op, const Problem& problem) {
  const TensorDesc src = problem.srcs[0], dst = problem.dsts[0];
  if (src.shape.empty()) throw Error(ErrorCode::unsupported, "Softmax of a scalar");
  const auto axis = static_cast<std::size_t>(op.axis);
  const Nest all{src.shape, {src.strides, dst.strides}};
  const Nest outer = all.without(axis);
  const std::int64_t length = src.shape[axis], from = all.stride(0, axis), to = all.stride(1, axis);
  const bool log = op.log;
  Work work;
  work.workspace = static_cast<std::size_t>(length) * sizeof(double);
  work.run = [=](Data data, std::byte* workspace) {
    if (length == 0) return;
    double* row = reinterpret_cast<double*>(workspace);
    std::int64_t offset[2] = {0, 0};
    outer.each(offset, [&] {
      load_real(src.dtype, data[0], offset[0], from, length, row);
      double highest = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::int64_t i = 0; i < length; ++i)
        highest = std::isnan(row[i]) || row[i] > highest ? row[i] : highest;
      for (std::int64_t i = 0; i < length; ++i) {
        row[i] -= highest;
        const double e = std::exp(row[i]);
        sum += e;
        if (!log) row[i] = e;
      }
      const double log_sum = std::log(sum);
      for (std::int64_t i = 0; i < length; ++i) row[i] = log ? row[i] - log_sum : row[i] / sum;
      store_real(dst.dtype, data[1], offset[1], to, length, row);
    });
  };
  return work;
}

}  // namespace headrace::reference
