// Operators that only move elements: Transpose, Reshape, Slice, Concat, Broadcast, Reorder.
#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

/// dst tensor 0, src tensor 1, beginning at element src_offset.
Work copy_work(const TensorDesc& dst, Strides src_strides, std::int64_t src_offset = 0) {
  const Nest nest{dst.shape, {dst.strides, std::move(src_strides)}};
  const std::size_t size = size_bytes(dst.dtype);
  return {[=](Data data, std::byte*) { copy_elements(size, nest, data[1], 0, data[0], src_offset); }};
}

}  // namespace

Work make(const Transpose& op, const Problem& problem) {
  Strides strides;
  for (std::int64_t p : op.perm) strides.push_back(problem.srcs[0].strides[static_cast<std::size_t>(p)]);
  return copy_work(problem.dsts[0], strides);
}

Work make(const Slice& op, const Problem& problem) {
  const TensorDesc& src = problem.srcs[0];
  std::int64_t offset = 0;
  Strides strides = src.strides;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    const std::int64_t first = op.starts[i].value, last = first + (op.sizes[i].value - 1) * op.steps[i].value;
    if (op.sizes[i].value > 0 && (std::min(first, last) < 0 || std::max(first, last) >= src.shape[i]))
      throw Error(ErrorCode::invalid_model, "Slice: axis " + std::to_string(i) + " reads [" +
                                                std::to_string(first) + " to " + std::to_string(last) +
                                                "] of " + std::to_string(src.shape[i]));
    offset += first * strides[i];
    strides[i] *= op.steps[i].value;
  }
  return copy_work(problem.dsts[0], strides, offset);
}

Work make(const Broadcast&, const Problem& problem) {
  return copy_work(problem.dsts[0], broadcast_strides(problem.srcs[0], problem.dsts[0].shape));
}

Work make(const Reorder&, const Problem& problem) {
  return copy_work(problem.dsts[0], problem.srcs[0].strides);
}

Work make(const Reshape&, const Problem& problem) {
  const TensorDesc &src = problem.srcs[0], &dst = problem.dsts[0];
  if (src.layout == Layout::plain && src.is_dense() && dst.layout == Layout::plain && dst.is_dense()) {
    const std::size_t bytes = src.span_bytes();
    return {[=](Data data, std::byte*) {
      if (bytes && data[0] != data[1]) std::memcpy(data[1], data[0], bytes);
    }};
  }
  const Nest from{src.shape, {src.strides}}, to{dst.shape, {dst.strides}};
  const std::size_t size = size_bytes(src.dtype);
  return {[=](Data data, std::byte*) {
    // Two walks in row-major order, one element at a time: the second one is an explicit odometer.
    std::array<std::int64_t, kMaxRank> index{};
    std::int64_t target = 0, offset[1] = {0};
    from.each(offset, [&] {
      std::memcpy(data[1] + static_cast<std::size_t>(target) * size,
                  data[0] + static_cast<std::size_t>(offset[0]) * size, size);
      for (std::size_t axis = to.shape.size(); axis-- > 0;) {
        target += to.strides[0][axis];
        if (++index[axis] < to.shape[axis]) break;
        target -= to.strides[0][axis] * to.shape[axis];
        index[axis] = 0;
      }
    });
  }};
}

Work make(const Concat& op, const Problem& problem) {
  const TensorDesc& dst = problem.dsts[0];
  const auto axis = static_cast<std::size_t>(op.axis);
  std::vector<Nest> nests;
  for (const TensorDesc& src : problem.srcs) nests.push_back({src.shape, {dst.strides, src.strides}});
  const std::size_t size = size_bytes(dst.dtype);
  const std::int64_t stride = dst.strides[axis];
  return {[=](Data data, std::byte*) {
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < nests.size(); ++i) {
      copy_elements(size, nests[i], data.back(), offset, data[i], 0);
      offset += nests[i].shape[axis] * stride;
    }
  }};
}

}  // namespace headrace::reference
