// MatMul, Gemm.
#include "onnx/import_node.h"

namespace headrace::onnx {

/// numpy: an operand of rank 1 gets an axis of 1, which the result loses again.
void import_MatMul(ImportNode& n) {
  ValueId a = n.in(0), b = n.in(1);
  const bool vector_a = n.rank(a) == 1, vector_b = n.rank(b) == 1;
  if (n.rank(a) == 0 || n.rank(b) == 0) invalid("operands must not be scalars");
  if (vector_a) a = n.reshape(a, {Dim(1), n.shape(a)[0]});
  if (vector_b) b = n.reshape(b, {n.shape(b)[0], Dim(1)});
  ValueId y = n.add(MatMul{}, {a, b});
  Dims shape = n.shape(y);
  if (vector_b) shape.pop_back();
  if (vector_a) shape.erase(shape.end() - (vector_b ? 1 : 2));
  n.out(0, n.reshape(y, shape));
}

/// alpha * op(A) @ op(B) + beta * C
void import_Gemm(ImportNode& n) {
  const ValueId a = n.in(0), b = n.in(1);
  if (n.rank(a) != 2 || n.rank(b) != 2) invalid("A and B must have rank 2");
  MatMul op;
  op.transpose_a = n.attr_flag("transA", false);
  op.transpose_b = n.attr_flag("transB", false);
  op.alpha = n.attr_real("alpha", 1);
  const double beta = n.attr_real("beta", 1);
  std::vector<ValueId> inputs{a, b};
  if (n.has(2) && beta != 0) {
    ValueId c = n.in(2);
    const DType t = n.dtype(c);
    if (beta != 1) {
      if (const auto tensor = n.graph().value(c).constant) {
        HostTensor scaled(t, tensor->shape());
        for (std::int64_t i = 0; i < scaled.elements(); ++i)
          scaled.set_double(i, tensor->at_double(i) * beta);
        c = n.constant_value(std::move(scaled));
      } else {
        c = n.pointwise({c},
                        [&](PwExpr& e, const auto& x) { e.op(PwOp::mul, t, x[0], e.constant(beta, t)); });
      }
    }
    op.has_bias = true;
    inputs.push_back(c);
  }
  n.out(0, n.add(std::move(op), std::move(inputs)));
}

}  // namespace headrace::onnx
