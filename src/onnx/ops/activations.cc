// Activations with attributes.
#include <limits>

#include "onnx/import_node.h"

namespace headrace::onnx {

void import_Celu(ImportNode& n) { n.out(0, n.unary(PwOp::celu, n.in(0), n.attr_real("alpha", 1))); }
void import_Elu(ImportNode& n) { n.out(0, n.unary(PwOp::elu, n.in(0), n.attr_real("alpha", 1))); }
void import_LeakyRelu(ImportNode& n) {
  n.out(0, n.unary(PwOp::leaky_relu, n.in(0), n.attr_real("alpha", 0.01f)));
}
void import_ThresholdedRelu(ImportNode& n) {
  n.out(0, n.unary(PwOp::thresholded_relu, n.in(0), n.attr_real("alpha", 1)));
}
void import_Selu(ImportNode& n) {
  const double alpha = n.attr_real("alpha", 1.67326319217681884765625);
  n.out(0, n.unary(PwOp::selu, n.in(0), alpha, n.attr_real("gamma", 1.05070102214813232421875)));
}
void import_HardSigmoid(ImportNode& n) {
  const double alpha = n.attr_real("alpha", 0.2f);
  n.out(0, n.unary(PwOp::hard_sigmoid, n.in(0), alpha, n.attr_real("beta", 0.5)));
}
void import_Swish(ImportNode& n) { n.out(0, n.unary(PwOp::silu, n.in(0), n.attr_real("alpha", 1))); }

void import_Gelu(ImportNode& n) {
  const std::string how = n.attr_string("approximate", "none");
  if (how != "none" && how != "tanh") invalid("attribute approximate='" + how + "'; expected none or tanh");
  n.out(0, n.unary(how == "tanh" ? PwOp::gelu_tanh : PwOp::gelu_erf, n.in(0)));
}

void import_IsNaN(ImportNode& n) {
  n.out(0,
        n.pointwise({n.in(0)}, [](PwExpr& e, const auto& x) { e.op(PwOp::is_nan, DType::boolean, x[0]); }));
}

void import_IsInf(ImportNode& n) {
  const bool positive = n.attr_flag("detect_positive", true), negative = n.attr_flag("detect_negative", true);
  n.out(0, n.pointwise({n.in(0)}, [&](PwExpr& e, const auto& x) {
    e.op(PwOp::is_inf, DType::boolean, x[0], -1, -1, positive, negative);
  }));
}

void import_PRelu(ImportNode& n) {
  // The slope broadcasts to x from the right, as numpy's rule has it.
  n.out(0, n.binary(PwOp::prelu, n.in(0), n.in(1)));
}

/// Bounds: attributes before opset 11, inputs from then on. Constant ones become the expression's immediates.
void import_Clip(ImportNode& n) {
  const ValueId x = n.in(0);
  const DType t = n.dtype(x);
  constexpr double kInf = std::numeric_limits<double>::infinity();
  if (n.opset() < 11) {
    const double lo = n.attr_real("min", -kInf), hi = n.attr_real("max", kInf);
    n.out(0, n.unary(PwOp::clip, x, lo, hi));
    return;
  }
  auto bound = [&](std::size_t i, double none) -> std::optional<double> {
    if (!n.has(i)) return none;
    const HostTensor* c = n.constant(i);
    if (c == nullptr || !is_float(t) || c->elements() != 1) return std::nullopt;
    return c->at_double(0);
  };
  for (std::size_t i = 1; i <= 2; ++i) {
    if (!n.has(i)) continue;
    if (n.in_dtype(i) != t) invalid("the bounds must be of the input's type " + std::string(to_string(t)));
    for (const Dim& d : n.in_shape(i)) {
      if (d != Dim(1)) invalid("input " + std::to_string(i) + " must be a scalar");
    }
  }
  const auto lo = bound(1, -kInf), hi = bound(2, kInf);
  if (is_float(t) && lo && hi && *lo <= *hi) {
    n.out(0, n.unary(PwOp::clip, x, *lo, *hi));
    return;
  }
  ValueId y = x;
  auto scalar = [&](std::size_t i) { return n.reshape(n.in(i), {}); };
  if (n.has(1)) y = n.binary(PwOp::max, y, scalar(1));
  if (n.has(2)) y = n.binary(PwOp::min, y, scalar(2));
  n.out(0, y);
}

}  // namespace headrace::onnx
