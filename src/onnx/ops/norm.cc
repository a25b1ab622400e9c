// Instance-, Layer-, RMS-, Group-, Lp-, MeanVarianceNormalization and LRN.
#include "onnx/import_node.h"

namespace headrace::onnx {

void import_InstanceNormalization(ImportNode& n) {
  const ValueId x = n.in(0);
  const std::int64_t rank = n.rank(x);
  if (rank < 3) invalid("the input must have a batch, a channel and at least one spatial axis");
  Dims per_channel(static_cast<std::size_t>(rank - 1), Dim(1));
  per_channel[0] = n.shape(x)[1];
  n.out(0, n.add(LayerNorm{2, n.attr_real("epsilon", 1e-5f), true, true, false},
                 {x, n.reshape(n.in(1), per_channel), n.reshape(n.in(2), per_channel)}));
}

void import_LayerNormalization(ImportNode& n) {
  const ValueId x = n.in(0);
  const DType stash = to_dtype(n.attr_int("stash_type", 1));
  const std::int64_t axis = normal_axis(n.attr_int("axis", -1), n.rank(x));
  std::vector<ValueId> inputs{x, n.cast(n.in(1), n.dtype(x))};
  if (n.has(2)) inputs.push_back(n.cast(n.in(2), n.dtype(x)));
  const auto out = n.add_all(LayerNorm{axis, n.attr_real("epsilon", 1e-5f), true, n.has(2), false}, inputs);
  n.out(0, out.at(0));
  for (std::size_t i = 1; i <= 2; ++i) {
    if (n.wants(i)) n.out(i, n.cast(out.at(i), stash));
  }
}

void import_RMSNormalization(ImportNode& n) {
  const ValueId x = n.in(0);
  n.ignore_attr("stash_type");
  const std::int64_t axis = normal_axis(n.attr_int("axis", -1), n.rank(x));
  const DType t = n.dtype(n.in(1));  // the result has the scale's type
  n.out(0, n.cast(n.add(LayerNorm{axis, n.attr_real("epsilon", 1e-5f), true, false, true},
                        {x, n.cast(n.in(1), n.dtype(x))}),
                  t));
}

void import_GroupNormalization(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  const DType t = n.dtype(x);
  n.ignore_attr("stash_type");
  if (shape.size() < 3 || !shape[1].is_constant())
    invalid("the input must be [N, C, spatial...] with a constant C");
  const std::int64_t groups = n.attr_int("num_groups");
  if (groups < 1 || shape[1].value % groups != 0) {
    invalid("num_groups " + std::to_string(groups) + " does not divide " + std::to_string(shape[1].value) +
            " channels");
  }
  Dims rest(shape.begin() + 2, shape.end());
  const Dim channels = shape[1].value / groups, pixels = n.shapes().product(rest);
  const ValueId grouped = n.reshape(x, {shape[0], groups, channels, pixels});
  ValueId y = n.add(LayerNorm{2, n.attr_real("epsilon", 1e-5f), false, false, false}, {grouped});
  // Opset 18: scale and bias per group; since 21: per channel.
  const Dims per = n.opset() < 21 ? Dims{1, groups, 1, 1} : Dims{1, groups, channels, 1};
  y = n.pointwise({y, n.reshape(n.in(1), per), n.reshape(n.in(2), per)}, [&](PwExpr& e, const auto& v) {
    e.op(PwOp::add, t, e.op(PwOp::mul, t, v[0], v[1]), v[2]);
  });
  n.out(0, n.reshape(y, shape));
}

void import_LpNormalization(ImportNode& n) {
  const ValueId x = n.in(0);
  const DType t = n.dtype(x);
  const std::int64_t p = n.attr_int("p", 2);
  if (p != 1 && p != 2) invalid("p must be 1 or 2");
  const std::int64_t axis = normal_axis(n.attr_int("axis", -1), n.rank(x));
  const ValueId norm = n.add(Reduce{p == 1 ? ReduceKind::l1 : ReduceKind::l2, {axis}, true}, {x});
  n.out(0, n.pointwise({x, norm}, [&](PwExpr& e, const auto& v) {
    const auto zero = e.constant(0, t);
    const auto empty = e.op(PwOp::equal, DType::boolean, v[1], zero);
    e.op(PwOp::select, t, empty, zero, e.op(PwOp::div, t, v[0], v[1]));
  }));
}

/// (x - mean) / (sqrt(mean(x^2) - mean^2) + 1e-9), as the operator's defining function has it.
void import_MeanVarianceNormalization(ImportNode& n) {
  const ValueId x = n.in(0);
  const DType t = n.dtype(x);
  const Ints axes = normal_axes(n.attr_ints("axes").value_or(Ints{0, 2, 3}), n.rank(x));
  const ValueId mean = n.add(Reduce{ReduceKind::mean, axes, true}, {x});
  const ValueId centred = n.binary(PwOp::sub, x, mean);
  const ValueId variance =
      n.add(Reduce{ReduceKind::mean, axes, true}, {n.binary(PwOp::mul, centred, centred)});
  n.out(0, n.pointwise({centred, variance}, [&](PwExpr& e, const auto& v) {
    const auto deviation = e.op(PwOp::add, t, e.op(PwOp::sqrt, t, v[1]), e.constant(1e-9, t));
    e.op(PwOp::div, t, v[0], deviation);
  }));
}

/// x / (bias + alpha/size * sum of squares over a window of channels)^beta: the window is an average pool.
void import_LRN(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  const DType t = n.dtype(x);
  const std::int64_t size = n.attr_int("size");
  const double alpha = n.attr_real("alpha", 1e-4f), beta = n.attr_real("beta", 0.75),
               bias = n.attr_real("bias", 1);
  if (shape.size() < 3 || size < 1 || size > (1 << 20))
    invalid("needs an input of rank 3 or more and a positive size");
  const ValueId squares = n.binary(PwOp::mul, x, x);
  const Dim pixels = n.shapes().product(std::span(shape).subspan(2));
  Pool pool{PoolKind::average,
            {size, 1},
            {1, 1},
            {1, 1},
            {(size - 1) / 2, 0},
            {size - 1 - (size - 1) / 2, 0},
            true,
            false,
            false,
            2};
  const ValueId mean = n.reshape(n.add(pool, {n.reshape(squares, {shape[0], 1, shape[1], pixels})}), shape);
  n.out(0, n.pointwise({x, mean}, [&](PwExpr& e, const auto& v) {
    const auto scaled =
        e.op(PwOp::add, t, e.op(PwOp::mul, t, v[1], e.constant(alpha, t)), e.constant(bias, t));
    e.op(PwOp::div, t, v[0], e.op(PwOp::pow, t, scaled, e.constant(beta, t)));
  }));
}

}  // namespace headrace::onnx
