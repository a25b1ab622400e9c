#include "onnx/host_array.h"

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "onnx/import_node.h"

namespace headrace::onnx {

std::optional<HostArray> to_host_array(const HostTensor& t) {
  const bool real = t.dtype() == DType::f32 || t.dtype() == DType::f64;
  if (!real && t.dtype() != DType::i64 && t.dtype() != DType::i32 && t.dtype() != DType::boolean)
    return std::nullopt;
  if (t.elements() > kMaxHostElements) return std::nullopt;
  HostArray a{t.dtype(), t.shape(), {}, 1};
  if (!real) {
    for (std::int64_t i = 0; i < t.elements(); ++i) a.values.push_back(t.at_int(i));
    return a;
  }
  auto exact = [&](std::int64_t den) {
    for (std::int64_t i = 0; i < t.elements(); ++i) {
      const double v = t.at_double(i) * static_cast<double>(den);
      if (!(std::abs(v) < 9e15) || v != std::floor(v)) return false;
    }
    return true;
  };
  while (!exact(a.den)) {
    if (a.den >= (std::int64_t{1} << 20)) return std::nullopt;
    a.den *= 2;
  }
  for (std::int64_t i = 0; i < t.elements(); ++i) {
    a.values.push_back(static_cast<std::int64_t>(t.at_double(i) * static_cast<double>(a.den)));
  }
  return a;
}

HostTensor to_host_tensor(const HostArray& a) {
  HostTensor t(a.dtype, a.shape);
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    if (is_float(a.dtype))
      t.set_double(at, static_cast<double>(a.values[i].value) / static_cast<double>(a.den));
    else
      t.set_int(at, a.values[i].value);
  }
  return t;
}

namespace {

using Inputs = std::vector<const HostArray*>;
using Result = std::optional<std::vector<HostArray>>;
constexpr std::int64_t kMaxFactor =
    4096;  ///< of float arithmetic that is exact for every extent below 2^24 / 4096 and more

std::size_t count_of(const Shape& shape) { return static_cast<std::size_t>(element_count(shape)); }

bool too_many(const Shape& shape) {
  std::int64_t n = 1;
  for (std::int64_t d : shape) {
    if (d < 0 || __builtin_mul_overflow(n, d, &n) || n > kMaxHostElements) return d != 0;
  }
  return false;
}

std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t x = i + a.size() < out.size() ? 1 : a[i + a.size() - out.size()];
    const std::int64_t y = i + b.size() < out.size() ? 1 : b[i + b.size() - out.size()];
    if (x != y && x != 1 && y != 1) return std::nullopt;
    out[i] = x == 1 ? y : x;
  }
  if (too_many(out)) return std::nullopt;
  return out;
}

/// The element of `a` that stands at flat index `i` of `shape`, which `a` broadcasts to.
Dim element(const HostArray& a, const Shape& shape, std::size_t i) {
  std::size_t at = 0, stride = 1;
  for (std::size_t k = shape.size(); k-- > 0;) {
    const auto extent = static_cast<std::size_t>(shape[k]);
    const std::size_t coordinate = i % extent;
    i /= extent;
    if (k + a.shape.size() < shape.size()) continue;
    const std::int64_t own = a.shape[k + a.shape.size() - shape.size()];
    if (own != 1) at += coordinate * stride;
    stride *= static_cast<std::size_t>(own);
  }
  return a.values[at];
}

bool fits(const HostArray& a) {
  if (a.dtype != DType::i32) return true;
  for (const Dim& d : a.values) {
    if (d.is_constant() && (d.value < std::numeric_limits<std::int32_t>::min() ||
                            d.value > std::numeric_limits<std::int32_t>::max())) {
      return false;
    }
  }
  return true;
}

Result one(HostArray a) {
  if (!fits(a)) return std::nullopt;
  std::vector<HostArray> out;
  out.push_back(std::move(a));
  return out;
}

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

/// All inputs one-dimensional or scalars; the usual shape arithmetic.
Result concat(ImportNode& n, const Inputs& in) {
  n.attr_int("axis");
  HostArray out{in.at(0)->dtype, {0}, {}, 1};
  for (const HostArray* a : in) out.den = std::lcm(out.den, a == nullptr ? 1 : a->den);
  if (out.den > (1 << 24)) return std::nullopt;
  for (const HostArray* a : in) {
    if (!a || a->shape.size() != 1 || a->dtype != out.dtype) return std::nullopt;
    for (const Dim& d : a->values) out.values.push_back(n.shapes().mul(d, Dim(out.den / a->den)));
  }
  out.shape[0] = static_cast<std::int64_t>(out.values.size());
  if (too_many(out.shape)) return std::nullopt;
  return one(out);
}

Result gather(ImportNode& n, const Inputs& in) {
  const HostArray &data = *in.at(0), &indices = *in.at(1);
  const std::int64_t axis = normal_axis(n.attr_int("axis", 0), static_cast<std::int64_t>(data.shape.size()));
  if (axis != 0 || !all_constant(indices.values) || is_float(indices.dtype)) return std::nullopt;
  HostArray out{data.dtype, indices.shape, {}, data.den};
  out.shape.insert(out.shape.end(), data.shape.begin() + 1, data.shape.end());
  if (too_many(out.shape)) return std::nullopt;
  const std::int64_t extent = data.shape[0];
  const std::int64_t row = extent == 0 ? 0 : static_cast<std::int64_t>(data.values.size()) / extent;
  for (const Dim& index : indices.values) {
    if (index.value < -extent || index.value >= extent) {
      invalid("index " + std::to_string(index.value) + " is out of range for an axis of " +
              std::to_string(extent));
    }
    const auto first = data.values.begin() + (index.value < 0 ? index.value + extent : index.value) * row;
    out.values.insert(out.values.end(), first, first + row);
  }
  return one(out);
}

Result slice(ImportNode& n, const Inputs& in) {
  const HostArray& data = *in.at(0);
  if (data.shape.size() != 1) return std::nullopt;
  std::int64_t start, end, step = 1;
  if (n.opset() < 10) {
    const auto starts = n.attr_ints("starts"), ends = n.attr_ints("ends");
    n.ignore_attr("axes");
    if (!starts || !ends || starts->size() != 1 || ends->size() != 1) return std::nullopt;
    start = starts->at(0);
    end = ends->at(0);
  } else {
    auto number = [&](std::size_t i) -> std::optional<std::int64_t> {
      if (i >= in.size() || !in[i] || in[i]->values.size() != 1 || !in[i]->values[0].is_constant())
        return std::nullopt;
      return in[i]->values[0].value;
    };
    if (!number(1) || !number(2)) return std::nullopt;
    start = *number(1);
    end = *number(2);
    if (in.size() > 4 && in[4]) {
      if (!number(4) || *number(4) == 0) return std::nullopt;
      step = *number(4);
    }
  }
  const std::int64_t extent = data.shape[0];
  if (start < 0) start = start < -extent ? (step < 0 ? -1 : 0) : start + extent;
  if (end < 0) end = end < -extent ? (step < 0 ? -1 : 0) : end + extent;
  start = std::min(start, step > 0 ? extent : extent - 1);
  end = std::min(end, extent);
  HostArray out{data.dtype, {0}, {}, data.den};
  for (std::int64_t i = start; step > 0 ? i < end : i > end; i += step) {
    out.values.push_back(data.values[static_cast<std::size_t>(i)]);
    if (step > extent || step < -extent) break;
  }
  out.shape[0] = static_cast<std::int64_t>(out.values.size());
  return one(out);
}

Result split(ImportNode& n, const Inputs& in) {
  const HostArray& data = *in.at(0);
  n.ignore_attr("axis");
  n.ignore_attr("num_outputs");
  const auto attribute = n.attr_ints("split");
  if (data.shape.size() != 1 || n.output_count() == 0) return std::nullopt;
  Ints sizes;
  const auto count = static_cast<std::int64_t>(n.output_count());
  if (attribute) {
    sizes = *attribute;
  } else if (in.size() > 1 && in[1]) {
    if (!all_constant(in[1]->values)) return std::nullopt;
    sizes = to_shape(in[1]->values);
  } else {
    const std::int64_t each = (data.shape[0] + count - 1) / count;
    for (std::int64_t i = 0, left = data.shape[0]; i < count; ++i, left -= each) {
      sizes.push_back(std::max<std::int64_t>(0, std::min(each, left)));
    }
  }
  std::int64_t at = 0;
  std::vector<HostArray> out;
  for (std::int64_t size : sizes) {
    if (size < 0 || size > data.shape[0] - at) return std::nullopt;
    out.push_back(
        {data.dtype, {size}, Dims(data.values.begin() + at, data.values.begin() + at + size), data.den});
    at += size;
  }
  if (at != data.shape[0] || out.size() != n.output_count()) return std::nullopt;
  return out;
}

Result reshaped(ImportNode& n, const Inputs& in) {
  HostArray a = *in.at(0);
  const std::string_view op = n.op_type();
  const auto rank = static_cast<std::int64_t>(a.shape.size());
  if (op == "Identity" || op == "Dropout") return one(a);
  if (op == "Reshape") {
    if (n.attr_flag("allowzero", false) || in.size() < 2 || !in[1] || !all_constant(in[1]->values))
      return std::nullopt;
    Shape to = to_shape(in[1]->values);
    std::int64_t known = 1;
    std::int64_t* free = nullptr;
    for (std::size_t i = 0; i < to.size(); ++i) {
      if (to[i] == 0 && i < a.shape.size()) to[i] = a.shape[i];
      if (to[i] == -1 && free == nullptr)
        free = &to[i];
      else if (to[i] <= 0 || to[i] > kMaxHostElements || (known *= to[i]) > kMaxHostElements)
        return std::nullopt;
    }
    if (free != nullptr) *free = static_cast<std::int64_t>(a.values.size()) / known;
    if (too_many(to) || count_of(to) != a.values.size()) return std::nullopt;
    a.shape = to;
    return one(a);
  }
  const auto attribute = n.attr_ints("axes");
  std::optional<Ints> axes = attribute;
  if (in.size() > 1 && in[1]) {
    if (!all_constant(in[1]->values)) return std::nullopt;
    axes = to_shape(in[1]->values);
  }
  if (op == "Unsqueeze") {
    if (!axes) return std::nullopt;
    for (std::int64_t axis : normal_axes(*axes, rank + static_cast<std::int64_t>(axes->size()))) {
      a.shape.insert(a.shape.begin() + axis, 1);
    }
    return one(a);
  }
  Shape left;  // Squeeze
  const Ints gone = axes ? normal_axes(*axes, rank) : Ints{};
  for (std::int64_t i = 0; i < rank; ++i) {
    const std::int64_t extent = a.shape[static_cast<std::size_t>(i)];
    const bool squeezed = axes ? std::binary_search(gone.begin(), gone.end(), i) : extent == 1;
    if (squeezed && extent != 1) return std::nullopt;
    if (!squeezed) left.push_back(extent);
  }
  a.shape = left;
  return one(a);
}

Result shape_of(ImportNode& n, const Inputs&) {
  Dims dims = n.in_shape(0);
  if (n.op_type() == "Size") return one({DType::i64, {}, {n.shapes().product(dims)}, 1});
  const auto rank = static_cast<std::int64_t>(dims.size());
  auto clamp = [&](std::int64_t i) { return std::clamp<std::int64_t>(i < 0 ? i + rank : i, 0, rank); };
  const std::int64_t start = clamp(n.attr_int("start", 0));
  const std::int64_t end = std::max(start, clamp(n.attr_int("end", rank)));
  Dims part(dims.begin() + start, dims.begin() + end);
  return one({DType::i64, {end - start}, part, 1});
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

Result expand(ImportNode& n, const Inputs& in) {
  const HostArray& a = *in.at(0);
  if (in.size() != 2 || !in[1] || !all_constant(in[1]->values)) return std::nullopt;
  const Shape to = to_shape(in[1]->values);
  if (too_many(to)) return std::nullopt;
  HostArray out{a.dtype, {}, {}, a.den};
  if (n.op_type() == "Tile") {
    if (a.shape.size() != 1 || to.size() != 1 || too_many({a.shape[0], to[0]})) return std::nullopt;
    for (std::int64_t i = 0; i < to[0]; ++i)
      out.values.insert(out.values.end(), a.values.begin(), a.values.end());
    out.shape = {static_cast<std::int64_t>(out.values.size())};
    return one(out);
  }
  const auto shape = broadcast(a.shape, to);
  if (!shape) return std::nullopt;
  out.shape = *shape;
  for (std::size_t i = 0, count = count_of(*shape); i < count; ++i)
    out.values.push_back(element(a, *shape, i));
  return one(out);
}

Result constant_of_shape(ImportNode& n, const Inputs& in) {
  HostTensor value(DType::f32, {1});
  if (n.has_attr("value")) value = n.tensor(n.attr_tensor("value"));
  if (!all_constant(in.at(0)->values) || is_float(value.dtype())) return std::nullopt;
  const auto a = to_host_array(value);
  const Shape shape = to_shape(in[0]->values);
  if (!a || a->values.size() != 1 || too_many(shape)) return std::nullopt;
  return one({a->dtype, shape, Dims(count_of(shape), a->values[0]), 1});
}

using Function = Result (*)(ImportNode&, const Inputs&);
const std::unordered_map<std::string_view, Function>& table() {
  static const std::unordered_map<std::string_view, Function> kTable{{"Add", binary},
                                                                     {"Sub", binary},
                                                                     {"Mul", binary},
                                                                     {"Div", binary},
                                                                     {"Mod", binary},
                                                                     {"Equal", binary},
                                                                     {"Less", binary},
                                                                     {"LessOrEqual", binary},
                                                                     {"Greater", binary},
                                                                     {"GreaterOrEqual", binary},
                                                                     {"And", binary},
                                                                     {"Or", binary},
                                                                     {"Min", variadic},
                                                                     {"Max", variadic},
                                                                     {"Sum", variadic},
                                                                     {"Neg", unary},
                                                                     {"Not", unary},
                                                                     {"Abs", unary},
                                                                     {"Floor", unary},
                                                                     {"Ceil", unary},
                                                                     {"Cast", cast},
                                                                     {"CastLike", cast},
                                                                     {"Concat", concat},
                                                                     {"Gather", gather},
                                                                     {"Slice", slice},
                                                                     {"Split", split},
                                                                     {"Identity", reshaped},
                                                                     {"Reshape", reshaped},
                                                                     {"Squeeze", reshaped},
                                                                     {"Unsqueeze", reshaped},
                                                                     {"Shape", shape_of},
                                                                     {"Size", shape_of},
                                                                     {"Where", where},
                                                                     {"Range", range},
                                                                     {"ReduceSum", reduce},
                                                                     {"ReduceProd", reduce},
                                                                     {"ReduceMax", reduce},
                                                                     {"ReduceMin", reduce},
                                                                     {"Expand", expand},
                                                                     {"Tile", expand},
                                                                     {"ConstantOfShape", constant_of_shape}};
  return kTable;
}

}  // namespace

bool is_host_operator(std::string_view op_type) { return table().contains(op_type); }

Result evaluate_host(ImportNode& node, const Inputs& inputs) {
  const bool reads_shape = node.op_type() == "Shape" || node.op_type() == "Size";
  if (inputs.empty() || (inputs[0] == nullptr && !reads_shape)) return std::nullopt;
  return table().at(node.op_type())(node, inputs);
}

}  // namespace headrace::onnx
