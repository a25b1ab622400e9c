// The fields of each operator, by name and in order: what text form, hash and the plan's record are made of.
//
// fields(op, f) calls f("name", member) for each; `op` may be const.
#pragma once

#include <type_traits>

#include "core/op.h"

namespace headrace {

// Field lists. Order is part of the plan format; append only.
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Pointwise>
void fields(S& s, F&& f) { f("expr", s.expr); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Conv>
void fields(S& s, F&& f) {
  f("strides", s.strides);
  f("dilations", s.dilations);
  f("pads_begin", s.pads_begin);
  f("pads_end", s.pads_end);
  f("groups", s.groups);
  f("has_bias", s.has_bias);
  f("post", s.post);
  f("pool_kernel", s.pool_kernel);
  f("pool_strides", s.pool_strides);
  f("pool_begin", s.pool_begin);
  f("pool_end", s.pool_end);
  f("tf32", s.tf32);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, ConvTranspose>
void fields(S& s, F&& f) {
  f("strides", s.strides);
  f("dilations", s.dilations);
  f("pads_begin", s.pads_begin);
  f("pads_end", s.pads_end);
  f("output_padding", s.output_padding);
  f("groups", s.groups);
  f("has_bias", s.has_bias);
  f("post", s.post);
  f("tf32", s.tf32);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, MatMul>
void fields(S& s, F&& f) {
  f("transpose_a", s.transpose_a);
  f("transpose_b", s.transpose_b);
  f("alpha", s.alpha);
  f("has_bias", s.has_bias);
  f("post", s.post);
  f("tf32", s.tf32);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Pool>
void fields(S& s, F&& f) {
  f("kind", s.kind);
  f("kernel", s.kernel);
  f("strides", s.strides);
  f("dilations", s.dilations);
  f("pads_begin", s.pads_begin);
  f("pads_end", s.pads_end);
  f("count_include_pad", s.count_include_pad);
  f("ceil_mode", s.ceil_mode);
  f("column_major", s.column_major);
  f("p", s.p);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Reduce>
void fields(S& s, F&& f) {
  f("kind", s.kind);
  f("axes", s.axes);
  f("keep_dims", s.keep_dims);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, ArgReduce>
void fields(S& s, F&& f) {
  f("is_max", s.is_max);
  f("keep_dims", s.keep_dims);
  f("select_last", s.select_last);
  f("axis", s.axis);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Softmax>
void fields(S& s, F&& f) {
  f("axis", s.axis);
  f("log", s.log);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, LayerNorm>
void fields(S& s, F&& f) {
  f("axis", s.axis);
  f("epsilon", s.epsilon);
  f("has_scale", s.has_scale);
  f("has_bias", s.has_bias);
  f("rms", s.rms);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Resize>
void fields(S& s, F&& f) {
  f("mode", s.mode);
  f("coord", s.coord);
  f("nearest", s.nearest);
  f("sizes", s.sizes);
  f("scales", s.scales);
  f("roi", s.roi);
  f("cubic_coeff", s.cubic_coeff);
  f("extrapolation", s.extrapolation);
  f("exclude_outside", s.exclude_outside);
  f("antialias", s.antialias);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Transpose>
void fields(S& s, F&& f) { f("perm", s.perm); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Reshape>
void fields(S& s, F&& f) { f("shape", s.shape); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Slice>
void fields(S& s, F&& f) {
  f("starts", s.starts);
  f("steps", s.steps);
  f("sizes", s.sizes);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Concat>
void fields(S& s, F&& f) { f("axis", s.axis); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Pad>
void fields(S& s, F&& f) {
  f("before", s.before);
  f("after", s.after);
  f("mode", s.mode);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Broadcast>
void fields(S& s, F&& f) { f("shape", s.shape); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Gather>
void fields(S& s, F&& f) { f("axis", s.axis); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, GatherElements>
void fields(S& s, F&& f) { f("axis", s.axis); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, GatherNd>
void fields(S& s, F&& f) { f("batch_dims", s.batch_dims); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, ScatterElements>
void fields(S& s, F&& f) {
  f("axis", s.axis);
  f("reduction", s.reduction);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, ScatterNd>
void fields(S& s, F&& f) { f("reduction", s.reduction); }
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, TopK>
void fields(S& s, F&& f) {
  f("k", s.k);
  f("axis", s.axis);
  f("largest", s.largest);
  f("sorted", s.sorted);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, CumSum>
void fields(S& s, F&& f) {
  f("axis", s.axis);
  f("exclusive", s.exclusive);
  f("reverse", s.reverse);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Iota>
void fields(S& s, F&& f) {
  f("start", s.start);
  f("step", s.step);
  f("count", s.count);
  f("dtype", s.dtype);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, HostValue>
void fields(S& s, F&& f) {
  f("values", s.values);
  f("shape", s.shape);
  f("dtype", s.dtype);
}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Reorder>
void fields(S&, F&&) {}
template <class S, class F>
requires std::is_same_v<std::remove_const_t<S>, Custom>
void fields(S& s, F&& f) {
  f("domain", s.domain);
  f("name", s.name);
  f("attributes", s.attributes);
}

}  // namespace headrace
