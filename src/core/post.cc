#include "core/post.h"

#include <algorithm>

namespace headrace {

std::vector<Post>* posts_of(Op& op) {
  if (auto* conv = std::get_if<Conv>(&op)) return &conv->post;
  if (auto* deconv = std::get_if<ConvTranspose>(&op)) return &deconv->post;
  if (auto* matmul = std::get_if<MatMul>(&op)) return &matmul->post;
  return nullptr;
}

Conv without_pool(Conv conv) {
  conv.pool_kernel.clear(), conv.pool_strides.clear(), conv.pool_begin.clear(), conv.pool_end.clear();
  return conv;
}

Pool pool_of(const Conv& conv) {
  Pool pool;
  pool.kernel = conv.pool_kernel;
  pool.strides = conv.pool_strides;
  pool.dilations.assign(conv.pool_kernel.size(), 1);
  pool.pads_begin = conv.pool_begin;
  pool.pads_end = conv.pool_end;
  return pool;
}

std::size_t post_operands(std::span<const Post> posts) {
  return static_cast<std::size_t>(
      std::count_if(posts.begin(), posts.end(), [](const Post& p) { return arity(p.op) == 2; }));
}

PwExpr post_expr(std::span<const Post> posts, std::span<const DType> loads) {
  PwExpr expr;
  const DType dtype = loads[0], inside = is_half(dtype) ? DType::f32 : dtype;
  std::int32_t next = 0;
  const auto load = [&] {
    const DType type = loads[static_cast<std::size_t>(next)];
    const std::int32_t x = expr.load(next++, type);
    return type == inside ? x : expr.op(PwOp::cast, inside, x);
  };
  std::int32_t value = load();
  for (const Post& post : posts) {
    const std::int32_t other = arity(post.op) == 2 ? load() : -1;
    value = expr.op(post.op, inside, value, other, -1, post.alpha, post.beta);
  }
  if (inside != dtype) expr.op(PwOp::cast, dtype, value);
  return expr;
}

}  // namespace headrace
