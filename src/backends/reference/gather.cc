// Gather, GatherElements, GatherNd. An index out of range is clamped: wrong, but never outside the tensor.
#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

/// Position along an axis of `extent` > 0: negative ones count from the end.
std::int64_t clamped(std::int64_t index, std::int64_t extent) {
  if (index < 0) index += extent;
  return std::clamp<std::int64_t>(index, 0, extent - 1);
}

std::size_t at(std::int64_t offset, std::size_t size) { return static_cast<std::size_t>(offset) * size; }

/// Gathering from an empty axis is only fine when nothing is gathered.
void check_extent(const char* name, std::int64_t extent, const TensorDesc& dst) {
  if (extent == 0 && dst.elements() > 0)
    throw Error(ErrorCode::invalid_argument, std::string(name) + ": gathers from an axis of extent 0");
}

}  // namespace

Work make(const Gather& op, const Problem& problem) {
  const TensorDesc data_desc = problem.srcs[0], indices = problem.srcs[1], dst = problem.dsts[0];
  const auto axis = static_cast<std::size_t>(op.axis);
  const std::size_t rank = indices.shape.size();
  check_extent("Gather", data_desc.shape[axis], dst);
  // For each index: copy the slab of all other axes.
  const Nest which{
      indices.shape,
      {indices.strides, Strides(dst.strides.begin() + op.axis,
                                dst.strides.begin() + op.axis + static_cast<std::ptrdiff_t>(rank))}};
  Nest slab{data_desc.shape, {dst.strides, data_desc.strides}};
  slab.strides[0].erase(slab.strides[0].begin() + op.axis,
                        slab.strides[0].begin() + op.axis + static_cast<std::ptrdiff_t>(rank));
  slab.strides[0].insert(slab.strides[0].begin() + op.axis, 0);
  slab = slab.without(axis);
  const std::int64_t extent = data_desc.shape[axis], stride = data_desc.strides[axis];
  const std::size_t size = size_bytes(dst.dtype);
  return {[=](Data data, std::byte*) {
    if (extent == 0) return;
    std::int64_t offset[2] = {0, 0};
    which.each(offset, [&] {
      const std::int64_t index = clamped(int_at(indices.dtype, data[1], offset[0]), extent);
      copy_elements(size, slab, data[2], offset[1], data[0], index * stride);
    });
  }};
}

Work make(const GatherElements& op, const Problem& problem) {
  const TensorDesc data_desc = problem.srcs[0], indices = problem.srcs[1], dst = problem.dsts[0];
  const auto axis = static_cast<std::size_t>(op.axis);
  Strides strides = data_desc.strides;
  strides[axis] = 0;
  const Nest nest{dst.shape, {dst.strides, indices.strides, strides}};
  const std::int64_t extent = data_desc.shape[axis], stride = data_desc.strides[axis];
  check_extent("GatherElements", extent, dst);
  const std::size_t size = size_bytes(dst.dtype);
  return {[=](Data data, std::byte*) {
    std::int64_t offset[3] = {0, 0, 0};
    nest.each(offset, [&] {
      const std::int64_t index = clamped(int_at(indices.dtype, data[1], offset[1]), extent);
      std::memcpy(data[2] + at(offset[0], size), data[0] + at(offset[2] + index * stride, size), size);
    });
  }};
}

Work make(const GatherNd& op, const Problem& problem) {
  const TensorDesc data_desc = problem.srcs[0], indices = problem.srcs[1], dst = problem.dsts[0];
  const auto batch = static_cast<std::size_t>(op.batch_dims);
  const std::size_t lead = indices.shape.size() - 1;  // axes of indices that enumerate tuples
  const auto tuple = static_cast<std::size_t>(indices.shape[lead]);
  // Tensors: indices, dst, data (only its batch axes move with the tuple's position).
  Nest which{Shape(indices.shape.begin(), indices.shape.end() - 1), {}};
  Strides batch_strides(lead, 0);
  std::copy_n(data_desc.strides.begin(), batch, batch_strides.begin());
  which.strides = {Strides(indices.strides.begin(), indices.strides.end() - 1),
                   Strides(dst.strides.begin(), dst.strides.begin() + static_cast<std::ptrdiff_t>(lead)),
                   batch_strides};
  const auto tail = static_cast<std::ptrdiff_t>(batch + tuple);
  const Nest slab{Shape(data_desc.shape.begin() + tail, data_desc.shape.end()),
                  {Strides(dst.strides.begin() + static_cast<std::ptrdiff_t>(lead), dst.strides.end()),
                   Strides(data_desc.strides.begin() + tail, data_desc.strides.end())}};
  for (std::size_t k = 0; k < tuple; ++k) check_extent("GatherND", data_desc.shape[batch + k], dst);
  const std::int64_t step = indices.strides[lead];
  const std::size_t size = size_bytes(dst.dtype);
  return {[=](Data data, std::byte*) {
    if (slab.shape.size() == 0 && data_desc.elements() == 0) return;
    std::int64_t offset[3] = {0, 0, 0};
    which.each(offset, [&] {
      std::int64_t from = offset[2];
      for (std::size_t k = 0; k < tuple; ++k)
        from += data_desc.strides[batch + k] *
                clamped(int_at(indices.dtype, data[1], offset[0] + static_cast<std::int64_t>(k) * step),
                        data_desc.shape[batch + k]);
      copy_elements(size, slab, data[2], offset[1], data[0], from);
    });
  }};
}

}  // namespace headrace::reference
