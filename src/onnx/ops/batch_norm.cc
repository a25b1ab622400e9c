#include <cmath>

#include "onnx/import_node.h"

namespace headrace::onnx {

/// y = x * scale/sqrt(var + epsilon) + (bias - mean * scale/sqrt(var + epsilon)), factors per channel.
void import_BatchNormalization(ImportNode& n) {
  const ValueId x = n.in(0);
  const DType t = n.dtype(x);
  const std::int64_t rank = n.rank(x);
  const double epsilon = n.attr_real("epsilon", 1e-5f);
  n.ignore_attr("momentum");
  if (n.attr_flag("training_mode", false)) unsupported("training mode is not supported");
  if (n.opset() < 9 && n.attr_int("spatial", 1) == 0) unsupported("spatial=0 is not supported");
  if (n.opset() < 14 && (n.wants(1) || n.wants(2)))
    unsupported("training mode (more than one output) is not supported");
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
  const HostTensor *scale = n.constant(1), *bias = n.constant(2), *mean = n.constant(3), *var = n.constant(4);
  auto channel_shape = [&] {
    Dims shape(static_cast<std::size_t>(rank), Dim(1));
    if (rank > 1) shape[1] = channels;
    return shape;
  };
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
