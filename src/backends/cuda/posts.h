// Pointwise kernels around a vendor's kernel: what its epilogue cannot do, and casts of its operands.
//
// Contract: `finishing` is the Problem dst = post(dst + bias) in place, computed in f32 and rounded once; its
// sources are dst, the bias if there is one, and the operands of `post`, its destination is dst.
#pragma once

#include <optional>
#include <span>

#include "backends/cuda/kernel_chain.h"
#include "backends/cuda/tactics.h"
#include "core/post.h"

namespace headrace::cuda {

/// `bias` as it broadcasts against dst.
Problem finishing(const TensorDesc& dst, const std::optional<TensorDesc>& bias, std::span<const Post> posts,
                  std::span<const TensorDesc> operands);
/// dst = src in dst's dtype, layout and strides.
Problem casting(const TensorDesc& src, const TensorDesc& dst);

/// Why the pointwise kernels cannot do `problem`, or nothing.
std::optional<Refusal> refuse_pointwise(const Problem& problem);
std::unique_ptr<Kernel> make_pointwise_kernel(const Problem& problem);

/// A per-channel operand [M] of an activation of this rank: [M,1,...].
TensorDesc per_channel(const TensorDesc& bias, std::size_t rank);

}  // namespace headrace::cuda
