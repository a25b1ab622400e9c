#include "runtime/layer_cost.h"

namespace headrace::runtime {
namespace {

/// Multiplications and additions for one element of the destination (Conv, MatMul) or source (ConvTranspose):
/// twice the weights that meet it, [M, C/groups, kernel...] or [C, M/groups, kernel...].
double per_element(const TensorDesc& weights) {
  double products = 1;
  for (std::size_t i = 1; i < weights.shape.size(); ++i) products *= static_cast<double>(weights.shape[i]);
  return 2 * products;
}

}  // namespace

LayerCost cost_of(const Problem& problem) {
  LayerCost cost;
  const auto bytes = [](const TensorDesc& desc) {
    return static_cast<double>(desc.elements()) * static_cast<double>(size_bytes(desc.dtype));
  };
  for (const TensorDesc& src : problem.srcs) cost.bytes += bytes(src);
  for (const TensorDesc& dst : problem.dsts) cost.bytes += bytes(dst);
  if (op_as<Conv>(problem)) {
    cost.flops = static_cast<double>(problem.dsts[0].elements()) * per_element(problem.srcs[1]);
  } else if (op_as<ConvTranspose>(problem)) {
    cost.flops = static_cast<double>(problem.srcs[0].elements()) * per_element(problem.srcs[1]);
  } else if (const auto* product = op_as<MatMul>(problem)) {
    const Shape& a = problem.srcs[0].shape;
    const std::int64_t k = a[a.size() - (product->transpose_a ? 2 : 1)];
    cost.flops = 2 * static_cast<double>(k) * static_cast<double>(problem.dsts[0].elements());
  }
  return cost;
}

}  // namespace headrace::runtime
