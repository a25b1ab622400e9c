// Arithmetic, comparisons, casts and reductions on host arrays.
#include <algorithm>

#include "onnx/host_ops.h"

namespace headrace::onnx::host {

namespace {

/// Of float arithmetic that is exact for every extent below 2^24 / 4096 and more.
constexpr std::int64_t kMaxFactor = 4096;

bool small_constants(const HostArray& a) {
  for (const Dim& d : a.values) {
    if (!d.is_constant() || d.value > kMaxFactor || d.value < -kMaxFactor) return false;
  }
  return a.den <= kMaxFactor;
}

bool overflows(Dim a, Dim b) {
  std::int64_t unused;
  return a.is_constant() && b.is_constant() && __builtin_mul_overflow(a.value, b.value, &unused);
}

/// Floats: only what rounding cannot disturb. Products with and quotients by small constants, sums of equal
/// fractions.
Result float_binary(ShapeProgram& s, std::string_view op, const HostArray& a, const HostArray& b,
                    const Shape& shape) {
  HostArray out{a.dtype, shape, {}, 1};
  const std::size_t n = count_of(shape);
  if (op == "Mul") {
    if (!small_constants(a) && !small_constants(b)) return std::nullopt;
    if (__builtin_mul_overflow(a.den, b.den, &out.den) || out.den > (1 << 24)) return std::nullopt;
    for (std::size_t i = 0; i < n; ++i)
      out.values.push_back(s.mul(element(a, shape, i), element(b, shape, i)));
    return one(out);
  }
  if (op == "Div") {
    if (!small_constants(b) || b.values.size() != 1 || b.values[0].value <= 0) return std::nullopt;
    if (__builtin_mul_overflow(a.den, b.values[0].value, &out.den) || out.den > (1 << 24))
      return std::nullopt;
    for (std::size_t i = 0; i < n; ++i) out.values.push_back(s.mul(element(a, shape, i), Dim(b.den)));
    return one(out);
  }
  if (op != "Add" && op != "Sub") return std::nullopt;
  out.den = std::max(a.den, b.den);
  if (out.den % a.den != 0 || out.den % b.den != 0) return std::nullopt;
  for (std::size_t i = 0; i < n; ++i) {
    const Dim x = s.mul(element(a, shape, i), Dim(out.den / a.den));
    const Dim y = s.mul(element(b, shape, i), Dim(out.den / b.den));
    out.values.push_back(op == "Add" ? s.add(x, y) : s.sub(x, y));
  }
  return one(out);
}

}  // namespace

Result binary(ImportNode& n, const Inputs& in) {
  if (in.size() != 2 || !in[0] || !in[1] || in[0]->dtype != in[1]->dtype) return std::nullopt;
  const HostArray &a = *in[0], &b = *in[1];
  const auto shape = broadcast(a.shape, b.shape);
  if (!shape) return std::nullopt;
  ShapeProgram& s = n.shapes();
  const std::string_view op = n.op_type();
  if (is_float(a.dtype)) return float_binary(s, op, a, b, *shape);
  const bool fmod = op == "Mod" && n.attr_flag("fmod", false);
  HostArray out{a.dtype, *shape, {}, 1};
  const bool compares =
      op == "Equal" || op == "Less" || op == "LessOrEqual" || op == "Greater" || op == "GreaterOrEqual";
  if (compares) out.dtype = DType::boolean;
  auto invert = [&](Dim d) { return s.sub(Dim(1), d); };
  for (std::size_t i = 0, count = count_of(*shape); i < count; ++i) {
    const Dim x = element(a, *shape, i), y = element(b, *shape, i);
    const bool divides = op == "Div" || op == "Mod";
    if (divides && y.is_constant() && (y.value == 0 || y.value == -1)) return std::nullopt;
    if (overflows(x, y)) return std::nullopt;
    Dim r;
    if (op == "Add")
      r = s.add(x, y);
    else if (op == "Sub")
      r = s.sub(x, y);
    else if (op == "Mul")
      r = s.mul(x, y);
    else if (op == "Div")
      r = s.trunc_div(x, y);
    else if (op == "Mod")
      r = fmod ? s.sub(x, s.mul(s.trunc_div(x, y), y)) : s.mod(x, y);
    else if (op == "Equal")
      r = s.eq(x, y);
    else if (op == "Less")
      r = s.lt(x, y);
    else if (op == "Greater")
      r = s.lt(y, x);
    else if (op == "LessOrEqual")
      r = invert(s.lt(y, x));
    else if (op == "GreaterOrEqual")
      r = invert(s.lt(x, y));
    else if (op == "And")
      r = s.mul(x, y);
    else if (op == "Or")
      r = s.max(x, y);
    else
      return std::nullopt;
    out.values.push_back(r);
  }
  return one(out);
}

Result variadic(ImportNode& n, const Inputs& in) {
  HostArray out = *in.at(0);
  ShapeProgram& s = n.shapes();
  for (std::size_t k = 1; k < in.size(); ++k) {
    if (!in[k] || in[k]->dtype != out.dtype || is_float(out.dtype)) return std::nullopt;
    const auto shape = broadcast(out.shape, in[k]->shape);
    if (!shape) return std::nullopt;
    HostArray next{out.dtype, *shape, {}, 1};
    for (std::size_t i = 0, count = count_of(*shape); i < count; ++i) {
      const Dim x = element(out, *shape, i), y = element(*in[k], *shape, i);
      next.values.push_back(n.op_type() == "Min"   ? s.min(x, y)
                            : n.op_type() == "Max" ? s.max(x, y)
                                                   : s.add(x, y));
    }
    out = std::move(next);
  }
  return one(out);
}

Result unary(ImportNode& n, const Inputs& in) {
  HostArray a = *in.at(0);
  ShapeProgram& s = n.shapes();
  const std::string_view op = n.op_type();
  if (op == "Floor" || op == "Ceil") {
    if (!is_float(a.dtype)) return std::nullopt;
    for (Dim& d : a.values) d = op == "Floor" ? s.floor_div(d, Dim(a.den)) : s.ceil_div(d, Dim(a.den));
    a.den = 1;
    return one(a);
  }
  for (Dim& d : a.values) {
    if (op == "Neg")
      d = s.sub(Dim(0), d);
    else if (op == "Not")
      d = s.sub(Dim(1), d);
    else if (op == "Abs")
      d = s.max(d, s.sub(Dim(0), d));
  }
  return one(a);
}

Result cast(ImportNode& n, const Inputs& in) {
  const DType to = n.op_type() == "Cast" ? to_dtype(n.attr_int("to")) : in.at(1) ? in[1]->dtype : DType::u8;
  n.ignore_attr("saturate");
  n.ignore_attr("round_mode");
  HostArray a = *in.at(0);
  ShapeProgram& s = n.shapes();
  switch (to) {
    case DType::i32:
    case DType::i64:
    case DType::boolean:
      if (is_float(a.dtype) && to == DType::boolean) return std::nullopt;
      for (Dim& d : a.values) {
        if (a.den != 1) d = s.trunc_div(d, Dim(a.den));
        if (to == DType::boolean && a.dtype != DType::boolean) d = s.sub(Dim(1), s.eq(d, Dim(0)));
      }
      a.den = 1;
      break;
    case DType::f32:
    case DType::f64:
      if (a.dtype == DType::f64 && to == DType::f32) return std::nullopt;
      break;
    default: return std::nullopt;
  }
  a.dtype = to;
  return one(a);
}

Result where(ImportNode& n, const Inputs& in) {
  if (in.size() != 3 || !in[0] || !in[1] || !in[2] || in[1]->dtype != in[2]->dtype ||
      is_float(in[1]->dtype)) {
    return std::nullopt;
  }
  const auto first = broadcast(in[0]->shape, in[1]->shape);
  const auto shape = first ? broadcast(*first, in[2]->shape) : std::nullopt;
  if (!shape) return std::nullopt;
  HostArray out{in[1]->dtype, *shape, {}, 1};
  for (std::size_t i = 0, count = count_of(*shape); i < count; ++i) {
    out.values.push_back(n.shapes().select(element(*in[0], *shape, i), element(*in[1], *shape, i),
                                           element(*in[2], *shape, i)));
  }
  return one(out);
}

Result range(ImportNode&, const Inputs& in) {
  for (const HostArray* a : in) {
    if (!a || a->values.size() != 1 || !a->values[0].is_constant() || is_float(a->dtype)) return std::nullopt;
  }
  if (in.size() != 3) return std::nullopt;
  const std::int64_t start = in[0]->values[0].value, limit = in[1]->values[0].value,
                     step = in[2]->values[0].value;
  if (step == 0) invalid("delta is 0");
  HostArray out{in[0]->dtype, {0}, {}, 1};
  for (std::int64_t i = start; step > 0 ? i < limit : i > limit;) {
    if (out.values.size() >= static_cast<std::size_t>(kMaxHostElements)) return std::nullopt;
    out.values.push_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  out.shape[0] = static_cast<std::int64_t>(out.values.size());
  return one(out);
}

Result reduce(ImportNode& n, const Inputs& in) {
  const HostArray& a = *in.at(0);
  n.ignore_attr("axes");
  if (a.shape.size() != 1 || a.values.empty() || is_float(a.dtype)) return std::nullopt;
  if (n.attr_flag("noop_with_empty_axes", false)) return std::nullopt;
  ShapeProgram& s = n.shapes();
  const std::string_view op = n.op_type();
  Dim r = a.values[0];
  for (std::size_t i = 1; i < a.values.size(); ++i) {
    const Dim v = a.values[i];
    if (overflows(r, v)) return std::nullopt;
    r = op == "ReduceSum"    ? s.add(r, v)
        : op == "ReduceProd" ? s.mul(r, v)
        : op == "ReduceMax"  ? s.max(r, v)
                             : s.min(r, v);
  }
  return one({a.dtype, n.attr_flag("keepdims", true) ? Shape{1} : Shape{}, {r}, 1});
}

}  // namespace headrace::onnx::host
