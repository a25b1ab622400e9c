// The two kernels of a depthwise convolution, channels_last, weights packed [kernel h][kernel w][channel] or
// as they are.
//
//  - rows: a block takes a strip of columns and channels and walks down its source rows, which stream through
//  a
//    ring in shared memory by asynchronous copies of 16 bytes; each source element is fetched once, and
//    results are summed up in registers. For two spatial axes without dilation whose rows are made of 16-byte
//    pieces.
//  - patch: a thread makes a patch of neighbouring pixels straight from memory; takes everything.
#pragma once

#include "backends/backend.h"
#include "backends/cuda/codegen.h"
#include "core/op.h"

namespace headrace::cuda {

/// The convolution as both kernels see it: one spatial axis is two of which the first has one row.
struct Depthwise {
  explicit Depthwise(const Problem& problem);
  const Problem& p;
  const Conv& op;
  const TensorDesc &src, &weights, &dst;
  std::size_t rank, w, h;  ///< axes of dst; h is unused for one spatial axis
  bool two, packed;
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_h, pad_w;

  std::size_t first_post() const { return op.has_bias ? 3 : 2; }
  /// Parameters of the kernel before dst, their names, and the operands they stand for, dst included.
  std::string parameters() const;
  std::string arguments() const;
  std::vector<std::size_t> operands() const;
  /// Register value of the bias of channel i1 + v.
  std::string bias() const;
  /// A statement that fills `wr[V]` with the weights of tap (kh, kw) for the channels from `channel` on.
  std::string load_weights(std::int64_t V, const std::string& channel) const;
};

struct DepthwisePatch {
  std::int64_t t = 1, r = 1, v = 1;  ///< columns, rows, channels of a thread
};
KernelSource depthwise_patch(const Depthwise& d, const DepthwisePatch& patch);

struct DepthwiseRows {
  std::int64_t t = 4, v = 4;           ///< columns and channels of a thread
  std::int64_t x = 4, c = 32, r = 16;  ///< of a block: threads side by side, channels, rows
  friend bool operator==(const DepthwiseRows&, const DepthwiseRows&) = default;
};
/// Shapes worth trying, the one expected to be best first; none where the kernel does not apply.
std::vector<DepthwiseRows> depthwise_rows_shapes(const Depthwise& d);
/// Whether the kernel can be made in that shape.
bool depthwise_rows_fits(const Depthwise& d, const DepthwiseRows& shape);
KernelSource depthwise_rows(const Depthwise& d, const DepthwiseRows& shape);

}  // namespace headrace::cuda
