// Reduce and ArgReduce: one destination element at a time; reals in double, integers in 64 bits.
#include <cmath>
#include <limits>

#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

/// The kept axes (src, dst) and the reduced axes (src) as two nests.
struct Split {
  Nest kept, reduced;
};

Split split(const TensorDesc& src, const TensorDesc& dst, const Ints& axes, bool keep_dims) {
  Split s;
  s.kept.strides.resize(2);
  s.reduced.strides.resize(1);
  std::size_t at = 0;
  for (std::size_t i = 0; i < src.shape.size(); ++i) {
    if (std::find(axes.begin(), axes.end(), static_cast<std::int64_t>(i)) != axes.end()) {
      s.reduced.shape.push_back(src.shape[i]);
      s.reduced.strides[0].push_back(src.strides[i]);
      at += keep_dims;
    } else {
      s.kept.shape.push_back(src.shape[i]);
      s.kept.strides[0].push_back(src.strides[i]);
      s.kept.strides[1].push_back(dst.strides[at++]);
    }
  }
  return s;
}

double real_start(ReduceKind kind) {
  if (kind == ReduceKind::prod) return 1;
  if (kind == ReduceKind::max) return -std::numeric_limits<double>::infinity();
  if (kind == ReduceKind::min) return std::numeric_limits<double>::infinity();
  return 0;
}

void add_real(ReduceKind kind, double& sum, double x) {
  switch (kind) {
    case ReduceKind::sum:
    case ReduceKind::mean:
    case ReduceKind::log_sum: sum += x; return;
    case ReduceKind::max: sum = std::isnan(x) || x > sum ? x : sum; return;
    case ReduceKind::min: sum = std::isnan(x) || x < sum ? x : sum; return;
    case ReduceKind::prod: sum *= x; return;
    case ReduceKind::l1: sum += std::abs(x); return;
    case ReduceKind::l2:
    case ReduceKind::sum_square: sum += x * x; return;
    case ReduceKind::log_sum_exp: sum += std::exp(x); return;
  }
}

/// f(x) for each reduced element.
template <class F>
void each_real(DType dtype, const Nest& nest, const std::byte* data, std::int64_t base, F&& f) {
  std::int64_t offset[1] = {base};
  std::array<double, kBlock> block;
  nest.rows(offset, [&](std::int64_t length) {
    for (std::int64_t begin = 0; begin < length; begin += kBlock) {
      const std::int64_t n = std::min(kBlock, length - begin);
      load_real(dtype, data, offset[0] + begin * nest.inner(0), nest.inner(0), n, block.data());
      for (std::int64_t i = 0; i < n; ++i) f(block[static_cast<std::size_t>(i)]);
    }
  });
}

double reduce_real(ReduceKind kind, DType dtype, const Nest& nest, const std::byte* data, std::int64_t base,
                   std::int64_t count) {
  double sum = real_start(kind);
  if (kind == ReduceKind::log_sum_exp) {
    double highest = -std::numeric_limits<double>::infinity();
    each_real(dtype, nest, data, base, [&](double x) { add_real(ReduceKind::max, highest, x); });
    if (!std::isfinite(highest)) return highest;  // empty, all -inf, some +inf, or NaN
    each_real(dtype, nest, data, base, [&](double x) { sum += std::exp(x - highest); });
    return highest + std::log(sum);
  }
  each_real(dtype, nest, data, base, [&](double x) { add_real(kind, sum, x); });
  if (kind == ReduceKind::mean) return sum / static_cast<double>(count);
  if (kind == ReduceKind::l2) return std::sqrt(sum);
  if (kind == ReduceKind::log_sum) return std::log(sum);
  return sum;
}

std::int64_t int_start(ReduceKind kind, DType dtype) {
  const bool is_unsigned = is_unsigned_int(dtype) || dtype == DType::boolean;
  const int bits = static_cast<int>(8 * size_bytes(dtype));
  if (kind == ReduceKind::prod) return 1;
  if (kind == ReduceKind::max)
    return is_unsigned ? 0 : std::numeric_limits<std::int64_t>::min() >> (64 - bits);
  if (kind == ReduceKind::min) {
    if (dtype == DType::boolean) return 1;
    return is_unsigned ? wrap_to(dtype, -1) : std::numeric_limits<std::int64_t>::max() >> (64 - bits);
  }
  return 0;
}

std::int64_t reduce_int(ReduceKind kind, DType dtype, const Nest& nest, const std::byte* data,
                        std::int64_t base, std::int64_t count) {
  using U = std::uint64_t;
  std::int64_t sum = int_start(kind, dtype);
  std::int64_t offset[1] = {base};
  nest.each(offset, [&] {
    const std::int64_t x = int_at(dtype, data, offset[0]);
    switch (kind) {
      case ReduceKind::max: sum = int_less(dtype, sum, x) ? x : sum; break;
      case ReduceKind::min: sum = int_less(dtype, x, sum) ? x : sum; break;
      case ReduceKind::prod: sum = static_cast<std::int64_t>(static_cast<U>(sum) * static_cast<U>(x)); break;
      case ReduceKind::sum_square:
        sum = static_cast<std::int64_t>(static_cast<U>(sum) + static_cast<U>(x) * static_cast<U>(x));
        break;
      case ReduceKind::l1:
        sum = static_cast<std::int64_t>(static_cast<U>(sum) + (is_signed_int(dtype) && x < 0
                                                                   ? 0 - static_cast<U>(x)
                                                                   : static_cast<U>(x)));
        break;
      default: sum = static_cast<std::int64_t>(static_cast<U>(sum) + static_cast<U>(x));
    }
  });
  if (kind == ReduceKind::mean) {
    if (count == 0) return 0;
    return dtype == DType::u64 ? static_cast<std::int64_t>(static_cast<U>(sum) / static_cast<U>(count))
                               : sum / count;
  }
  return sum;
}

}  // namespace

Work make(const Reduce& op, const Problem& problem) {
  const TensorDesc src = problem.srcs[0], dst = problem.dsts[0];
  const Split s = split(src, dst, op.axes, op.keep_dims);
  const ReduceKind kind = op.kind;
  const std::int64_t count = element_count(s.reduced.shape);
  const bool real = is_float(src.dtype) || kind == ReduceKind::l2 || kind == ReduceKind::log_sum ||
                    kind == ReduceKind::log_sum_exp;
  return {[=](Data data, std::byte*) {
    std::int64_t offset[2] = {0, 0};
    s.kept.each(offset, [&] {
      if (real)
        put_real(dst.dtype, data[1], offset[1],
                 reduce_real(kind, src.dtype, s.reduced, data[0], offset[0], count));
      else
        put_int(dst.dtype, data[1], offset[1],
                reduce_int(kind, src.dtype, s.reduced, data[0], offset[0], count));
    });
  }};
}

Work make(const ArgReduce& op, const Problem& problem) {
  const TensorDesc src = problem.srcs[0], dst = problem.dsts[0];
  const Split s = split(src, dst, {op.axis}, op.keep_dims);
  const std::int64_t length = s.reduced.shape[0], stride = s.reduced.strides[0][0];
  const bool is_max = op.is_max, last = op.select_last;
  return {[=](Data data, std::byte*) {
    std::int64_t offset[2] = {0, 0};
    s.kept.each(offset, [&] {
      std::int64_t best = 0;
      if (is_float(src.dtype)) {
        double value = 0;
        for (std::int64_t i = 0; i < length; ++i) {  // NaN wins, as in numpy
          const double x = real_at(src.dtype, data[0], offset[0] + i * stride);
          const bool equal = x == value || (std::isnan(x) && std::isnan(value));
          const bool better = !std::isnan(value) && (std::isnan(x) || (is_max ? x > value : x < value));
          if (i == 0 || better || (last && equal)) {
            value = x;
            best = i;
          }
        }
      } else {
        std::int64_t value = 0;
        for (std::int64_t i = 0; i < length; ++i) {
          const std::int64_t x = int_at(src.dtype, data[0], offset[0] + i * stride);
          const bool better = is_max ? int_less(src.dtype, value, x) : int_less(src.dtype, x, value);
          if (i == 0 || better || (last && x == value)) {
            value = x;
            best = i;
          }
        }
      }
      put_int(dst.dtype, data[1], offset[1], best);
    });
  }};
}

}  // namespace headrace::reference
