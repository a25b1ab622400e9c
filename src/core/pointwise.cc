#include "core/pointwise.h"

#include <charconv>
#include <iterator>

#include <headrace/error.h>

namespace headrace {

namespace {

constexpr std::string_view kNames[] = {
#define X(name, arity) #name,
    HEADRACE_PW_OPS(X)
#undef X
};
constexpr int kArities[] = {
#define X(name, arity) arity,
    HEADRACE_PW_OPS(X)
#undef X
};

std::string real(double v) {
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, v).ptr;
  return {buffer, end};
}

bool gives_bool(PwOp op) {
  switch (op) {
    case PwOp::is_nan:
    case PwOp::is_inf:
    case PwOp::logical_not:
    case PwOp::equal:
    case PwOp::less:
    case PwOp::less_equal:
    case PwOp::greater:
    case PwOp::greater_equal:
    case PwOp::logical_and:
    case PwOp::logical_or:
    case PwOp::logical_xor: return true;
    default: return false;
  }
}

/// Instructions as nested calls; one that is used twice stands before, as `t3 = ...; `.
class Printer {
 public:
  explicit Printer(const PwExpr& expr) : expr_(expr), uses_(expr.code.size(), 0) {
    for (const PwInstr& in : expr.code) {
      const std::int32_t operands[] = {in.a, in.b, in.c};
      for (int k = 0; k < arity(in.op); ++k) {
        if (valid(operands[k])) ++uses_[static_cast<std::size_t>(operands[k])];
      }
    }
  }
  std::string run() {
    std::string out;
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < expr_.code.size(); ++i) {
      const bool last = i + 1 == expr_.code.size();
      std::string text = print(i, texts);
      if (!last && uses_[i] > 1 && arity(expr_.code[i].op) > 0) {
        const std::string name = "t" + std::to_string(names_++);
        out += name + " = " + text + "; ";
        text = name;
      }
      if (last) return out + text;
      texts.push_back(std::move(text));
    }
    return out;
  }

 private:
  bool valid(std::int32_t i) const { return i >= 0 && static_cast<std::size_t>(i) < uses_.size(); }

  std::string print(std::size_t i, const std::vector<std::string>& texts) const {
    const PwInstr& in = expr_.code[i];
    if (in.op == PwOp::load) return "x" + std::to_string(in.a) + suffix(in.dtype, DType::f32);
    if (in.op == PwOp::constant) {
      return (is_float(in.dtype) ? real(in.alpha) : std::to_string(in.imm)) + suffix(in.dtype, DType::f32);
    }
    std::string out(to_string(in.op));
    out += suffix(in.dtype, gives_bool(in.op) ? DType::boolean : DType::f32) + "(";
    const std::int32_t operands[] = {in.a, in.b, in.c};
    for (int k = 0; k < arity(in.op); ++k) {
      const bool earlier = operands[k] >= 0 && static_cast<std::size_t>(operands[k]) < texts.size();
      if (k > 0) out += ", ";
      out += earlier ? texts[static_cast<std::size_t>(operands[k])] : "?";
    }
    if (in.alpha != 0 || in.beta != 0) out += ", " + real(in.alpha);
    if (in.beta != 0) out += ", " + real(in.beta);
    return out + ")";
  }
  static std::string suffix(DType dtype, DType usual) {
    return dtype == usual ? "" : ":" + std::string(to_string(dtype));
  }

  const PwExpr& expr_;
  std::vector<int> uses_;
  int names_ = 0;
};

}  // namespace

std::string_view to_string(PwOp op) {
  const auto i = static_cast<std::size_t>(op);
  return i < std::size(kNames) ? kNames[i] : "unknown";
}

int arity(PwOp op) {
  const auto i = static_cast<std::size_t>(op);
  return i < std::size(kArities) ? kArities[i] : 0;
}

PwOp to_pw_op(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) return static_cast<PwOp>(i);
  }
  throw Error(ErrorCode::invalid_plan, "unknown pointwise operator '" + std::string(name) +
                                           "'; the plan may come from another version of headrace");
}

std::int32_t PwExpr::load(std::int32_t input, DType dtype) {
  code.push_back({.op = PwOp::load, .dtype = dtype, .a = input});
  return static_cast<std::int32_t>(code.size()) - 1;
}

std::int32_t PwExpr::constant(double value, DType dtype) {
  if (!is_float(dtype)) {
    const bool fits = value >= -0x1p63 && value < 0x1p63;  // also refuses NaN
    return constant_int(fits        ? static_cast<std::int64_t>(value)
                        : value > 0 ? INT64_MAX
                        : value < 0 ? INT64_MIN
                                    : 0,
                        dtype);
  }
  code.push_back({.op = PwOp::constant, .dtype = dtype, .alpha = value});
  return static_cast<std::int32_t>(code.size()) - 1;
}

std::int32_t PwExpr::constant_int(std::int64_t value, DType dtype) {
  if (is_float(dtype)) return constant(static_cast<double>(value), dtype);
  code.push_back({.op = PwOp::constant, .dtype = dtype, .imm = value});
  return static_cast<std::int32_t>(code.size()) - 1;
}

std::int32_t PwExpr::op(PwOp op, DType dtype, std::int32_t a, std::int32_t b, std::int32_t c, double alpha,
                        double beta) {
  code.push_back({.op = op, .dtype = dtype, .a = a, .b = b, .c = c, .alpha = alpha, .beta = beta});
  return static_cast<std::int32_t>(code.size()) - 1;
}

std::string to_string(const PwExpr& expr) { return Printer(expr).run(); }

}  // namespace headrace
