// ScatterElements, ScatterNd: data is copied, then updates are applied in row-major order. Indices out of
// range are clamped.
#include <cmath>

#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

std::int64_t clamped(std::int64_t index, std::int64_t extent) {
  if (index < 0) index += extent;
  return std::clamp<std::int64_t>(index, 0, extent - 1);
}

void check_extent(const char* name, std::int64_t extent, std::int64_t updates) {
  if (extent == 0 && updates > 0)
    throw Error(ErrorCode::invalid_argument, std::string(name) + ": scatters into an axis of extent 0");
}

void combine(ScatterReduce how, DType dtype, std::byte* dst, std::int64_t to, const std::byte* updates,
             std::int64_t from) {
  const std::size_t size = size_bytes(dtype);
  if (how == ScatterReduce::none) {
    std::memcpy(dst + static_cast<std::size_t>(to) * size, updates + static_cast<std::size_t>(from) * size,
                size);
  } else if (is_float(dtype)) {
    const double a = real_at(dtype, dst, to), b = real_at(dtype, updates, from);
    double r = a;
    if (how == ScatterReduce::add)
      r = a + b;
    else if (how == ScatterReduce::mul)
      r = a * b;
    else if (std::isnan(a) || std::isnan(b))
      r = std::nan("");
    else
      r = how == ScatterReduce::min ? std::min(a, b) : std::max(a, b);
    put_real(dtype, dst, to, r);
  } else {
    using U = std::uint64_t;
    const std::int64_t a = int_at(dtype, dst, to), b = int_at(dtype, updates, from);
    std::int64_t r = a;
    if (how == ScatterReduce::add)
      r = static_cast<std::int64_t>(static_cast<U>(a) + static_cast<U>(b));
    else if (how == ScatterReduce::mul)
      r = static_cast<std::int64_t>(static_cast<U>(a) * static_cast<U>(b));
    else if (int_less(dtype, a, b) == (how == ScatterReduce::max))
      r = b;
    put_int(dtype, dst, to, r);
  }
}

}  // namespace

Work make(const ScatterElements& op, const Problem& problem) {
  const TensorDesc data_desc = problem.srcs[0], indices = problem.srcs[1], updates = problem.srcs[2],
                   dst = problem.dsts[0];
  const auto axis = static_cast<std::size_t>(op.axis);
  const Nest whole{dst.shape, {dst.strides, data_desc.strides}};
  Strides strides = dst.strides;
  strides[axis] = 0;
  const Nest nest{indices.shape, {indices.strides, updates.strides, strides}};
  const std::int64_t extent = dst.shape[axis], stride = dst.strides[axis];
  check_extent("ScatterElements", extent, indices.elements());
  const ScatterReduce how = op.reduction;
  const std::size_t size = size_bytes(dst.dtype);
  return {[=](Data data, std::byte*) {
    copy_elements(size, whole, data[3], 0, data[0], 0);
    std::int64_t offset[3] = {0, 0, 0};
    nest.each(offset, [&] {
      const std::int64_t index = clamped(int_at(indices.dtype, data[1], offset[0]), extent);
      combine(how, dst.dtype, data[3], offset[2] + index * stride, data[2], offset[1]);
    });
  }};
}

Work make(const ScatterNd& op, const Problem& problem) {
  const TensorDesc data_desc = problem.srcs[0], indices = problem.srcs[1], updates = problem.srcs[2],
                   dst = problem.dsts[0];
  const std::size_t lead = indices.shape.size() - 1;
  const auto tuple = static_cast<std::size_t>(indices.shape[lead]);
  const Nest whole{dst.shape, {dst.strides, data_desc.strides}};
  const auto split = static_cast<std::ptrdiff_t>(lead);
  const Nest which{Shape(indices.shape.begin(), indices.shape.end() - 1),
                   {Strides(indices.strides.begin(), indices.strides.end() - 1),
                    Strides(updates.strides.begin(), updates.strides.begin() + split)}};
  const auto tail = static_cast<std::ptrdiff_t>(tuple);
  const Nest slab{Shape(dst.shape.begin() + tail, dst.shape.end()),
                  {Strides(dst.strides.begin() + tail, dst.strides.end()),
                   Strides(updates.strides.begin() + split, updates.strides.end())}};
  for (std::size_t k = 0; k < tuple; ++k) check_extent("ScatterND", dst.shape[k], updates.elements());
  const std::int64_t step = indices.strides[lead];
  const ScatterReduce how = op.reduction;
  const std::size_t size = size_bytes(dst.dtype);
  return {[=](Data data, std::byte*) {
    copy_elements(size, whole, data[3], 0, data[0], 0);
    std::int64_t offset[2] = {0, 0};
    if (updates.elements() == 0) return;
    which.each(offset, [&] {
      std::int64_t to = 0;
      for (std::size_t k = 0; k < tuple; ++k)
        to += dst.strides[k] *
              clamped(int_at(indices.dtype, data[1], offset[0] + static_cast<std::int64_t>(k) * step),
                      dst.shape[k]);
      std::int64_t inner[2] = {to, offset[1]};
      slab.each(inner, [&] { combine(how, dst.dtype, data[3], inner[0], data[2], inner[1]); });
    });
  }};
}

}  // namespace headrace::reference
