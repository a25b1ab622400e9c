// ReduceSum and its kin, ArgMax, ArgMin, CumSum.
#include "onnx/ops/runtime_axes.h"

namespace headrace::onnx {
namespace {

ValueId log_of(ImportNode& n, ValueId x) { return n.unary(PwOp::log, x); }

/// Reduces by axes known at run time: for each axis k, the reduced row is appended to x and a window chooses
/// either.
ValueId reduce_runtime(ImportNode& n, ReduceKind kind, ValueId x, const Dims& flags) {
  ReduceKind step = kind;  // a kind that composes: reducing by two axes is reducing by one, then by the other
  if (kind == ReduceKind::l1) {
    x = n.unary(PwOp::abs, x);
    step = ReduceKind::sum;
  } else if (kind == ReduceKind::l2 || kind == ReduceKind::sum_square) {
    x = n.binary(PwOp::mul, x, x);
    step = ReduceKind::sum;
  } else if (kind == ReduceKind::log_sum) {
    step = ReduceKind::sum;
  }
  ShapeProgram& s = n.shapes();
  for (std::int64_t k = 0; k < n.rank(x); ++k) {
    const std::size_t axis = static_cast<std::size_t>(k);
    const ValueId reduced = n.add(Reduce{step, {k}, true}, {x});
    const Dims shape = n.shape(x);
    const ValueId both = n.add(Concat{k}, {x, reduced});
    Slice window{Dims(shape.size(), Dim(0)), Dims(shape.size(), Dim(1)), shape};
    window.starts[axis] = s.select(flags[axis], shape[axis], Dim(0));
    window.sizes[axis] = s.select(flags[axis], Dim(1), shape[axis]);
    x = n.add(std::move(window), {both});
  }
  if (kind == ReduceKind::l2) return n.unary(PwOp::sqrt, x);
  return kind == ReduceKind::log_sum ? log_of(n, x) : x;
}

void reduce(ImportNode& n, ReduceKind kind) {
  ValueId x = n.in(0);
  const DType t = n.dtype(x);
  const std::int64_t rank = n.rank(x);
  const bool keep_dims = n.attr_flag("keepdims", true), noop = n.attr_flag("noop_with_empty_axes", false);
  // Booleans have an order (max and min, since opset 20), which integers have too.
  if (t == DType::boolean) x = n.cast(x, DType::u8);
  auto out = [&](ValueId y) { n.out(0, n.cast(y, t)); };
  Dims given;
  if (auto attribute = n.attr_ints("axes"))
    given = to_dims(*attribute);
  else if (n.has(1))
    given = n.host_dims(1, "axes");
  if (given.empty() && !noop) {
    for (std::int64_t i = 0; i < rank; ++i) given.push_back(Dim(i));
  }
  if (all_constant(given)) {
    out(n.add(Reduce{kind, normal_axes(to_shape(given), rank), keep_dims}, {x}));
    return;
  }
  const Dims flags = axis_flags(n.shapes(), given, rank);
  const Dims shape = n.shape(x);
  x = reduce_runtime(n, kind, x, flags);
  if (!keep_dims) {
    if (given.size() > static_cast<std::size_t>(rank)) invalid("more axes than the input has");
    x = n.reshape(
        x, pick_extents(n.shapes(), shape, flags, Dim(0), static_cast<std::size_t>(rank) - given.size()));
  }
  out(x);
}

void arg_reduce(ImportNode& n, bool is_max) {
  const ValueId x = n.in(0);
  ArgReduce op{is_max, n.attr_flag("keepdims", true), n.attr_flag("select_last_index", false),
               normal_axis(n.attr_int("axis", 0), n.rank(x))};
  n.out(0, n.add(op, {x}));
}

}  // namespace

void import_ReduceL1(ImportNode& n) { reduce(n, ReduceKind::l1); }
void import_ReduceL2(ImportNode& n) { reduce(n, ReduceKind::l2); }
void import_ReduceLogSum(ImportNode& n) { reduce(n, ReduceKind::log_sum); }
void import_ReduceLogSumExp(ImportNode& n) { reduce(n, ReduceKind::log_sum_exp); }
void import_ReduceMax(ImportNode& n) { reduce(n, ReduceKind::max); }
void import_ReduceMean(ImportNode& n) { reduce(n, ReduceKind::mean); }
void import_ReduceMin(ImportNode& n) { reduce(n, ReduceKind::min); }
void import_ReduceProd(ImportNode& n) { reduce(n, ReduceKind::prod); }
void import_ReduceSum(ImportNode& n) { reduce(n, ReduceKind::sum); }
void import_ReduceSumSquare(ImportNode& n) { reduce(n, ReduceKind::sum_square); }
void import_ArgMax(ImportNode& n) { arg_reduce(n, true); }
void import_ArgMin(ImportNode& n) { arg_reduce(n, false); }

void import_CumSum(ImportNode& n) {
  const ValueId x = n.in(0);
  const std::int64_t rank = n.rank(x);
  const bool exclusive = n.attr_flag("exclusive", false), reverse = n.attr_flag("reverse", false);
  const Dims axes = n.host_dims(1, "axis");
  if (axes.size() != 1) invalid("axis must be one number");
  if (axes[0].is_constant()) {
    n.out(0, n.add(CumSum{normal_axis(axes[0].value, rank), exclusive, reverse}, {x}));
    return;
  }
  // An axis known at run time: the sums along all axes, stacked, and a window that chooses one.
  const Dims shape = n.shape(x);
  Dims one = shape;
  one.insert(one.begin(), Dim(1));
  std::vector<ValueId> all;
  for (std::int64_t k = 0; k < rank; ++k)
    all.push_back(n.reshape(n.add(CumSum{k, exclusive, reverse}, {x}), one));
  ShapeProgram& s = n.shapes();
  Slice window{Dims(one.size(), Dim(0)), Dims(one.size(), Dim(1)), one};
  window.starts[0] = s.select(s.lt(axes[0], Dim(0)), s.add(axes[0], Dim(rank)), axes[0]);
  n.out(0, n.reshape(n.add(std::move(window), {n.add(Concat{0}, all)}), shape));
}

}  // namespace headrace::onnx
