// ConstantOfShape, Range, EyeLike, Trilu: tensors made from numbers and positions.
#include <cmath>

#include "onnx/import_node.h"

namespace headrace::onnx {

void import_ConstantOfShape(ImportNode& n) {
  HostTensor value(DType::f32, {1});
  if (n.has_attr("value")) value = n.tensor(n.attr_tensor("value"));
  if (value.elements() != 1) invalid("attribute value must have one element");
  const Dims shape = n.host_dims(0, "shape");
  for (const Dim& d : shape) {
    if (d.is_constant() && d.value < 0) invalid("the shape has a negative extent");
  }
  HostTensor scalar(value.dtype(), Shape{});
  if (is_float(value.dtype()))
    scalar.set_double(0, value.at_double(0));
  else
    scalar.set_int(0, value.at_int(0));
  n.out(0, n.add(Broadcast{shape}, {n.constant_value(std::move(scalar))}));
}

namespace {
/// ceil(span / step) whatever the signs, at least 0. A run-time step's sign is turned to plus.
Dim steps_in(ShapeProgram& s, Dim span, Dim step) {
  const Dim negative = s.lt(step, Dim(0));
  const Dim count = s.ceil_div(s.select(negative, s.sub(Dim(0), span), span),
                               s.select(negative, s.sub(Dim(0), step), step));
  return s.max(Dim(0), count);
}

/// start + i * delta.
void float_range(ImportNode& n, DType t) {
  auto number = [&](std::size_t i, const char* what) {
    const Reals r = n.host_reals(i, what);
    if (r.size() != 1) invalid(std::string(what) + " must be a scalar");
    return r[0];
  };
  const Real start = number(0, "start"), limit = number(1, "limit"), delta = number(2, "delta");
  if (delta == Real(0)) invalid("delta is 0");
  ShapeProgram& s = n.shapes();
  if (!delta.is_constant())
    s.require(s.sub(Dim(1), s.eq(delta.bits(), Dim(0))), n.describe() + ": delta is 0");
  const Dim count = s.range_count(start, limit, delta);
  std::vector<ValueId> in{n.add(Iota{0, 1, count, DType::i64}, {})};
  for (const auto& [i, bound] : {std::pair{0, start}, {2, delta}}) {
    if (!bound.is_constant()) in.push_back(n.reshape(n.in(static_cast<std::size_t>(i)), {}));
  }
  n.out(0, n.pointwise(in, [&](PwExpr& e, const auto& x) {
    std::size_t next = 1;
    auto term = [&](Real bound) { return bound.is_constant() ? e.constant(bound.value, t) : x[next++]; };
    const auto first = term(start), step = term(delta);
    e.op(PwOp::add, t, e.op(PwOp::mul, t, e.op(PwOp::cast, t, x[0]), step), first);
  }));
}
}  // namespace

void import_Range(ImportNode& n) {
  const DType t = n.in_dtype(0);
  if (n.in_dtype(1) != t || n.in_dtype(2) != t) invalid("start, limit and delta must be of the same type");
  ShapeProgram& s = n.shapes();
  if (is_float(t)) return float_range(n, t);
  auto number = [&](std::size_t i, const char* what) {
    const Dims d = n.host_dims(i, what);
    if (d.size() != 1) invalid(std::string(what) + " must be a scalar");
    return d[0];
  };
  const Dim start = number(0, "start"), limit = number(1, "limit"), step = number(2, "delta");
  if (step == Dim(0)) invalid("delta is 0");
  s.require(s.sub(Dim(1), s.eq(step, Dim(0))), n.describe() + ": delta is 0");
  n.out(0, n.add(Iota{start, step, steps_in(s, s.sub(limit, start), step), t}, {}));
}

namespace {
/// Row and column numbers of the last two axes: i64 [rows, 1] and [columns].
std::pair<ValueId, ValueId> positions(ImportNode& n, Dim rows, Dim columns) {
  const ValueId row = n.reshape(n.add(Iota{0, 1, rows, DType::i64}, {}), {rows, Dim(1)});
  return {row, n.add(Iota{0, 1, columns, DType::i64}, {})};
}
}  // namespace

void import_EyeLike(ImportNode& n) {
  const Dims shape = n.in_shape(0);
  if (shape.size() != 2) invalid("the input must have rank 2");
  const DType t = n.has_attr("dtype") ? to_dtype(n.attr_int("dtype")) : n.in_dtype(0);
  const std::int64_t k = n.attr_int("k", 0);
  const auto [row, column] = positions(n, shape[0], shape[1]);
  n.out(0, n.pointwise({row, column}, [&](PwExpr& e, const auto& x) {
    const auto diagonal = e.op(PwOp::add, DType::i64, x[0], e.constant_int(k, DType::i64));
    const auto hit = e.op(PwOp::equal, DType::boolean, x[1], diagonal);
    if (t != DType::boolean) e.op(PwOp::cast, t, hit);
  }));
}

void import_Trilu(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  const DType t = n.dtype(x);
  const bool upper = n.attr_flag("upper", true);
  if (shape.size() < 2) invalid("the input must have at least rank 2");
  HostTensor zero(DType::i64, Shape{});
  const ValueId k = n.has(1) ? n.reshape(n.in(1), {}) : n.constant_value(std::move(zero));
  const auto [row, column] = positions(n, shape[shape.size() - 2], shape.back());
  n.out(0, n.pointwise({x, row, column, k}, [&](PwExpr& e, const auto& v) {
    const auto diagonal = e.op(PwOp::add, DType::i64, v[1], v[3]);
    const auto keep = e.op(upper ? PwOp::greater_equal : PwOp::less_equal, DType::boolean, v[2], diagonal);
    const auto none = is_float(t) ? e.constant(0, t) : e.constant_int(0, t);
    e.op(PwOp::select, t, keep, v[0], none);
  }));
}

}  // namespace headrace::onnx
