// The post list of Conv, ConvTranspose and MatMul, applied to rows of results before they are rounded and
// stored.
#pragma once

#include "backends/reference/loops.h"
#include "core/op.h"

namespace headrace::reference {

class PostSteps {
 public:
  /// `first`: index of the source that the first binary step reads.
  PostSteps(const std::vector<Post>& post, const Problem& problem, std::size_t first);
  bool empty() const { return steps_.empty(); }
  /// `index`: position in dst of row[0]; the row runs along the last axis. n <= kBlock.
  void apply(Data data, std::span<const std::int64_t> index, std::int64_t n, double* row) const;

 private:
  struct Step {
    Post post;
    std::size_t source = 0;
    DType dtype = DType::f32;
    Strides strides;
  };
  std::vector<Step> steps_;
};

/// Applies the steps to a row of any length and stores it.
void finish_row(const PostSteps& post, const TensorDesc& dst, Data data, std::size_t dst_operand,
                std::span<const std::int64_t> index, std::int64_t n, double* row);

}  // namespace headrace::reference
