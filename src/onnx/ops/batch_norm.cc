#include <cmath>

#include "onnx/import_node.h"

namespace headrace::onnx {

namespace {

/// Statistics of this batch instead of given ones, and the running ones moved towards them. Computed in f32
/// or f64.
void train(ImportNode& n, ValueId x, const Dims& channel_shape, double epsilon, double momentum) {
  const DType t = n.dtype(x), wide = t == DType::f64 ? t : DType::f32;
  Reduce mean_of{ReduceKind::mean, {}, /*keep_dims=*/true};
  for (std::size_t axis = 0; axis < channel_shape.size(); ++axis) {
    if (axis != 1) mean_of.axes.push_back(static_cast<std::int64_t>(axis));
  }
  auto wide_in = [&](std::size_t i) { return n.reshape(n.cast(n.in(i), wide), channel_shape); };
  const ValueId mean = n.add(mean_of, {n.cast(x, wide)});
  const ValueId centred = n.binary(PwOp::sub, n.cast(x, wide), mean);
  const ValueId var = n.add(mean_of, {n.binary(PwOp::mul, centred, centred)});
  n.out(0, n.pointwise({centred, var, wide_in(1), wide_in(2)}, [&](PwExpr& e, const auto& v) {
    const auto deviation = e.op(PwOp::sqrt, wide, e.op(PwOp::add, wide, v[1], e.constant(epsilon, wide)));
    const auto scaled = e.op(PwOp::mul, wide, e.op(PwOp::div, wide, v[0], deviation), v[2]);
    const auto y = e.op(PwOp::add, wide, scaled, v[3]);
    if (t != wide) e.op(PwOp::cast, t, y);
  }));
  for (const std::size_t i : {1, 2}) {
    if (!n.wants(i)) continue;
    const DType stored = n.in_dtype(i + 2);
    const ValueId moved = n.pointwise({wide_in(i + 2), i == 1 ? mean : var}, [&](PwExpr& e, const auto& v) {
      const auto old = e.op(PwOp::mul, wide, v[0], e.constant(momentum, wide));
      const auto now = e.op(PwOp::mul, wide, v[1], e.constant(1 - momentum, wide));
      e.op(PwOp::add, wide, old, now);
    });
    n.out(i, n.reshape(n.cast(moved, stored), n.in_shape(i + 2)));
  }
}

}  // namespace

/// y = x * scale/sqrt(var + epsilon) + (bias - mean * scale/sqrt(var + epsilon)), factors per channel.
void import_BatchNormalization(ImportNode& n) {
  const ValueId x = n.in(0);
  const DType t = n.dtype(x);
  const std::int64_t rank = n.rank(x);
  const double epsilon = n.attr_real("epsilon", 1e-5f);
  const double momentum = n.attr_real("momentum", 0.9f);
  const bool training = n.attr_flag("training_mode", false);
  if (n.opset() < 9 && n.attr_int("spatial", 1) == 0) unsupported("spatial=0 is not supported");
  if (n.opset() < 14 && (n.wants(1) || n.wants(2)))
    unsupported("training mode (more than one output) is supported since opset 14");
  if (rank < 1) invalid("the input must not be a scalar");
  Dim channels = rank == 1 ? Dim(1) : n.shape(x)[1];
  if (const Dims scales = n.in_shape(1); !channels.is_constant() && scales.size() == 1) channels = scales[0];
  for (std::size_t i = 1; i <= 4; ++i) {
    const Dims shape = n.in_shape(i);
    if (shape.size() != 1 || (shape[0] != channels && shape[0].is_constant() && channels.is_constant())) {
      invalid("input " + std::to_string(i) + " must have shape [" + n.shapes().to_string(channels) +
              "], one for each channel");
    }
  }
  auto channel_shape = [&] {
    Dims shape(static_cast<std::size_t>(rank), Dim(1));
    if (rank > 1) shape[1] = channels;
    return shape;
  };
  if (training) {
    if (rank < 2) invalid("training mode needs an input of rank 2 or more");
    return train(n, x, channel_shape(), epsilon, momentum);
  }
  const HostTensor *scale = n.constant(1), *bias = n.constant(2), *mean = n.constant(3), *var = n.constant(4);
  ValueId factor, shift;
  const std::int64_t count = scale ? scale->elements() : 0;
  auto fits = [&](const HostTensor* t) { return t != nullptr && t->elements() == count; };
  if (fits(scale) && fits(bias) && fits(mean) && fits(var)) {
    Shape shape(static_cast<std::size_t>(rank), 1);
    shape[rank > 1 ? 1 : 0] = count;
    HostTensor f(t, shape), s(t, shape);
    for (std::int64_t c = 0; c < f.elements(); ++c) {
      const double k = scale->at_double(c) / std::sqrt(var->at_double(c) + epsilon);
      f.set_double(c, k);
      s.set_double(c, bias->at_double(c) - mean->at_double(c) * k);
    }
    factor = n.constant_value(std::move(f));
    shift = n.constant_value(std::move(s));
    n.out(0, n.pointwise({x, factor, shift}, [&](PwExpr& e, const auto& in) {
      e.op(PwOp::add, t, e.op(PwOp::mul, t, in[0], in[1]), in[2]);
    }));
    return;
  }
  std::vector<ValueId> in{x};
  for (std::size_t i = 1; i <= 4; ++i) in.push_back(n.reshape(n.cast(n.in(i), t), channel_shape()));
  n.out(0, n.pointwise(in, [&](PwExpr& e, const auto& v) {
    const auto deviation = e.op(PwOp::sqrt, t, e.op(PwOp::add, t, v[4], e.constant(epsilon, t)));
    const auto centred = e.op(PwOp::sub, t, v[0], v[3]);
    e.op(PwOp::add, t, e.op(PwOp::mul, t, e.op(PwOp::div, t, centred, deviation), v[1]), v[2]);
  }));
}

}  // namespace headrace::onnx
