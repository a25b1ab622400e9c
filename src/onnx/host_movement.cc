// Operators that move, select, repeat or make elements of host arrays.
#include <algorithm>
#include <numeric>

#include "onnx/host_ops.h"

namespace headrace::onnx::host {

/// All inputs one-dimensional or scalars; the usual shape arithmetic.
Result concat(ImportNode& n, const Inputs& in) {
  n.attr_int("axis");
  HostArray out{in.at(0)->dtype, {0}, {}, 1};
  for (const HostArray* a : in) out.den = std::lcm(out.den, a == nullptr ? 1 : a->den);
  if (out.den > kFixedOne) return std::nullopt;
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

}  // namespace headrace::onnx::host
