#include "backends/reference/post.h"

#include "backends/reference/pointwise_math.h"

namespace headrace::reference {

PostSteps::PostSteps(const std::vector<Post>& post, const Problem& problem, std::size_t first) {
  for (const Post& p : post) {
    Step step{p, 0, DType::f32, {}};
    if (arity(p.op) > 2 || arity(p.op) < 1)
      throw Error(ErrorCode::unsupported,
                  "post step " + std::string(to_string(p.op)) + ": only unary and binary ones");
    if (arity(p.op) == 2) {
      if (first >= problem.srcs.size())
        throw Error(ErrorCode::invalid_model,
                    "post step " + std::string(to_string(p.op)) + " lacks its operand");
      step.source = first++;
      step.dtype = problem.srcs[step.source].dtype;
      step.strides = broadcast_strides(problem.srcs[step.source], problem.dsts[0].shape);
    }
    steps_.push_back(std::move(step));
  }
}

void PostSteps::apply(Data data, std::span<const std::int64_t> index, std::int64_t n, double* row) const {
  std::array<double, kBlock> operand;
  for (const Step& step : steps_) {
    if (arity(step.post.op) == 2) {
      std::int64_t offset = 0;
      for (std::size_t i = 0; i < index.size(); ++i) offset += index[i] * step.strides[i];
      load_real(step.dtype, data[step.source], offset, step.strides.empty() ? 0 : step.strides.back(), n,
                operand.data());
    }
    real_op(step.post.op, step.post.alpha, step.post.beta, n, row, row, operand.data(), nullptr);
  }
}

void finish_row(const PostSteps& post, const TensorDesc& dst, Data data, std::size_t dst_operand,
                std::span<const std::int64_t> index, std::int64_t n, double* row) {
  std::array<std::int64_t, kMaxRank> at;
  std::copy(index.begin(), index.end(), at.begin());
  const std::size_t last = index.size() - 1;
  for (std::int64_t begin = 0; begin < n; begin += kBlock) {
    const std::int64_t count = std::min(kBlock, n - begin);
    at[last] = index[last] + begin;
    if (!post.empty()) post.apply(data, {at.data(), index.size()}, count, row + begin);
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < index.size(); ++i) offset += at[i] * dst.strides[i];
    store_real(dst.dtype, data[dst_operand], offset, dst.strides[last], count, row + begin);
  }
}

}  // namespace headrace::reference
