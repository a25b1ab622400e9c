// Pointwise expressions: straight-line code over any number of broadcast inputs.
//
// Problem: unary, binary, select, cast and activation operators would otherwise be a hundred operators;
// fusing them would be a thousand. Contract: an expression is a list of instructions in SSA form; instruction
// i may use the results of earlier ones; the last one is the result. Each result is rounded to its own dtype.
// Integer arithmetic wraps; integer division truncates; division by zero of integers gives 0.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <headrace/types.h>

namespace headrace {

// name, number of operands. alpha/beta are the instruction's immediates.
// clang-format off
#define HEADRACE_PW_OPS(X)                                                                                  \
  X(load, 0)                                                                                                \
  X(constant, 0)                                                                                            \
  X(cast, 1) X(neg, 1) X(abs, 1) X(sign, 1) X(floor, 1) X(ceil, 1) X(round, 1) X(sqrt, 1) X(rsqrt, 1)       \
      X(reciprocal, 1) X(exp, 1) X(log, 1) X(sin, 1) X(cos, 1) X(tan, 1) X(asin, 1) X(acos, 1) X(atan, 1)   \
          X(sinh, 1) X(cosh, 1) X(tanh, 1) X(asinh, 1) X(acosh, 1) X(atanh, 1) X(erf, 1) X(is_nan, 1)       \
              X(is_inf, 1) X(logical_not, 1) X(bit_not, 1) X(relu, 1) X(clip, 1) X(leaky_relu, 1) X(elu, 1) \
                  X(selu, 1) X(celu, 1) X(softplus, 1) X(softsign, 1) X(sigmoid, 1) X(hard_sigmoid, 1)      \
                      X(hard_swish, 1) X(silu, 1) X(mish, 1) X(gelu_erf, 1) X(gelu_tanh, 1)                 \
                          X(thresholded_relu, 1) X(add, 2) X(sub, 2) X(mul, 2) X(div, 2) X(mod, 2)          \
                              X(fmod, 2) X(pow, 2) X(min, 2) X(max, 2) X(prelu, 2) X(equal, 2) X(less, 2)   \
                                  X(less_equal, 2) X(greater, 2) X(greater_equal, 2) X(logical_and, 2)      \
                                      X(logical_or, 2) X(logical_xor, 2) X(bit_and, 2) X(bit_or, 2)         \
                                          X(bit_xor, 2) X(shift_left, 2) X(shift_right, 2) X(select, 3)
// clang-format on

/// clip: [alpha, beta]; leaky_relu, elu, celu, thresholded_relu: alpha; selu: alpha, gamma=beta;
/// hard_sigmoid: max(0, min(1, alpha*x + beta)); hard_swish: x * hard_sigmoid(1/6, 0.5); silu: x *
/// sigmoid(alpha*x); is_inf: alpha != 0 detects +inf, beta != 0 detects -inf; mod: sign of the divisor; fmod:
/// sign of the dividend; min/max propagate NaN; round is half to even; a `constant` holds alpha (floats) or
/// imm (integers and bool).
enum class PwOp : std::uint8_t {
#define X(name, arity) name,
  HEADRACE_PW_OPS(X)
#undef X
};
std::string_view to_string(PwOp op);
int arity(PwOp op);
/// The op of this name; throws Error(invalid_plan) when there is none.
PwOp to_pw_op(std::string_view name);

struct PwInstr {
  PwOp op = PwOp::load;
  DType dtype = DType::f32;             ///< of the result
  std::int32_t a = -1, b = -1, c = -1;  ///< operands: earlier instructions; load: a is the input's index
  double alpha = 0, beta = 0;
  std::int64_t imm = 0;  ///< constant of integer or bool dtype
  friend bool operator==(const PwInstr&, const PwInstr&) = default;
};

struct PwExpr {
  std::vector<PwInstr> code;
  friend bool operator==(const PwExpr&, const PwExpr&) = default;
  /// Append helpers; each returns the index of its instruction.
  std::int32_t load(std::int32_t input, DType dtype);
  std::int32_t constant(double value, DType dtype);
  std::int32_t constant_int(std::int64_t value, DType dtype);
  std::int32_t op(PwOp op, DType dtype, std::int32_t a, std::int32_t b = -1, std::int32_t c = -1,
                  double alpha = 0, double beta = 0);
};
std::string to_string(const PwExpr& expr);  ///< "relu(add(x0, x1))"

}  // namespace headrace
