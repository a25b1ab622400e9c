// Pointwise expressions and post lists as CUDA C++ functions of registers.
//
//   float f(float x0, i64 x1) { const float t0 = x0; ...; return t3; }
// Floats are computed in float (f32, f16) or double (f64). Results of dtype f16 stay in float until they are
// cast or stored: more exact than rounding each. Integers as core/pointwise.h says.
#pragma once

#include <string>
#include <vector>

#include "core/op.h"

namespace headrace::cuda {

/// The function `name`, one parameter per input. Error(invalid_model) when the code reads what is not there.
std::string print_expr(const std::string& name, const PwExpr& expr, const std::vector<DType>& inputs);

/// `float name(float x, float b0, float b1, ...)`: the steps in order, b their binary operands. `dtype` of
/// the destination (double for f64).
std::string print_post(const std::string& name, const std::vector<Post>& post, DType dtype);
/// Number of operands that a post list reads.
std::size_t post_operands(const std::vector<Post>& post);

/// Whether kIntegerPrelude is needed.
bool needs_integers(const PwExpr& expr);

}  // namespace headrace::cuda
