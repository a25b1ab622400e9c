// Reduce, ArgReduce, Softmax, LayerNorm, CumSum, TopK: along axes.
#include "core/ops/rules.h"

namespace headrace::rules {

Types infer(const Reduce& op, const Inputs& in) {
  in.count(1, 1);
  const bool order = op.kind == ReduceKind::max || op.kind == ReduceKind::min;
  if (in[0].dtype == DType::boolean && !order) in.fail("not for bool");
  const Dims& src = in[0].shape;
  ValueType dst{in[0].dtype, {}};
  for (std::size_t i = 0; i < op.axes.size(); ++i) {
    in.axis(op.axes[i], src.size());
    if (i > 0 && op.axes[i] <= op.axes[i - 1]) in.fail("axes must be sorted and different");
  }
  std::size_t next = 0;
  for (std::size_t i = 0; i < src.size(); ++i) {
    const bool reduced = next < op.axes.size() && static_cast<std::size_t>(op.axes[next]) == i;
    if (reduced) ++next;
    if (!reduced)
      dst.shape.push_back(src[i]);
    else if (op.keep_dims)
      dst.shape.push_back(1);
  }
  return {dst};
}

Types infer(const ArgReduce& op, const Inputs& in) {
  in.count(1, 1);
  const std::size_t axis = in.axis(op.axis, in.rank(0));
  Dims shape = in[0].shape;
  if (shape[axis] == Dim(0)) in.fail("axis " + std::to_string(axis) + " of " + in.show(0) + " is empty");
  if (op.keep_dims)
    shape[axis] = 1;
  else
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  return {{DType::i64, shape}};
}

Types infer(const Softmax& op, const Inputs& in) {
  in.count(1, 1);
  in.need_float(0);
  in.axis(op.axis, in.rank(0));
  return {in[0]};
}

Types infer(const LayerNorm& op, const Inputs& in) {
  const std::size_t operands = 1u + (op.has_scale ? 1 : 0) + (op.has_bias ? 1 : 0);
  in.count(operands, operands);
  in.need_float(0);
  in.same_dtype(0, operands);
  const std::size_t axis = in.axis(op.axis, in.rank(0));
  for (std::size_t i = 1; i < operands; ++i) in.broadcasts_to(i, in[0].shape);
  ValueType statistic = in[0];
  for (std::size_t i = axis; i < statistic.shape.size(); ++i) statistic.shape[i] = 1;
  return {in[0], statistic, statistic};
}

Types infer(const CumSum& op, const Inputs& in) {
  in.count(1, 1);
  if (in[0].dtype == DType::boolean) in.fail("not for bool");
  in.axis(op.axis, in.rank(0));
  return {in[0]};
}

Types infer(const TopK& op, const Inputs& in) {
  in.count(1, 1);
  if (in[0].dtype == DType::boolean) in.fail("not for bool");
  const std::size_t axis = in.axis(op.axis, in.rank(0));
  const Dim extent = in[0].shape[axis];
  if (op.k.is_constant() && (op.k.value < 0 || (extent.is_constant() && op.k.value > extent.value))) {
    in.fail("k = " + std::to_string(op.k.value) + " is not between 0 and the extent of axis " +
            std::to_string(axis) + " of " + in.show(0));
  }
  Dims shape = in[0].shape;
  shape[axis] = op.k;
  return {{in[0].dtype, shape}, {DType::i64, shape}};
}

}  // namespace headrace::rules
