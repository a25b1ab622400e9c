// MaxPool, AveragePool, LpPool and the global pools.
#include "onnx/ops/window.h"

namespace headrace::onnx {
namespace {

ValueId nc_spatial(ImportNode& n) {
  const ValueId x = n.in(0);
  if (n.rank(x) < 3) invalid("the input must have a batch, a channel and at least one spatial axis");
  return x;
}

Pool read_pool(ImportNode& n, PoolKind kind) {
  const ValueId src = nc_spatial(n);
  const auto kernel = n.attr_ints("kernel_shape");
  if (!kernel) invalid("attribute 'kernel_shape' is missing");
  Window w = read_window(n, *kernel, n.shape(src));
  Pool op{kind,         w.kernel,   w.strides, w.dilations,
          w.pads_begin, w.pads_end, false,     n.attr_flag("ceil_mode", false),
          false,        2};
  // The pads of SAME_* give exactly ceil(extent / stride) windows, with which ceil_mode has nothing to do.
  if (w.auto_pad.starts_with("SAME")) op.ceil_mode = false;
  return op;
}

Ints spatial_axes(std::int64_t rank) {
  Ints axes;
  for (std::int64_t i = 2; i < rank; ++i) axes.push_back(i);
  return axes;
}

}  // namespace

void import_MaxPool(ImportNode& n) {
  Pool op = read_pool(n, PoolKind::max);
  op.column_major = n.attr_flag("storage_order", false);
  const auto out = n.add_all(std::move(op), {n.in(0)});
  n.out(0, out.at(0));
  if (n.wants(1)) n.out(1, out.at(1));
}

void import_AveragePool(ImportNode& n) {
  Pool op = read_pool(n, PoolKind::average);
  op.count_include_pad = n.attr_flag("count_include_pad", false);
  n.out(0, n.add(std::move(op), {n.in(0)}));
}

void import_LpPool(ImportNode& n) {
  Pool op = read_pool(n, PoolKind::lp);
  op.p = n.attr_int("p", 2);
  n.out(0, n.add(std::move(op), {n.in(0)}));
}

void import_GlobalAveragePool(ImportNode& n) {
  const ValueId x = nc_spatial(n);
  n.out(0, n.add(Reduce{ReduceKind::mean, spatial_axes(n.rank(x)), true}, {x}));
}

void import_GlobalMaxPool(ImportNode& n) {
  const ValueId x = nc_spatial(n);
  n.out(0, n.add(Reduce{ReduceKind::max, spatial_axes(n.rank(x)), true}, {x}));
}

void import_GlobalLpPool(ImportNode& n) {
  const ValueId x = nc_spatial(n);
  const DType t = n.dtype(x);
  const std::int64_t p = n.attr_int("p", 2);
  const Ints axes = spatial_axes(n.rank(x));
  if (p < 1) invalid("attribute p must be positive");
  if (p <= 2) {
    n.out(0, n.add(Reduce{p == 1 ? ReduceKind::l1 : ReduceKind::l2, axes, true}, {x}));
    return;
  }
  auto power = [&](ValueId v, double exponent) {
    return n.pointwise({v}, [&](PwExpr& e, const auto& in) {
      e.op(PwOp::pow, t, e.op(PwOp::abs, t, in[0]), e.constant(exponent, t));
    });
  };
  const ValueId sum = n.add(Reduce{ReduceKind::sum, axes, true}, {power(x, static_cast<double>(p))});
  n.out(0, power(sum, 1.0 / static_cast<double>(p)));
}

}  // namespace headrace::onnx
