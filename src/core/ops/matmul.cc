// MatMul: numpy's rule for rank 2 and more.
#include <algorithm>

#include "core/ops/rules.h"

namespace headrace::rules {

Types infer(const MatMul& op, const Inputs& in) {
  if (in.size() < (op.has_bias ? 3u : 2u))
    in.fail("needs a, b" + std::string(op.has_bias ? " and bias" : ""));
  in.same_dtype(0, op.has_bias ? 3 : 2);
  if (in[0].dtype == DType::boolean) in.fail("not for bool");
  if (!is_float(in[0].dtype) && op.alpha != 1) in.fail("alpha needs a floating-point dtype");
  for (std::size_t i = 0; i < 2; ++i) {
    if (in.rank(i) < 2) in.fail(in.show(i) + " must have rank 2 or more");
  }
  Dims a = in[0].shape, b = in[1].shape;
  if (op.transpose_a) std::swap(a[a.size() - 1], a[a.size() - 2]);
  if (op.transpose_b) std::swap(b[b.size() - 1], b[b.size() - 2]);
  in.unify(a[a.size() - 1], b[b.size() - 2], "inner extents of " + in.show(0) + " and " + in.show(1));
  ValueType dst{in[0].dtype, in.broadcast({a.begin(), a.end() - 2}, {b.begin(), b.end() - 2})};
  dst.shape.push_back(a[a.size() - 2]);
  dst.shape.push_back(b[b.size() - 1]);
  if (op.has_bias) in.broadcasts_to(2, dst.shape);
  in.post(op.post, op.has_bias ? 3 : 2, dst);
  return {dst};
}

}  // namespace headrace::rules
