// TopK along one axis, sorted; equal values in order of their index; NaN counts as the greatest.
#include <cmath>

#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

struct Entry {
  union {
    double real;
    std::int64_t integer;
  };
  std::int64_t index;
};

}  // namespace

Work make(const TopK& op, const Problem& problem) {
  const TensorDesc src = problem.srcs[0], values = problem.dsts[0], indices = problem.dsts[1];
  const auto axis = static_cast<std::size_t>(op.axis);
  const std::int64_t length = src.shape[axis], k = std::min(op.k.value, length);
  const Nest outer = Nest{src.shape, {src.strides, values.strides, indices.strides}}.without(axis);
  const std::int64_t step = src.strides[axis], value_step = values.strides[axis],
                     index_step = indices.strides[axis];
  const bool largest = op.largest, real = is_float(src.dtype);
  Work work;
  work.workspace = static_cast<std::size_t>(length) * sizeof(Entry);
  work.run = [=](Data data, std::byte* workspace) {
    Entry* entries = reinterpret_cast<Entry*>(workspace);
    std::int64_t offset[3] = {0, 0, 0};
    if (k == 0) return;
    outer.each(offset, [&] {
      for (std::int64_t i = 0; i < length; ++i) {
        const std::int64_t at = offset[0] + i * step;
        if (real)
          entries[i].real = real_at(src.dtype, data[0], at);
        else
          entries[i].integer = int_at(src.dtype, data[0], at);
        entries[i].index = i;
      }
      const auto less = [&](const Entry& a, const Entry& b) {
        if (!real) return int_less(src.dtype, a.integer, b.integer);
        if (std::isnan(a.real) || std::isnan(b.real)) return std::isnan(b.real) && !std::isnan(a.real);
        return a.real < b.real;
      };
      std::partial_sort(entries, entries + k, entries + length, [&](const Entry& a, const Entry& b) {
        if (less(a, b)) return !largest;
        if (less(b, a)) return largest;
        return a.index < b.index;
      });
      for (std::int64_t i = 0; i < k; ++i) {
        if (real)
          put_real(values.dtype, data[1], offset[1] + i * value_step, entries[i].real);
        else
          put_int(values.dtype, data[1], offset[1] + i * value_step, entries[i].integer);
        put_int(indices.dtype, data[2], offset[2] + i * index_step, entries[i].index);
      }
    });
  };
  return work;
}

}  // namespace headrace::reference
