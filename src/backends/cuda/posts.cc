#include "backends/cuda/posts.h"

namespace headrace::cuda {

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
  std::vector<Post> all(posts.begin(), posts.end());
  problem.srcs = {dst};
  if (bias) {
    all.insert(all.begin(), {PwOp::add});
    problem.srcs.push_back(*bias);
  }
  problem.srcs.insert(problem.srcs.end(), operands.begin(),
                      operands.begin() + static_cast<std::ptrdiff_t>(post_operands(posts)));
  std::vector<DType> loads;
  for (const TensorDesc& d : problem.srcs) loads.push_back(d.dtype);
  problem.op = Pointwise{post_expr(all, loads)};
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
