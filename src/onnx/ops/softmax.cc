// Softmax, LogSoftmax.
#include "onnx/import_node.h"

namespace headrace::onnx {
namespace {

/// Before opset 13 all axes from `axis` on are one axis.
ValueId softmax(ImportNode& n, bool log) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  const std::int64_t rank = n.rank(x);
  const bool flattens = n.opset() < 13;
  std::int64_t axis = n.attr_int("axis", flattens ? 1 : -1);
  if (flattens && axis == rank) {  // a flattened axis of nothing: one element each
    return n.reshape(n.add(Softmax{1, log}, {n.reshape(x, {n.shapes().product(shape), Dim(1)})}), shape);
  }
  axis = normal_axis(axis, rank);
  if (!flattens || axis == rank - 1) return n.add(Softmax{axis, log}, {x});
  const Dim rows = n.shapes().product(std::span(shape).first(static_cast<std::size_t>(axis)));
  const Dim columns = n.shapes().product(std::span(shape).subspan(static_cast<std::size_t>(axis)));
  return n.reshape(n.add(Softmax{1, log}, {n.reshape(x, {rows, columns})}), shape);
}

}  // namespace

void import_Softmax(ImportNode& n) { n.out(0, softmax(n, false)); }
void import_LogSoftmax(ImportNode& n) { n.out(0, softmax(n, true)); }

}  // namespace headrace::onnx
