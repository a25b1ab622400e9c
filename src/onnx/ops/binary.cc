// Operators of two and more inputs, broadcast by numpy's rule.
#include "onnx/import_node.h"

namespace headrace::onnx {

#define BINARY(Name, op) \
  void import_##Name(ImportNode& n) { n.out(0, n.binary(PwOp::op, n.in(0), n.in(1))); }
BINARY(Add, add)
BINARY(And, logical_and)
BINARY(BitwiseAnd, bit_and)
BINARY(BitwiseOr, bit_or)
BINARY(BitwiseXor, bit_xor)
BINARY(Div, div)
BINARY(Mul, mul)
BINARY(Or, logical_or)
BINARY(Sub, sub)
BINARY(Xor, logical_xor)
#undef BINARY

#define COMPARE(Name, op) \
  void import_##Name(ImportNode& n) { n.out(0, n.compare(PwOp::op, n.in(0), n.in(1))); }
COMPARE(Equal, equal)
COMPARE(Greater, greater)
COMPARE(GreaterOrEqual, greater_equal)
COMPARE(Less, less)
COMPARE(LessOrEqual, less_equal)
#undef COMPARE

void import_BitShift(ImportNode& n) {
  const std::string direction = n.attr_string("direction");
  if (direction != "LEFT" && direction != "RIGHT")
    invalid("attribute direction='" + direction + "'; expected LEFT or RIGHT");
  n.out(0, n.binary(direction == "LEFT" ? PwOp::shift_left : PwOp::shift_right, n.in(0), n.in(1)));
}

void import_Mod(ImportNode& n) {
  const bool fmod = n.attr_flag("fmod", false);
  n.out(0, n.binary(fmod ? PwOp::fmod : PwOp::mod, n.in(0), n.in(1)));
}

/// The result has the base's type; an exponent of another type is converted, through double when only it is a
/// float.
void import_Pow(ImportNode& n) {
  const ValueId x = n.in(0), y = n.in(1);
  const DType tx = n.dtype(x), ty = n.dtype(y);
  const DType t = is_int(tx) && is_float(ty) ? DType::f64 : tx;
  n.out(0, n.pointwise({x, y}, [&](PwExpr& e, const auto& in) {
    const auto base = tx == t ? in[0] : e.op(PwOp::cast, t, in[0]);
    const auto exponent = ty == t ? in[1] : e.op(PwOp::cast, t, in[1]);
    const auto power = e.op(PwOp::pow, t, base, exponent);
    if (t != tx) e.op(PwOp::cast, tx, power);
  }));
}

namespace {
ValueId fold(ImportNode& n, PwOp op) {
  std::vector<ValueId> in;
  for (std::size_t i = 0; i < n.input_count(); ++i) in.push_back(n.in(i));
  if (in.empty()) invalid("has no inputs");
  const DType t = n.dtype(in[0]);
  for (ValueId v : in) {
    if (n.dtype(v) != t) invalid("all inputs must be of the same type");
  }
  if (in.size() == 1) return in[0];
  return n.pointwise(in, [&](PwExpr& e, const auto& x) {
    auto all = x[0];
    for (std::size_t i = 1; i < x.size(); ++i) all = e.op(op, t, all, x[i]);
  });
}
}  // namespace

void import_Max(ImportNode& n) { n.out(0, fold(n, PwOp::max)); }
void import_Min(ImportNode& n) { n.out(0, fold(n, PwOp::min)); }
void import_Sum(ImportNode& n) { n.out(0, fold(n, PwOp::add)); }
void import_Mean(ImportNode& n) {
  const ValueId sum = fold(n, PwOp::add);
  const DType t = n.dtype(sum);
  const auto count = static_cast<double>(n.input_count());
  n.out(0, n.pointwise({sum},
                       [&](PwExpr& e, const auto& x) { e.op(PwOp::div, t, x[0], e.constant(count, t)); }));
}

void import_Where(ImportNode& n) {
  const DType t = n.dtype(n.in(1));
  if (n.dtype(n.in(0)) != DType::boolean) invalid("the condition must be bool");
  if (n.dtype(n.in(2)) != t) invalid("X and Y must be of the same type");
  n.out(0, n.pointwise({n.in(0), n.in(1), n.in(2)},
                       [&](PwExpr& e, const auto& x) { e.op(PwOp::select, t, x[0], x[1], x[2]); }));
}

}  // namespace headrace::onnx
