// Gather*, Scatter*: elements by index.
#include "core/ops/rules.h"

namespace headrace::rules {

namespace {

/// An index is clamped into its axis, so an axis that is indexed must not be empty while there are indices.
void not_empty(const Inputs& in, std::size_t axis) {
  if (in[0].shape[axis] != Dim(0) || !all_constant(in[1].shape)) return;
  for (const Dim d : in[1].shape) {
    if (d == Dim(0)) return;
  }
  in.fail("axis " + std::to_string(axis) + " of " + in.show(0) + " is empty and cannot be indexed");
}

/// Checks the indices of the Elements forms against data.
void check_elements(const Inputs& in, std::size_t axis) {
  in.need_index(1);
  if (in.rank(1) != in.rank(0)) in.fail(in.show(1) + " must have the rank of " + in.show(0));
  for (std::size_t i = 0; i < in.rank(0); ++i) {
    const Dim data = in[0].shape[i], index = in[1].shape[i];
    if (i != axis && data.is_constant() && index.is_constant() && index.value > data.value) {
      in.fail(in.show(1) + " is larger than " + in.show(0) + " on axis " + std::to_string(i));
    }
  }
  not_empty(in, axis);
}

/// The number of axes that one index of the Nd forms names.
std::size_t index_depth(const Inputs& in, std::size_t batch) {
  in.need_index(1);
  if (in.rank(1) < 1) in.fail(in.show(1) + " must have rank 1 or more");
  const Dim depth = in[1].shape.back();
  if (!depth.is_constant()) in.fail("the last extent of " + in.show(1) + " must be a number");
  if (depth.value < 0 || static_cast<std::size_t>(depth.value) > in.rank(0) - batch) {
    in.fail("the last extent of " + in.show(1) + " is more than the axes of " + in.show(0));
  }
  for (std::size_t i = 0; i < static_cast<std::size_t>(depth.value); ++i) not_empty(in, batch + i);
  return static_cast<std::size_t>(depth.value);
}

void check_reduction(const Inputs& in, ScatterReduce reduction) {
  if (reduction != ScatterReduce::none && in[0].dtype == DType::boolean)
    in.fail("a reduction is not for bool");
}

}  // namespace

Types infer(const Gather& op, const Inputs& in) {
  in.count(2, 2);
  in.need_index(1);
  const std::size_t axis = in.axis(op.axis, in.rank(0));
  not_empty(in, axis);
  const Dims &data = in[0].shape, &indices = in[1].shape;
  Dims shape(data.begin(), data.begin() + op.axis);
  shape.insert(shape.end(), indices.begin(), indices.end());
  shape.insert(shape.end(), data.begin() + op.axis + 1, data.end());
  return {{in[0].dtype, shape}};
}

Types infer(const GatherElements& op, const Inputs& in) {
  in.count(2, 2);
  check_elements(in, in.axis(op.axis, in.rank(0)));
  return {{in[0].dtype, in[1].shape}};
}

Types infer(const GatherNd& op, const Inputs& in) {
  in.count(2, 2);
  const auto batch = static_cast<std::size_t>(op.batch_dims);
  if (op.batch_dims < 0 || batch >= in.rank(1) || batch > in.rank(0)) {
    in.fail("batch_dims " + std::to_string(op.batch_dims) + " does not fit " + in.show(0) + " and " +
            in.show(1));
  }
  const std::size_t depth = index_depth(in, batch);
  const Dims &data = in[0].shape, &indices = in[1].shape;
  Dims shape(indices.begin(), indices.end() - 1);
  for (std::size_t i = 0; i < batch; ++i) {
    shape[i] = in.unify(data[i], indices[i], "batch axis " + std::to_string(i));
  }
  shape.insert(shape.end(), data.begin() + static_cast<std::ptrdiff_t>(batch + depth), data.end());
  return {{in[0].dtype, shape}};
}

Types infer(const ScatterElements& op, const Inputs& in) {
  in.count(3, 3);
  check_elements(in, in.axis(op.axis, in.rank(0)));
  check_reduction(in, op.reduction);
  if (in[2].dtype != in[0].dtype) in.fail(in.show(2) + " must have the dtype of " + in.show(0));
  if (in.rank(2) != in.rank(1)) in.fail(in.show(2) + " must have the shape of " + in.show(1));
  for (std::size_t i = 0; i < in.rank(1); ++i) {
    in.unify(in[1].shape[i], in[2].shape[i], "axis " + std::to_string(i) + " of indices and updates");
  }
  return {in[0]};
}

Types infer(const ScatterNd& op, const Inputs& in) {
  in.count(3, 3);
  check_reduction(in, op.reduction);
  if (in[2].dtype != in[0].dtype) in.fail(in.show(2) + " must have the dtype of " + in.show(0));
  const std::size_t depth = index_depth(in, 0);
  const Dims &data = in[0].shape, &indices = in[1].shape;
  Dims want(indices.begin(), indices.end() - 1);
  want.insert(want.end(), data.begin() + static_cast<std::ptrdiff_t>(depth), data.end());
  if (in.rank(2) != want.size())
    in.fail(in.show(2) + " (updates) must have rank " + std::to_string(want.size()));
  for (std::size_t i = 0; i < want.size(); ++i) {
    in.unify(want[i], in[2].shape[i], "axis " + std::to_string(i) + " of updates");
  }
  return {in[0]};
}

}  // namespace headrace::rules
