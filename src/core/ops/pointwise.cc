// Pointwise: dst = expr(inputs...), all broadcast together.
#include "core/ops/rules.h"

namespace headrace::rules {

namespace {

enum class Kind { arithmetic, floats, compare, logical, bits, test };

Kind kind_of(PwOp op) {
  switch (op) {
    case PwOp::neg:
    case PwOp::abs:
    case PwOp::sign:
    case PwOp::relu:
    case PwOp::clip:
    case PwOp::add:
    case PwOp::sub:
    case PwOp::mul:
    case PwOp::div:
    case PwOp::mod:
    case PwOp::fmod:
    case PwOp::pow:
    case PwOp::min:
    case PwOp::max:
    case PwOp::prelu: return Kind::arithmetic;
    case PwOp::equal:
    case PwOp::less:
    case PwOp::less_equal:
    case PwOp::greater:
    case PwOp::greater_equal: return Kind::compare;
    case PwOp::logical_not:
    case PwOp::logical_and:
    case PwOp::logical_or:
    case PwOp::logical_xor: return Kind::logical;
    case PwOp::bit_not:
    case PwOp::bit_and:
    case PwOp::bit_or:
    case PwOp::bit_xor:
    case PwOp::shift_left:
    case PwOp::shift_right: return Kind::bits;
    case PwOp::is_nan:
    case PwOp::is_inf: return Kind::test;
    default: return Kind::floats;
  }
}

}  // namespace

DType check_expr(const PwExpr& expr, const Inputs& in) {
  if (expr.code.empty()) in.fail("the expression is empty");
  for (std::size_t i = 0; i < expr.code.size(); ++i) {
    const PwInstr& instr = expr.code[i];
    const auto fail = [&](const std::string& what) {
      in.fail("instruction " + std::to_string(i) + " (" + std::string(to_string(instr.op)) + "): " + what);
    };
    const std::int32_t operands[] = {instr.a, instr.b, instr.c};
    const int count = arity(instr.op);
    for (int k = 0; k < count; ++k) {
      if (operands[k] < 0 || static_cast<std::size_t>(operands[k]) >= i)
        fail("operand is not an earlier instruction");
    }
    const auto dtype = [&](int k) { return expr.code[static_cast<std::size_t>(operands[k])].dtype; };
    const auto all = [&](DType want, int from = 0) {
      for (int k = from; k < count; ++k) {
        if (dtype(k) != want) {
          fail("operand " + std::to_string(k) + " is " + std::string(to_string(dtype(k))) + ", expected " +
               std::string(to_string(want)));
        }
      }
    };
    const auto result = [&](DType want) {
      if (instr.dtype != want) fail("its result must be " + std::string(to_string(want)));
    };
    if (instr.op == PwOp::load) {
      if (instr.a < 0 || static_cast<std::size_t>(instr.a) >= in.size()) {
        fail("reads input " + std::to_string(instr.a) + " of " + std::to_string(in.size()));
      }
      result(in[static_cast<std::size_t>(instr.a)].dtype);
      continue;
    }
    if (instr.op == PwOp::constant || instr.op == PwOp::cast) continue;
    if (instr.op == PwOp::select) {
      if (dtype(0) != DType::boolean) fail("its condition must be bool");
      all(instr.dtype, 1);
      continue;
    }
    switch (kind_of(instr.op)) {
      case Kind::arithmetic:
        all(instr.dtype);
        if (instr.dtype == DType::boolean && instr.op != PwOp::min && instr.op != PwOp::max)
          fail("not for bool");
        break;
      case Kind::floats:
        all(instr.dtype);
        if (!is_float(instr.dtype))
          fail("only for floating-point dtypes, not " + std::string(to_string(instr.dtype)));
        break;
      case Kind::compare:
        all(dtype(0));
        result(DType::boolean);
        break;
      case Kind::logical:
        all(DType::boolean);
        result(DType::boolean);
        break;
      case Kind::bits:
        all(instr.dtype);
        if (!is_int(instr.dtype)) fail("only for integers");
        break;
      case Kind::test:
        if (!is_float(dtype(0))) fail("only for floating-point dtypes");
        result(DType::boolean);
        break;
    }
  }
  return expr.code.back().dtype;
}

Types infer(const Pointwise& op, const Inputs& in) {
  const DType dtype = check_expr(op.expr, in);
  Dims shape;
  for (const ValueType& t : in.types) shape = in.broadcast(shape, t.shape);
  return {{dtype, shape}};
}

}  // namespace headrace::rules
