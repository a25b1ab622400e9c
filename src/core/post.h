// The post list of the heavy operators, and the same steps as a pointwise expression.
#pragma once

#include <span>
#include <vector>

#include "core/op.h"

namespace headrace {

/// The operator's post list; null for operators that have none.
std::vector<Post>* posts_of(Op& op);
/// How many operands these steps read.
std::size_t post_operands(std::span<const Post> posts);
/// post(x0), the steps' operands being x1, x2, ...; `loads` are the element types of x0, x1, ... The result
/// has that of x0; f16 is computed in f32 and rounded once.
PwExpr post_expr(std::span<const Post> posts, std::span<const DType> loads);

}  // namespace headrace
