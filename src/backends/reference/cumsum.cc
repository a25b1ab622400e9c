// CumSum along one axis; reals accumulate in double.
#include "backends/reference/reference.h"

namespace headrace::reference {

Work make(const CumSum& op, const Problem& problem) {
  const TensorDesc src = problem.srcs[0], dst = problem.dsts[0];
  const auto axis = static_cast<std::size_t>(op.axis);
  const Nest all{src.shape, {src.strides, dst.strides}};
  const Nest outer = all.without(axis);
  const std::int64_t length = src.shape[axis];
  const std::int64_t from = all.stride(0, axis), to = all.stride(1, axis);
  const bool exclusive = op.exclusive, reverse = op.reverse;
  return {[=](Data data, std::byte*) {
    std::int64_t offset[2] = {0, 0};
    outer.each(offset, [&] {
      double real = 0;
      std::uint64_t integer = 0;
      for (std::int64_t i = 0; i < length; ++i) {
        const std::int64_t at = reverse ? length - 1 - i : i;
        const std::int64_t in = offset[0] + at * from, out = offset[1] + at * to;
        if (is_float(src.dtype)) {
          const double x = real_at(src.dtype, data[0], in);
          put_real(dst.dtype, data[1], out, exclusive ? real : real + x);
          real += x;
        } else {
          const auto x = static_cast<std::uint64_t>(int_at(src.dtype, data[0], in));
          put_int(dst.dtype, data[1], out, static_cast<std::int64_t>(exclusive ? integer : integer + x));
          integer += x;
        }
      }
    });
  }};
}

}  // namespace headrace::reference
