// Positions in a destination image, and windows over a source image: Pool, convolutions, Resize.
#pragma once

#include "backends/cuda/codegen.h"
#include "core/op.h"

namespace headrace::cuda {

/// Vectors of channels: V elements per thread where channels are contiguous on both sides (channels_last).
struct ChannelVector {
  std::int64_t V = 1;
  std::int64_t src_chunk = 1, dst_chunk = 1;  ///< bytes per access
};
/// `limit`: elements at most.
ChannelVector channel_vector(const TensorDesc& src, const TensorDesc& dst, std::int64_t limit);

/// Statements that split the uidx `flat` into `idx i0, i1, ...`: the index along each axis of `dst`, the axis
/// that is innermost in memory fastest. `steps[a]` positions of axis a belong to one thread: i_a is their
/// first.
std::string positions(const TensorDesc& dst, const std::vector<std::int64_t>& steps, const std::string& flat);
/// Number of threads that `positions` is for.
std::int64_t position_count(const TensorDesc& dst, const std::vector<std::int64_t>& steps);
/// "(idx)i0 * (idx)7 + ..." over the axes [first, last).
std::string offset_text(const TensorDesc& desc, std::size_t first, std::size_t last);
/// Declares `i64 j`: the element of `indices` at that offset, counted from the end where it is negative, and
/// clamped to [0, extent).
std::string index_text(const std::string& at, std::int64_t extent);
/// Whether offsets in any of the tensors need 64 bits.
bool is_wide(std::initializer_list<const TensorDesc*> descs);

/// Operands of a post list as arguments: declarations that load V values each (float b0[V], ...) for the
/// position i0, i1, ... of dst, whose axis 1 is a vector, and the call `post(value, b0[v], ...)`.
struct PostCode {
  std::string loads, call;
};
PostCode post_code(const std::vector<Post>& post, const std::vector<TensorDesc>& srcs, std::size_t first,
                   const TensorDesc& dst, std::int64_t V, const std::string& value);

}  // namespace headrace::cuda
