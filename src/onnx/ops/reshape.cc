// Reshape, Flatten, Squeeze, Unsqueeze: the same elements under another shape.
#include <algorithm>

#include "onnx/ops/runtime_axes.h"

namespace headrace::onnx {

/// 0 copies the input's extent (without allowzero), -1 is what is left. An entry whose value comes from an
/// input of the model may turn out to be either; one computed from extents is taken as it is.
void import_Reshape(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims src = n.shape(x);
  ShapeProgram& s = n.shapes();
  const bool allow_zero = n.attr_flag("allowzero", false);
  Dims to = n.host_dims(1, "shape");
  if (n.in_shape(1).size() != 1) invalid("the shape must have rank 1");
  Dims known;  // the product of all entries but the one of -1
  std::ptrdiff_t free = -1;
  std::vector<std::size_t> maybe_free;
  for (std::size_t i = 0; i < to.size(); ++i) {
    Dim& d = to[i];
    if (d.is_constant()) {
      if (d.value < -1) invalid("extent " + std::to_string(d.value) + " of the shape is below -1");
      if (d.value == 0 && !allow_zero) {
        if (i >= src.size())
          invalid("extent 0 copies axis " + std::to_string(i) + ", which the input does not have");
        d = src[i];
      } else if (d.value == -1) {
        if (free >= 0) invalid("the shape has more than one -1");
        free = static_cast<std::ptrdiff_t>(i);
        continue;
      }
    } else if (depends_on_input_value(s, d)) {
      if (!allow_zero && i < src.size()) d = s.select(s.eq(d, Dim(0)), src[i], d);
      maybe_free.push_back(i);
    }
    known.push_back(maybe_free.empty() || maybe_free.back() != i ? d : s.select(s.eq(d, Dim(-1)), Dim(1), d));
  }
  auto left = [&] {
    if (!known.empty() && std::find(known.begin(), known.end(), Dim(0)) != known.end()) return Dim(0);
    return ratio(s, src, known);
  };
  if (free >= 0) to[static_cast<std::size_t>(free)] = left();
  if (!maybe_free.empty()) {
    const Dim rest = left();
    for (std::size_t i : maybe_free) to[i] = s.select(s.eq(to[i], Dim(-1)), rest, to[i]);
  }
  n.out(0, n.reshape(x, to));
}

void import_Flatten(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  std::int64_t axis = n.attr_int("axis", 1);
  if (axis != n.rank(x)) axis = normal_axis(axis, n.rank(x));
  const auto at = static_cast<std::size_t>(axis);
  n.out(0, n.reshape(x, {n.shapes().product(std::span(shape).first(at)),
                         n.shapes().product(std::span(shape).subspan(at))}));
}

namespace {
/// Attribute before opset 13, input from then on; absent: nothing.
std::optional<Dims> read_axes(ImportNode& n) {
  if (auto axes = n.attr_ints("axes")) return to_dims(*axes);
  if (n.has(1)) return n.host_dims(1, "axes");
  return std::nullopt;
}
}  // namespace

void import_Squeeze(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  const auto axes = read_axes(n);
  if (axes && !all_constant(*axes)) {
    const Dims flags = axis_flags(n.shapes(), *axes, n.rank(x));
    if (axes->size() > shape.size()) invalid("more axes than the input has");
    n.out(0, n.reshape(x, pick_extents(n.shapes(), shape, flags, Dim(0), shape.size() - axes->size())));
    return;
  }
  Dims to;
  const Ints gone = axes ? normal_axes(to_shape(*axes), n.rank(x)) : Ints{};
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool named = std::binary_search(gone.begin(), gone.end(), static_cast<std::int64_t>(i));
    if (named && shape[i].is_constant() && shape[i].value != 1) {
      invalid("axis " + std::to_string(i) + " has extent " + std::to_string(shape[i].value) +
              "; only 1 can be squeezed");
    }
    if (axes ? !named : shape[i] != Dim(1)) to.push_back(shape[i]);
  }
  n.out(0, n.reshape(x, to));
}

void import_Unsqueeze(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  const auto axes = read_axes(n);
  if (!axes) invalid("axes are missing");
  const auto rank = n.rank(x) + static_cast<std::int64_t>(axes->size());
  if (all_constant(*axes)) {
    Dims to = shape;
    for (std::int64_t axis : normal_axes(to_shape(*axes), rank)) to.insert(to.begin() + axis, Dim(1));
    n.out(0, n.reshape(x, to));
    return;
  }
  ShapeProgram& s = n.shapes();
  const Dims flags = axis_flags(s, *axes, rank);
  Dims to;
  Dim at = 0;  // of the input's axes
  for (const Dim& flag : flags) {
    Dim extent = 1;
    for (std::size_t j = 0; j < shape.size(); ++j) {
      extent = s.select(s.eq(at, Dim(static_cast<std::int64_t>(j))), shape[j], extent);
    }
    to.push_back(s.select(flag, Dim(1), extent));
    at = s.add(at, s.sub(Dim(1), flag));
  }
  n.out(0, n.reshape(x, to));
}

}  // namespace headrace::onnx
