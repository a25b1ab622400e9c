// What heavy operators do after their own work: the post list, also as a pointwise expression, and the pool.
#pragma once

#include <span>
#include <vector>

#include "core/op.h"

namespace headrace {

/// The operator's post list; null for operators that have none.
std::vector<Post>* posts_of(Op& op);
/// A Conv without its max-pool, and the max-pool as an operator (Conv::pool_kernel must not be empty).
Conv without_pool(Conv conv);
Pool pool_of(const Conv& conv);
/// How many operands these steps read.
std::size_t post_operands(std::span<const Post> posts);
/// post(x0), the steps' operands being x1, x2, ...; `loads` are the element types of x0, x1, ... The result
/// has that of x0; f16 is computed in f32 and rounded once.
PwExpr post_expr(std::span<const Post> posts, std::span<const DType> loads);

}  // namespace headrace
