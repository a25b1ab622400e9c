#include "backends/cuda/posts.h"

namespace headrace::cuda {

std::size_t post_operands(std::span<const Post> posts) {
  std::size_t count = 0;
  for (const Post& post : posts) count += arity(post.op) == 2;
  return count;
}

TensorDesc per_channel(const TensorDesc& bias, std::size_t rank) {
  TensorDesc desc = bias;
  for (std::size_t i = 2; i < rank; ++i) {
    desc.shape.push_back(1);
    desc.strides.push_back(1);
  }
  desc.layout = Layout::plain;
  desc.format.clear();
  return desc;
}

Problem finishing(const TensorDesc& dst, const std::optional<TensorDesc>& bias, std::span<const Post> posts,
                  std::span<const TensorDesc> operands) {
  Problem problem;
  PwExpr expr;
  const auto load = [&](const TensorDesc& desc) {
    problem.srcs.push_back(desc);
    const std::int32_t x = expr.load(static_cast<std::int32_t>(problem.srcs.size() - 1), desc.dtype);
    return desc.dtype == DType::f32 ? x : expr.op(PwOp::cast, DType::f32, x);
  };
  std::int32_t value = load(dst);
  if (bias) value = expr.op(PwOp::add, DType::f32, value, load(*bias));
  std::size_t next = 0;
  for (const Post& post : posts) {
    const std::int32_t b = arity(post.op) == 2 ? load(operands[next++]) : -1;
    value = expr.op(post.op, DType::f32, value, b, -1, post.alpha, post.beta);
  }
  if (dst.dtype != DType::f32) expr.op(PwOp::cast, dst.dtype, value);
  problem.op = Pointwise{std::move(expr)};
  problem.dsts = {dst};
  return problem;
}

Problem casting(const TensorDesc& src, const TensorDesc& dst) {
  Problem problem;
  PwExpr expr;
  const std::int32_t x = expr.load(0, src.dtype);
  if (src.dtype != dst.dtype) expr.op(PwOp::cast, dst.dtype, x);
  problem.op = Pointwise{std::move(expr)};
  problem.srcs = {src};
  problem.dsts = {dst};
  return problem;
}

namespace {
const Tactic& pointwise() {
  static const std::unique_ptr<Tactic> tactic = make_pointwise();
  return *tactic;
}
}  // namespace

std::optional<Refusal> refuse_pointwise(const Problem& problem) { return pointwise().refuses(problem); }
std::unique_ptr<Kernel> make_pointwise_kernel(const Problem& problem) {
  return pointwise().make(problem, Choice{});
}

}  // namespace headrace::cuda
