#include "backends/cuda/codegen_expr.h"

#include <cmath>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/codegen.h"

namespace headrace::cuda {
namespace {

bool is_unsigned(DType dtype) { return is_unsigned_int(dtype) || dtype == DType::boolean; }

[[noreturn]] void refuse_op(PwOp op, const char* what) {
  throw Error(ErrorCode::invalid_model, fmt::format("Pointwise: {} is not for {}", to_string(op), what));
}

/// An operation on reals; bool results come as int 0 and 1. `fast`: the result is rounded to 16 bits.
std::string real_text(PwOp op, double alpha, double beta, DType dtype, bool fast, const std::string& a,
                      const std::string& b, const std::string& c) {
  const std::string R = register_name(dtype), A = literal(alpha, dtype), B = literal(beta, dtype);
  const auto call = [&](const char* f) { return fmt::format("{}({})", f, a); };
  const auto call2 = [&](const char* f) { return fmt::format("{}({}, {})", f, a, b); };
  const auto infix = [&](const char* s) { return fmt::format("{} {} {}", a, s, b); };
  const char* sigmoid = fast && dtype != DType::f64 ? "m_sigmoid_fast" : "m_sigmoid";
  switch (op) {
    case PwOp::load:
    case PwOp::constant:
    case PwOp::cast: return a;
    case PwOp::neg: return "-" + a;
    case PwOp::abs: return call("m_fabs");
    case PwOp::sign: return call("m_sign");
    case PwOp::floor: return call("m_floor");
    case PwOp::ceil: return call("m_ceil");
    case PwOp::round: return call("m_rint");
    case PwOp::sqrt: return call("m_sqrt");
    case PwOp::rsqrt: return fmt::format("({})1 / m_sqrt({})", R, a);
    case PwOp::reciprocal: return fmt::format("({})1 / {}", R, a);
    case PwOp::exp: return call("m_exp");
    case PwOp::log: return call("m_log");
    case PwOp::sin: return call("m_sin");
    case PwOp::cos: return call("m_cos");
    case PwOp::tan: return call("m_tan");
    case PwOp::asin: return call("m_asin");
    case PwOp::acos: return call("m_acos");
    case PwOp::atan: return call("m_atan");
    case PwOp::sinh: return call("m_sinh");
    case PwOp::cosh: return call("m_cosh");
    case PwOp::tanh: return call("m_tanh");
    case PwOp::asinh: return call("m_asinh");
    case PwOp::acosh: return call("m_acosh");
    case PwOp::atanh: return call("m_atanh");
    case PwOp::erf: return call("m_erf");
    case PwOp::is_nan: return fmt::format("{0} != {0}", a);
    case PwOp::is_inf:
      return fmt::format("m_isinf({0}) && ({0} > ({1})0 ? {2} : {3})", a, R, alpha != 0, beta != 0);
    case PwOp::logical_not: return fmt::format("{} == ({})0", a, R);
    case PwOp::relu: return call("m_relu");
    case PwOp::clip: return fmt::format("m_clip({}, {}, {})", a, A, B);
    case PwOp::leaky_relu: return fmt::format("{0} < ({1})0 ? {2} * {0} : {0}", a, R, A);
    case PwOp::elu: return fmt::format("{0} < ({1})0 ? {2} * m_expm1({0}) : {0}", a, R, A);
    case PwOp::selu: return fmt::format("{3} * ({0} <= ({1})0 ? {2} * m_expm1({0}) : {0})", a, R, A, B);
    case PwOp::celu: return fmt::format("{0} < ({1})0 ? {2} * m_expm1({0} / {2}) : {0}", a, R, A);
    case PwOp::softplus: return call("m_softplus");
    case PwOp::softsign: return fmt::format("{0} / (({1})1 + m_fabs({0}))", a, R);
    case PwOp::sigmoid: return call(sigmoid);
    case PwOp::hard_sigmoid: return fmt::format("m_clamp01<{}>({} * {} + {})", R, A, a, B);
    case PwOp::hard_swish:
      return fmt::format("{0} * m_clamp01<{1}>({0} * {2} + ({1})0.5)", a, R, literal(1.0 / 6, dtype));
    case PwOp::silu:
      return alpha == 1 ? fmt::format("{0} * {1}({0})", a, sigmoid)
                        : fmt::format("{0} * {1}({2} * {0})", a, sigmoid, A);
    case PwOp::mish: return fmt::format("{0} * m_tanh(m_softplus({0}))", a);
    case PwOp::gelu_erf:
      return fmt::format("({1})0.5 * {0} * (({1})1 + m_erf({0} * {2}))", a, R, literal(M_SQRT1_2, dtype));
    case PwOp::gelu_tanh:
      return fmt::format("({1})0.5 * {0} * (({1})1 + m_tanh({2} * ({0} + {3} * {0} * {0} * {0})))", a, R,
                         literal(std::sqrt(2 / M_PI), dtype), literal(0.044715, dtype));
    case PwOp::thresholded_relu: return fmt::format("{0} <= {1} ? ({2})0 : {0}", a, A, R);
    case PwOp::add: return infix("+");
    case PwOp::sub: return infix("-");
    case PwOp::mul: return infix("*");
    case PwOp::div: return infix("/");
    case PwOp::mod: return call2("m_mod");
    case PwOp::fmod: return call2("m_fmod");
    case PwOp::pow: return call2("m_pow");
    case PwOp::min: return call2("m_min");
    case PwOp::max: return call2("m_max");
    case PwOp::prelu: return fmt::format("{0} < ({2})0 ? {1} * {0} : {0}", a, b, R);
    case PwOp::equal: return infix("==");
    case PwOp::less: return infix("<");
    case PwOp::less_equal: return infix("<=");
    case PwOp::greater: return infix(">");
    case PwOp::greater_equal: return infix(">=");
    case PwOp::logical_and: return fmt::format("{} != 0 && {} != 0", a, b);
    case PwOp::logical_or: return fmt::format("{} != 0 || {} != 0", a, b);
    case PwOp::logical_xor: return fmt::format("({} != 0) != ({} != 0)", a, b);
    case PwOp::select: return fmt::format("{} != 0 ? {} : {}", a, b, c);
    case PwOp::bit_not:
    case PwOp::bit_and:
    case PwOp::bit_or:
    case PwOp::bit_xor:
    case PwOp::shift_left:
    case PwOp::shift_right: refuse_op(op, "floating-point numbers");
  }
  refuse_op(op, "this version");
}

/// A bound of clip as far as the integer type can hold it.
std::string int_bound(DType dtype, double v) {
  const int bits = static_cast<int>(8 * size_bytes(dtype));
  const double low = is_unsigned(dtype) ? 0 : -std::ldexp(1.0, bits - 1);
  const double high = std::ldexp(1.0, bits - (is_unsigned(dtype) ? 0 : 1));
  if (!(v > low))
    return literal(is_unsigned(dtype) ? 0 : bits == 64 ? INT64_MIN : -(std::int64_t{1} << (bits - 1)));
  if (v >= high) {
    const std::uint64_t all = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    return literal(static_cast<std::int64_t>(is_unsigned(dtype) ? all : all >> 1));
  }
  return literal(v >= 0x1p63 ? static_cast<std::int64_t>(static_cast<std::uint64_t>(v))
                             : static_cast<std::int64_t>(v));
}

/// An operation on integers of `dtype` (the operands' one), not yet wrapped.
std::string int_text(PwOp op, DType dtype, double alpha, double beta, const std::string& a,
                     const std::string& b, const std::string& c) {
  const bool is_u = is_unsigned(dtype);
  const char* C = dtype == DType::u64 ? "(u64)" : "";
  const auto wrapping = [&](const char* s) { return fmt::format("(i64)((u64){} {} (u64){})", a, s, b); };
  const auto infix = [&](const char* s) { return fmt::format("{} {} {}", a, s, b); };
  const auto compare = [&](const char* s) { return fmt::format("{2}{0} {1} {2}{3}", a, s, C, b); };
  const auto call2 = [&](const char* f) { return fmt::format("{}({}, {})", f, a, b); };
  const bool u64_ = dtype == DType::u64;
  switch (op) {
    case PwOp::neg: return fmt::format("(i64)(0 - (u64){})", a);
    case PwOp::abs: return is_u ? a : fmt::format("{0} < 0 ? (i64)(0 - (u64){0}) : {0}", a);
    case PwOp::sign: return is_u ? a + " != 0" : fmt::format("{0} > 0 ? 1 : {0} < 0 ? -1 : 0", a);
    case PwOp::floor:
    case PwOp::ceil:
    case PwOp::round:
    case PwOp::cast: return a;
    case PwOp::is_nan:
    case PwOp::is_inf: return "0";
    case PwOp::logical_not: return a + " == 0";
    case PwOp::bit_not: return "~" + a;
    case PwOp::relu: return is_u ? a : fmt::format("{0} < 0 ? 0 : {0}", a);
    case PwOp::clip:
      return fmt::format("(i64)m_clip<{}>({}, {}, {})", u64_ ? "u64" : "i64", a, int_bound(dtype, alpha),
                         int_bound(dtype, beta));
    case PwOp::add: return wrapping("+");
    case PwOp::sub: return wrapping("-");
    case PwOp::mul: return wrapping("*");
    case PwOp::div: return call2(u64_ ? "uint_div" : "int_div");
    case PwOp::fmod: return call2(u64_ ? "uint_rem" : "int_rem");
    case PwOp::mod: return call2(u64_ ? "uint_rem" : "int_mod");
    case PwOp::pow: return call2("int_pow");
    case PwOp::min: return fmt::format("{2}{1} < {2}{0} ? {1} : {0}", a, b, C);
    case PwOp::max: return fmt::format("{2}{0} < {2}{1} ? {1} : {0}", a, b, C);
    case PwOp::prelu: return is_u ? a : fmt::format("{0} < 0 ? (i64)((u64){0} * (u64){1}) : {0}", a, b);
    case PwOp::equal: return infix("==");
    case PwOp::less: return compare("<");
    case PwOp::less_equal: return compare("<=");
    case PwOp::greater: return compare(">");
    case PwOp::greater_equal: return compare(">=");
    case PwOp::logical_and: return fmt::format("{} != 0 && {} != 0", a, b);
    case PwOp::logical_or: return fmt::format("{} != 0 || {} != 0", a, b);
    case PwOp::logical_xor: return fmt::format("({} != 0) != ({} != 0)", a, b);
    case PwOp::bit_and: return infix("&");
    case PwOp::bit_or: return infix("|");
    case PwOp::bit_xor: return infix("^");
    case PwOp::shift_left: return call2("shift_left");
    case PwOp::shift_right: return call2(is_u ? "shift_right_unsigned" : "shift_right");
    case PwOp::select: return fmt::format("{} != 0 ? {} : {}", a, b, c);
    default: refuse_op(op, "integers");
  }
}

/// An i64 register wrapped to the element type.
std::string wrapped(const std::string& text, DType dtype) {
  if (dtype == DType::i64 || dtype == DType::u64) return text;
  if (dtype == DType::boolean) return "(i64)((" + text + ") != 0)";
  return fmt::format("(i64)({})({})", type_name(dtype), text);
}

std::string cast_text(const std::string& a, DType from, DType to) {
  if (is_float(to)) {
    const std::string R = register_name(to);
    std::string real;
    if (is_float(from))
      real = fmt::format("({}){}", R, a);
    else if (from == DType::i64 || from == DType::u64)
      real = fmt::format("({})({}){}", R, type_name(from), a);
    else  // 32 bits hold it
      real = fmt::format("({})({}){}", R, from == DType::u32 ? "u32" : "i32", a);
    if (is_half(to)) return fmt::format("{}({})", to == DType::f16 ? "round_half" : "round_bhalf", real);
    return real;
  }
  if (!is_float(from)) return wrapped(a, to);
  if (to == DType::boolean) return fmt::format("(i64)({} != 0)", a);
  return wrapped(fmt::format("{}({})", to == DType::u64 ? "uint_of" : "int_of", a), to);
}

}  // namespace

std::string print_expr(const std::string& name, const PwExpr& expr, const std::vector<DType>& inputs) {
  const std::vector<PwInstr>& code = expr.code;
  if (code.empty()) throw Error(ErrorCode::invalid_model, "Pointwise: the expression is empty");
  std::string out = fmt::format("HR {} {}(", register_name(code.back().dtype), name);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    out += fmt::format("{}{} x{}", i ? ", " : "", register_name(inputs[i]), i);
  out += ") {\n";
  for (std::size_t i = 0; i < code.size(); ++i) {
    const PwInstr& in = code[i];
    const std::int32_t places[] = {in.a, in.b, in.c};
    std::string operands[3], text;
    const int count = arity(in.op);
    for (int k = 0; k < count; ++k) {
      if (places[k] < 0 || static_cast<std::size_t>(places[k]) >= i)
        throw Error(ErrorCode::invalid_model,
                    fmt::format("Pointwise: instruction {} reads instruction {}, which "
                                "is not earlier",
                                i, places[k]));
      operands[k] = "t" + std::to_string(places[k]);
    }
    const auto dtype = [&](int k) { return code[static_cast<std::size_t>(places[k])].dtype; };
    if (in.op == PwOp::load) {
      if (in.a < 0 || static_cast<std::size_t>(in.a) >= inputs.size())
        throw Error(ErrorCode::invalid_model,
                    fmt::format("Pointwise: instruction {} loads input {} of {}", i, in.a, inputs.size()));
      text = "x" + std::to_string(in.a);
    } else if (in.op == PwOp::constant) {
      const double value = in.dtype == DType::f16    ? to_float(to_half(static_cast<float>(in.alpha)))
                           : in.dtype == DType::bf16 ? to_float(to_bhalf(static_cast<float>(in.alpha)))
                                                     : in.alpha;
      text = is_float(in.dtype) ? literal(value, in.dtype) : wrapped(literal(in.imm), in.dtype);
    } else if (in.op == PwOp::cast) {
      text = cast_text(operands[0], dtype(0), in.dtype);
    } else {
      const DType of = in.op == PwOp::select ? in.dtype : dtype(0);
      text = is_float(of)
                 ? real_text(in.op, in.alpha, in.beta, of, is_half(of), operands[0], operands[1], operands[2])
                 : wrapped(int_text(in.op, of, in.alpha, in.beta, operands[0], operands[1], operands[2]),
                           in.dtype);
    }
    out += fmt::format("  const {} t{} = {};\n", register_name(in.dtype), i, text);
  }
  return out + fmt::format("  return t{};\n}}\n", code.size() - 1);
}

std::string print_post(const std::string& name, const std::vector<Post>& post, DType dtype) {
  const DType compute = dtype == DType::f64 ? DType::f64 : DType::f32;
  const std::string R = register_name(compute);
  std::string out = fmt::format("HR {0} {1}({0} x", R, name), body;
  std::size_t operand = 0;
  for (const Post& p : post) {
    if (arity(p.op) < 1 || arity(p.op) > 2)
      throw Error(ErrorCode::invalid_model,
                  fmt::format("post step {}: only unary and binary ones", to_string(p.op)));
    std::string b;
    if (arity(p.op) == 2) {
      b = "b" + std::to_string(operand++);
      out += fmt::format(", {} {}", R, b);
    }
    body += fmt::format("  x = {};\n", real_text(p.op, p.alpha, p.beta, compute, is_half(dtype), "x", b, {}));
  }
  return out + ") {\n" + body + "  return x;\n}\n";
}

std::size_t post_operands(const std::vector<Post>& post) {
  std::size_t count = 0;
  for (const Post& p : post) count += arity(p.op) == 2;
  return count;
}

bool needs_integers(const PwExpr& expr) {
  for (const PwInstr& in : expr.code)
    if (!is_float(in.dtype) && in.op != PwOp::load && in.op != PwOp::constant) return true;
  return false;
}

}  // namespace headrace::cuda
