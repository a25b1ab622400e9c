// Transpose, Reshape, Slice, Concat, Pad, Broadcast, Reorder: elements move and keep their values.
#include "base/checked.h"
#include "core/ops/rules.h"

namespace headrace::rules {

Types infer(const Transpose& op, const Inputs& in) {
  in.count(1, 1);
  in.entries(op.perm.size(), in.rank(0), "perm");
  std::vector<bool> seen(op.perm.size(), false);
  ValueType dst{in[0].dtype, {}};
  for (const std::int64_t p : op.perm) {
    const std::size_t axis = in.axis(p, in.rank(0));
    if (seen[axis]) in.fail("perm names axis " + std::to_string(axis) + " twice");
    seen[axis] = true;
    dst.shape.push_back(in[0].shape[axis]);
  }
  return {dst};
}

Types infer(const Reshape& op, const Inputs& in) {
  in.count(1, 1);
  for (const Dim d : op.shape) {
    if (d.is_constant() && d.value < 0)
      in.fail("shape " + in.program.to_string(op.shape) + " has a negative extent");
  }
  if (all_constant(op.shape) && all_constant(in[0].shape) &&
      element_count(to_shape(op.shape)) != element_count(to_shape(in[0].shape))) {
    in.fail(in.show(0) + " has another number of elements than the shape " + in.program.to_string(op.shape));
  }
  return {{in[0].dtype, op.shape}};
}

Types infer(const Slice& op, const Inputs& in) {
  in.count(1, 1);
  const Dims& src = in[0].shape;
  in.entries(op.starts.size(), src.size(), "starts");
  in.entries(op.steps.size(), src.size(), "steps");
  in.entries(op.sizes.size(), src.size(), "sizes");
  for (std::size_t i = 0; i < src.size(); ++i) {
    const Dim start = op.starts[i], step = op.steps[i], size = op.sizes[i];
    const std::string axis = "axis " + std::to_string(i) + " of " + in.show(0);
    if (step == Dim(0)) in.fail("the step on " + axis + " is 0");
    if (size.is_constant() && size.value < 0) in.fail("the size on " + axis + " is negative");
    if (!size.is_constant() || size.value == 0 || !start.is_constant()) continue;
    if (start.value < 0) in.fail("the start on " + axis + " is negative");
    if (!src[i].is_constant() || !step.is_constant()) continue;
    const std::int64_t last =
        checked_add(start.value, checked_mul(size.value - 1, step.value, "slice"), "slice");
    if (start.value >= src[i].value || last < 0 || last >= src[i].value) {
      in.fail("elements " + std::to_string(start.value) + " to " + std::to_string(last) + " are outside of " +
              axis);
    }
  }
  return {{in[0].dtype, op.sizes}};
}

Types infer(const Concat& op, const Inputs& in) {
  in.count(1, 1 << 20);
  in.same_dtype(0, in.size());
  const std::size_t axis = in.axis(op.axis, in.rank(0));
  ValueType dst = in[0];
  for (std::size_t i = 1; i < in.size(); ++i) {
    if (in.rank(i) != dst.shape.size()) in.fail(in.show(i) + " must have the rank of " + in.show(0));
    for (std::size_t k = 0; k < dst.shape.size(); ++k) {
      Dim& d = dst.shape[k];
      if (k == axis)
        d = in.program.add(d, in[i].shape[k]);
      else
        d = in.unify(d, in[i].shape[k],
                     "axis " + std::to_string(k) + " of " + in.show(0) + " and " + in.show(i));
    }
  }
  return {dst};
}

Types infer(const Pad& op, const Inputs& in) {
  in.count(1, op.mode == PadMode::constant ? 2 : 1);
  in.same_dtype(0, in.size());
  if (in.size() == 2) {
    for (const Dim d : in[1].shape) {
      if (d.is_constant() && d != Dim(1)) in.fail(in.show(1) + " (value) must have one element");
    }
  }
  const Dims& src = in[0].shape;
  in.entries(op.before.size(), src.size(), "before");
  in.entries(op.after.size(), src.size(), "after");
  ValueType dst{in[0].dtype, {}};
  for (std::size_t i = 0; i < src.size(); ++i) {
    const Dim extent = in.program.add(in.program.add(src[i], op.before[i]), op.after[i]);
    dst.shape.push_back(extent);
    if (op.mode == PadMode::constant || !src[i].is_constant()) continue;
    const std::string axis = "axis " + std::to_string(i) + " of " + in.show(0);
    if (src[i].value == 0 && extent.is_constant() && extent.value > 0)
      in.fail(axis + " is empty and cannot be padded");
    for (const Dim d : {op.before[i], op.after[i]}) {
      if (op.mode == PadMode::reflect && d.is_constant() && d.value > 0 && d.value >= src[i].value) {
        in.fail("reflecting " + std::to_string(d.value) + " elements of " + axis + " is impossible");
      }
    }
  }
  return {dst};
}

Types infer(const Broadcast& op, const Inputs& in) {
  in.count(1, 1);
  in.broadcasts_to(0, op.shape);
  ValueType dst{in[0].dtype, op.shape};
  const Dims& src = in[0].shape;
  for (std::size_t k = 0; k < src.size(); ++k) {  // a number says more than a symbol
    Dim& d = dst.shape[op.shape.size() - src.size() + k];
    if (!d.is_constant() && src[k].is_constant() && src[k].value != 1) d = src[k];
  }
  return {dst};
}

Types infer(const Reorder&, const Inputs& in) {
  in.count(1, 1);
  return {in[0]};
}

}  // namespace headrace::rules
