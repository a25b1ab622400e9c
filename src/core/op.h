// The core operators: plain structs, each naming its fields once.
//
// Everything ONNX has is imported in terms of these (src/onnx/ops). An operator holds no tensors: its node's
// inputs and outputs do. `fields(op, f)` (core/op_fields.h) calls f("name", member) for each; text form, hash
// and the plan's record come from it. Fields of type Dim(s) and Real(s) may be symbolic in a Graph and a
// Plan, and are numbers in a resolved Problem. Shape rules: core/ops/*.cc, through `infer_shapes` below.
// Layout of inputs is written above each struct. Axes are never negative here.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "core/pointwise.h"
#include "core/shape_program.h"
#include "core/tensor.h"

namespace headrace {

/// A step that a heavy operator applies to its result before storing it. Binary ones (arity 2) read one more
/// input each, in order, after the operator's own; the operand broadcasts against the destination.
struct Post {
  PwOp op = PwOp::relu;
  double alpha = 0, beta = 0;
  friend bool operator==(const Post&, const Post&) = default;
};
using Ints = std::vector<std::int64_t>;

/// dst = expr(inputs...), inputs broadcast by numpy's rule. inputs: x0..xn-1
struct Pointwise {
  PwExpr expr;
  friend bool operator==(const Pointwise&, const Pointwise&) = default;
};
/// inputs: src [N,C,spatial...], weights [M,C/groups,kernel...], bias [M] if has_bias, operands of post.
/// Where the weights are f16, src may be f32: it is rounded to f16 first. Where pool_kernel is not empty, the
/// result after post goes through a max-pool of that window; the compiler puts both there, where a kernel
/// does it all.
struct Conv {
  Ints strides, dilations;
  Dims pads_begin, pads_end;
  std::int64_t groups = 1;
  bool has_bias = false;
  std::vector<Post> post;
  Ints pool_kernel, pool_strides;
  Dims pool_begin, pool_end;
  bool tf32 = false;  ///< f32 factors may be rounded to tf32, which has 10 bits of fraction
  friend bool operator==(const Conv&, const Conv&) = default;
};
/// inputs: src [N,C,spatial...], weights [C,M/groups,kernel...], bias [M] if has_bias, operands of post.
/// Output extent: (in-1)*stride + output_padding + (kernel-1)*dilation + 1 - pad_begin - pad_end.
struct ConvTranspose {
  Ints strides, dilations;
  Dims pads_begin, pads_end;
  Ints output_padding;
  std::int64_t groups = 1;
  bool has_bias = false;
  std::vector<Post> post;
  bool tf32 = false;  ///< f32 factors may be rounded to tf32, which has 10 bits of fraction
  friend bool operator==(const ConvTranspose&, const ConvTranspose&) = default;
};
/// numpy matmul with batch broadcasting on rank >= 2 (import reshapes rank 1). inputs: a, b, bias (broadcast
/// to dst) if has_bias, operands of post. transpose_x swaps the last two axes of x. dst = alpha * a@b + bias.
struct MatMul {
  bool transpose_a = false, transpose_b = false;
  double alpha = 1;
  bool has_bias = false;
  std::vector<Post> post;
  bool tf32 = false;  ///< f32 factors may be rounded to tf32, which has 10 bits of fraction
  friend bool operator==(const MatMul&, const MatMul&) = default;
};
enum class PoolKind : std::uint8_t { max, average, lp };
/// inputs: src. outputs: dst [, indices i64 (max only; flat index into src, column_major as in ONNX
/// storage_order)].
struct Pool {
  PoolKind kind = PoolKind::max;
  Ints kernel, strides, dilations;
  Dims pads_begin, pads_end;
  bool count_include_pad = false, ceil_mode = false, column_major = false;
  std::int64_t p = 2;  ///< lp
  friend bool operator==(const Pool&, const Pool&) = default;
};
enum class ReduceKind : std::uint8_t { sum, mean, max, min, prod, l1, l2, sum_square, log_sum, log_sum_exp };
struct Reduce {
  ReduceKind kind = ReduceKind::sum;
  Ints axes;  ///< sorted; empty: nothing is reduced
  bool keep_dims = true;
  friend bool operator==(const Reduce&, const Reduce&) = default;
};
/// dst: i64.
struct ArgReduce {
  bool is_max = true, keep_dims = true, select_last = false;
  std::int64_t axis = 0;
  friend bool operator==(const ArgReduce&, const ArgReduce&) = default;
};
struct Softmax {
  std::int64_t axis = 0;
  bool log = false;
  friend bool operator==(const Softmax&, const Softmax&) = default;
};
/// (x - mean) / sqrt(var + epsilon) over all axes >= axis (rms: no mean), then * scale (+ bias).
/// inputs: src, scale if has_scale, bias if has_bias (both broadcast to src). outputs: dst [, mean,
/// inv_std_dev].
struct LayerNorm {
  std::int64_t axis = 0;
  double epsilon = 1e-5;
  bool has_scale = true, has_bias = true, rms = false;
  friend bool operator==(const LayerNorm&, const LayerNorm&) = default;
};
enum class ResizeMode : std::uint8_t { nearest, linear, cubic };
enum class ResizeCoord : std::uint8_t {
  half_pixel,
  half_pixel_symmetric,
  pytorch_half_pixel,
  align_corners,
  asymmetric,
  tf_crop_and_resize
};
enum class ResizeNearest : std::uint8_t { round_prefer_floor, round_prefer_ceil, floor, ceil };
/// inputs: src. One entry of sizes and scales per axis of src; of roi two: all begins, then all ends. scales
/// holds the factor to use in the coordinate formula, or is empty: factor = sizes/extent.
struct Resize {
  ResizeMode mode = ResizeMode::nearest;
  ResizeCoord coord = ResizeCoord::half_pixel;
  ResizeNearest nearest = ResizeNearest::round_prefer_floor;
  Dims sizes;
  Reals scales, roi;
  double cubic_coeff = -0.75, extrapolation = 0;
  bool exclude_outside = false, antialias = false;
  friend bool operator==(const Resize&, const Resize&) = default;
};
struct Transpose {
  Ints perm;
  friend bool operator==(const Transpose&, const Transpose&) = default;
};
/// Same elements in row-major order under another shape.
struct Reshape {
  Dims shape;
  friend bool operator==(const Reshape&, const Reshape&) = default;
};
/// dst[i] = src[starts + i*steps], dst has extents sizes. One entry per axis; steps may be negative, never 0.
struct Slice {
  Dims starts, steps, sizes;
  friend bool operator==(const Slice&, const Slice&) = default;
};
struct Concat {
  std::int64_t axis = 0;
  friend bool operator==(const Concat&, const Concat&) = default;
};
enum class PadMode : std::uint8_t { constant, reflect, edge, wrap };
/// inputs: src [, value (scalar of src's dtype; constant mode; 0 if absent)]. Negative amounts crop.
struct Pad {
  Dims before, after;
  PadMode mode = PadMode::constant;
  friend bool operator==(const Pad&, const Pad&) = default;
};
/// numpy broadcast to `shape`.
struct Broadcast {
  Dims shape;
  friend bool operator==(const Broadcast&, const Broadcast&) = default;
};
/// inputs: data, indices (i32/i64; negative counts from the end; out of range: clamped, memory-safe).
struct Gather {
  std::int64_t axis = 0;
  friend bool operator==(const Gather&, const Gather&) = default;
};
struct GatherElements {
  std::int64_t axis = 0;
  friend bool operator==(const GatherElements&, const GatherElements&) = default;
};
struct GatherNd {
  std::int64_t batch_dims = 0;
  friend bool operator==(const GatherNd&, const GatherNd&) = default;
};
enum class ScatterReduce : std::uint8_t { none, add, mul, min, max };
/// inputs: data, indices, updates.
struct ScatterElements {
  std::int64_t axis = 0;
  ScatterReduce reduction = ScatterReduce::none;
  friend bool operator==(const ScatterElements&, const ScatterElements&) = default;
};
struct ScatterNd {
  ScatterReduce reduction = ScatterReduce::none;
  friend bool operator==(const ScatterNd&, const ScatterNd&) = default;
};
/// outputs: values, indices (i64). k along axis.
struct TopK {
  Dim k;
  std::int64_t axis = 0;
  bool largest = true, sorted = true;
  friend bool operator==(const TopK&, const TopK&) = default;
};
/// inputs: src.
struct CumSum {
  std::int64_t axis = 0;
  bool exclusive = false, reverse = false;
  friend bool operator==(const CumSum&, const CumSum&) = default;
};
/// no inputs: dst[i] = start + i*step for integers, of `dtype`; count elements.
struct Iota {
  Dim start, step = 1, count;
  DType dtype = DType::i64;
  friend bool operator==(const Iota&, const Iota&) = default;
};
/// no inputs: integers known from shapes alone (ONNX Shape and arithmetic on it), made a tensor of `dtype`.
struct HostValue {
  Dims values;  ///< row-major, product(shape) of them
  Ints shape;
  DType dtype = DType::i64;
  friend bool operator==(const HostValue&, const HostValue&) = default;
};
/// Copies src to dst of the same dtype and shape, whatever their layouts and strides. The compiler inserts
/// it.
struct Reorder {
  friend bool operator==(const Reorder&, const Reorder&) = default;
};
/// The seat of user operators.
struct Custom {
  std::string domain, name, attributes;
  friend bool operator==(const Custom&, const Custom&) = default;
};

// clang-format off
#define HEADRACE_OPS(X)                                                                                    \
  X(Pointwise)                                                                                             \
  X(Conv)                                                                                                  \
  X(ConvTranspose) X(MatMul) X(Pool) X(Reduce) X(ArgReduce) X(Softmax) X(LayerNorm) X(Resize) X(Transpose) \
      X(Reshape) X(Slice) X(Concat) X(Pad) X(Broadcast) X(Gather) X(GatherElements) X(GatherNd)            \
          X(ScatterElements) X(ScatterNd) X(TopK) X(CumSum) X(Iota) X(HostValue) X(Reorder) X(Custom)
// clang-format on

using Op = std::variant<Pointwise, Conv, ConvTranspose, MatMul, Pool, Reduce, ArgReduce, Softmax, LayerNorm,
                        Resize, Transpose, Reshape, Slice, Concat, Pad, Broadcast, Gather, GatherElements,
                        GatherNd, ScatterElements, ScatterNd, TopK, CumSum, Iota, HostValue, Reorder, Custom>;

std::string_view name(const Op& op);  ///< "Conv", ...
std::string to_string(const Op& op,
                      const ShapeProgram& program);  ///< "Conv(strides=[1,1], ...)"; defaults left out

/// dtype and symbolic shape of a value in a graph.
struct ValueType {
  DType dtype = DType::f32;
  Dims shape;
  friend bool operator==(const ValueType&, const ValueType&) = default;
};
/// Output types of `op` on `inputs`. Throws Error(invalid_model) when the inputs do not fit: which, why, and
/// what was expected. Dims that must be equal but are symbolic and differ are accepted where one of them is a
/// number: the number is taken.
std::vector<ValueType> infer_types(const Op& op, std::span<const ValueType> inputs, ShapeProgram& program);

/// The same operator with every Dim replaced by its number.
Op resolve(const Op& op, std::span<const std::int64_t> values);

/// Generic record of an operator, as the plan stores it: {id, fields}. Unknown ids or fields that do not fit
/// throw Error(invalid_plan) in from_record.
struct OpRecord {
  std::string id;
  std::vector<std::int64_t>
      ints;  ///< flattened in field order (vectors are length-prefixed; a Dim is value, expr)
  std::vector<double> reals;
  std::vector<std::string> strings;
  friend bool operator==(const OpRecord&, const OpRecord&) = default;
};
OpRecord to_record(const Op& op);
Op from_record(const OpRecord& record);

}  // namespace headrace
