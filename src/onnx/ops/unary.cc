// Operators of one input and no attributes: y = f(x), element by element.
#include "onnx/import_node.h"

namespace headrace::onnx {

#define UNARY(Name, op) \
  void import_##Name(ImportNode& n) { n.out(0, n.unary(PwOp::op, n.in(0))); }
UNARY(Abs, abs)
UNARY(Acos, acos)
UNARY(Acosh, acosh)
UNARY(Asin, asin)
UNARY(Asinh, asinh)
UNARY(Atan, atan)
UNARY(Atanh, atanh)
UNARY(BitwiseNot, bit_not)
UNARY(Ceil, ceil)
UNARY(Cos, cos)
UNARY(Cosh, cosh)
UNARY(Erf, erf)
UNARY(Exp, exp)
UNARY(Floor, floor)
UNARY(HardSwish, hard_swish)
UNARY(Log, log)
UNARY(Mish, mish)
UNARY(Neg, neg)
UNARY(Not, logical_not)
UNARY(Reciprocal, reciprocal)
UNARY(Relu, relu)
UNARY(Round, round)
UNARY(Sigmoid, sigmoid)
UNARY(Sign, sign)
UNARY(Sin, sin)
UNARY(Sinh, sinh)
UNARY(Softplus, softplus)
UNARY(Softsign, softsign)
UNARY(Sqrt, sqrt)
UNARY(Tan, tan)
UNARY(Tanh, tanh)
#undef UNARY

}  // namespace headrace::onnx
