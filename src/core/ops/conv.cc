// Conv, ConvTranspose, Pool: windows over the spatial axes.
#include <algorithm>

#include "core/ops/rules.h"
#include "core/post.h"

namespace headrace::rules {

namespace {

void positive(const Ints& values, std::string_view field, const Inputs& in) {
  for (const std::int64_t v : values) {
    if (v < 1 || v > kMaxStep) in.fail(std::string(field) + ": " + std::to_string(v) + " must be 1 or more");
  }
}

void not_negative(const Dims& values, std::string_view field, const Inputs& in) {
  for (const Dim d : values) {
    if (d.is_constant() && (d.value < 0 || d.value > kMaxStep)) {
      in.fail(std::string(field) + ": " + std::to_string(d.value) + " must not be negative");
    }
  }
}

/// Checks what Conv and ConvTranspose share; returns the number of spatial axes.
template <class T>
std::size_t check_conv(const T& op, const Inputs& in) {
  if (in.size() < (op.has_bias ? 3u : 2u))
    in.fail("needs src, weights" + std::string(op.has_bias ? " and bias" : ""));
  in.need_float(0);
  const bool rounds = std::is_same_v<T, Conv> && in[0].dtype == DType::f32 && in[1].dtype == DType::f16;
  in.same_dtype(rounds ? 1 : 0, op.has_bias ? 3 : 2);
  if (in.rank(0) < 3) in.fail(in.show(0) + " must have rank 3 or more: N, C, spatial axes");
  if (in.rank(1) != in.rank(0)) in.fail(in.show(1) + " must have the rank of " + in.show(0));
  const std::size_t n = in.rank(0) - 2;
  in.entries(op.strides.size(), n, "strides");
  in.entries(op.dilations.size(), n, "dilations");
  in.entries(op.pads_begin.size(), n, "pads_begin");
  in.entries(op.pads_end.size(), n, "pads_end");
  positive(op.strides, "strides", in);
  positive(op.dilations, "dilations", in);
  not_negative(op.pads_begin, "pads_begin", in);
  not_negative(op.pads_end, "pads_end", in);
  if (op.groups < 1 || op.groups > kMaxStep) in.fail("groups must be 1 or more");
  for (std::size_t i = 0; i < n; ++i) {
    const Dim k = in[1].shape[i + 2];
    if (k.is_constant() && (k.value < 1 || k.value > kMaxStep)) in.fail(in.show(1) + " has an empty kernel");
  }
  return n;
}

void check_bias(const Inputs& in, Dim channels) {
  if (in.rank(2) != 1) in.fail(in.show(2) + " (bias) must have rank 1");
  in.unify(in[2].shape[0], channels, "extent of the bias and number of output channels");
}

/// (kernel - 1) * dilation + 1
Dim effective(ShapeProgram& p, Dim kernel, std::int64_t dilation) {
  return p.add(p.mul(p.sub(kernel, 1), dilation), 1);
}

void check_extent(const Inputs& in, Dim extent, std::size_t axis) {
  if (extent.is_constant() && extent.value < 0) {
    in.fail("the window is larger than the padded input on spatial axis " + std::to_string(axis) + " of " +
            in.show(0));
  }
}

}  // namespace

Types infer(const Conv& op, const Inputs& in) {
  const std::size_t n = check_conv(op, in);
  ShapeProgram& p = in.program;
  const Dims &src = in[0].shape, &weights = in[1].shape;
  in.unify(src[1], p.mul(weights[1], op.groups), "channels of src and weights' channels * groups");
  if (weights[0].is_constant() && weights[0].value % op.groups != 0) {
    in.fail(std::to_string(weights[0].value) + " output channels do not divide into " +
            std::to_string(op.groups) + " groups");
  }
  if (op.has_bias) check_bias(in, weights[0]);
  ValueType dst{in[1].dtype, {src[0], weights[0]}};
  for (std::size_t i = 0; i < n; ++i) {
    const Dim padded = p.add(p.add(src[i + 2], op.pads_begin[i]), op.pads_end[i]);
    const Dim room = p.sub(padded, effective(p, weights[i + 2], op.dilations[i]));
    check_extent(in, room, i);
    dst.shape.push_back(p.add(p.floor_div(room, op.strides[i]), 1));
  }
  in.post(op.post, op.has_bias ? 3 : 2, dst);
  if (op.pool_kernel.empty()) return {dst};
  return {infer(pool_of(op), Inputs{in.op, {&dst, 1}, in.program}).front()};
}

Types infer(const ConvTranspose& op, const Inputs& in) {
  const std::size_t n = check_conv(op, in);
  ShapeProgram& p = in.program;
  const Dims &src = in[0].shape, &weights = in[1].shape;
  in.entries(op.output_padding.size(), n, "output_padding");
  in.unify(src[1], weights[0], "channels of src and of weights");
  if (weights[0].is_constant() && weights[0].value % op.groups != 0) {
    in.fail(std::to_string(weights[0].value) + " channels do not divide into " + std::to_string(op.groups) +
            " groups");
  }
  const Dim channels = p.mul(weights[1], op.groups);
  if (op.has_bias) check_bias(in, channels);
  ValueType dst{in[0].dtype, {src[0], channels}};
  for (std::size_t i = 0; i < n; ++i) {
    if (op.output_padding[i] < 0 || op.output_padding[i] > kMaxStep)
      in.fail("output_padding must not be negative");
    Dim extent = p.mul(p.sub(src[i + 2], 1), op.strides[i]);
    extent = p.add(extent, op.output_padding[i]);
    extent = p.add(extent, effective(p, weights[i + 2], op.dilations[i]));
    extent = p.sub(p.sub(extent, op.pads_begin[i]), op.pads_end[i]);
    check_extent(in, extent, i);
    dst.shape.push_back(extent);
  }
  in.post(op.post, op.has_bias ? 3 : 2, dst);
  return {dst};
}

Types infer(const Pool& op, const Inputs& in) {
  in.count(1, 1);
  if (in.rank(0) < 3) in.fail(in.show(0) + " must have rank 3 or more: N, C, spatial axes");
  if (op.kind != PoolKind::max) in.need_float(0);
  if (in[0].dtype == DType::boolean) in.fail("not for bool");
  const std::size_t n = in.rank(0) - 2;
  in.entries(op.kernel.size(), n, "kernel");
  in.entries(op.strides.size(), n, "strides");
  in.entries(op.dilations.size(), n, "dilations");
  in.entries(op.pads_begin.size(), n, "pads_begin");
  in.entries(op.pads_end.size(), n, "pads_end");
  positive(op.kernel, "kernel", in);
  positive(op.strides, "strides", in);
  positive(op.dilations, "dilations", in);
  not_negative(op.pads_begin, "pads_begin", in);
  not_negative(op.pads_end, "pads_end", in);
  if (op.kind == PoolKind::lp && op.p < 1) in.fail("p must be 1 or more");
  ShapeProgram& p = in.program;
  const Dims& src = in[0].shape;
  ValueType dst{in[0].dtype, {src[0], src[1]}};
  for (std::size_t i = 0; i < n; ++i) {
    const Dim reach = p.add(src[i + 2], op.pads_begin[i]);
    const Dim room = p.sub(p.add(reach, op.pads_end[i]), effective(p, op.kernel[i], op.dilations[i]));
    check_extent(in, room, i);
    Dim extent;
    if (op.ceil_mode) {  // no window starts behind the input
      extent = p.min(p.add(p.ceil_div(room, op.strides[i]), 1), p.ceil_div(reach, op.strides[i]));
    } else {
      extent = p.add(p.floor_div(room, op.strides[i]), 1);
    }
    dst.shape.push_back(extent);
  }
  if (op.kind != PoolKind::max) return {dst};
  return {dst, {DType::i64, dst.shape}};
}

}  // namespace headrace::rules
