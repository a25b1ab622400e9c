#include "onnx/host_array.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "onnx/host_ops.h"

namespace headrace::onnx {

std::optional<HostArray> to_host_array(const HostTensor& t) {
  const bool real = is_float(t.dtype());
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
    if (a.den >= kFixedOne) return std::nullopt;
    a.den *= 2;
  }
  for (std::int64_t i = 0; i < t.elements(); ++i) {
    a.values.push_back(static_cast<std::int64_t>(t.at_double(i) * static_cast<double>(a.den)));
  }
  return a;
}

HostArray as_fixed(ShapeProgram& shapes, HostArray a) {
  if (!a.bits) return a;
  for (Dim& d : a.values) d = shapes.to_fixed(Real::of_bits(d));
  a.den = kFixedOne;
  a.bits = false;
  return a;
}

HostArray as_bits(ShapeProgram& shapes, HostArray a) {
  if (a.bits) return a;
  for (Dim& d : a.values) d = shapes.to_real(d, a.den).bits();
  a.den = 1;
  a.bits = true;
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

namespace host {

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

namespace {
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

}  // namespace

Result one(HostArray a) {
  if (!fits(a)) return std::nullopt;
  std::vector<HostArray> out;
  out.push_back(std::move(a));
  return out;
}

}  // namespace host

namespace {

using Function = host::Result (*)(ImportNode&, const host::Inputs&);
const std::unordered_map<std::string_view, Function>& table() {
  static const std::unordered_map<std::string_view, Function> kTable{
      {"Add", host::binary},
      {"Sub", host::binary},
      {"Mul", host::binary},
      {"Div", host::binary},
      {"Mod", host::binary},
      {"Equal", host::binary},
      {"Less", host::binary},
      {"LessOrEqual", host::binary},
      {"Greater", host::binary},
      {"GreaterOrEqual", host::binary},
      {"And", host::binary},
      {"Or", host::binary},
      {"Min", host::variadic},
      {"Max", host::variadic},
      {"Sum", host::variadic},
      {"Neg", host::unary},
      {"Not", host::unary},
      {"Abs", host::unary},
      {"Floor", host::unary},
      {"Ceil", host::unary},
      {"Cast", host::cast},
      {"CastLike", host::cast},
      {"Concat", host::concat},
      {"Gather", host::gather},
      {"Slice", host::slice},
      {"Split", host::split},
      {"Identity", host::reshaped},
      {"Reshape", host::reshaped},
      {"Squeeze", host::reshaped},
      {"Unsqueeze", host::reshaped},
      {"Shape", host::shape_of},
      {"Size", host::shape_of},
      {"Where", host::where},
      {"Range", host::range},
      {"ReduceSum", host::reduce},
      {"ReduceProd", host::reduce},
      {"ReduceMax", host::reduce},
      {"ReduceMin", host::reduce},
      {"Expand", host::expand},
      {"Tile", host::expand},
      {"ConstantOfShape", host::constant_of_shape}};
  return kTable;
}

bool only_moves(std::string_view op) {
  static constexpr std::string_view kNames[] = {"Concat",  "Gather",    "Slice",   "Split",  "Identity",
                                                "Reshape", "Unsqueeze", "Squeeze", "Expand", "Tile"};
  return std::find(std::begin(kNames), std::end(kNames), op) != std::end(kNames);
}

}  // namespace

bool is_host_operator(std::string_view op_type) { return table().contains(op_type); }

host::Result evaluate_host(ImportNode& node, const host::Inputs& inputs) {
  const bool reads_shape = node.op_type() == "Shape" || node.op_type() == "Size";
  if (inputs.empty() || (inputs[0] == nullptr && !reads_shape)) return std::nullopt;
  const host::Inputs* in = &inputs;
  const auto has_bits = [](const HostArray* a) { return a != nullptr && a->bits; };
  const bool bits = std::any_of(inputs.begin(), inputs.end(), has_bits),
             moves = bits && only_moves(node.op_type());
  std::vector<HostArray> arrays;
  host::Inputs converted;
  if (bits) {
    arrays.reserve(inputs.size());
    for (const HostArray* a : inputs) {
      const bool convert = a != nullptr && is_float(a->dtype);
      if (convert) arrays.push_back(moves ? as_bits(node.shapes(), *a) : as_fixed(node.shapes(), *a));
      converted.push_back(convert ? &arrays.back() : a);
    }
    in = &converted;
  }
  auto results = table().at(node.op_type())(node, *in);
  if (moves && results)
    for (HostArray& r : *results) r.bits = is_float(r.dtype);
  return results;
}

}  // namespace headrace::onnx
