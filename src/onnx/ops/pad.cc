#include "onnx/ops/runtime_axes.h"

namespace headrace::onnx {

void import_Pad(ImportNode& n) {
  const ValueId x = n.in(0);
  const std::int64_t rank = n.rank(x);
  const std::string mode = n.attr_string("mode", "constant");
  Pad op{Dims(static_cast<std::size_t>(rank), Dim(0)), Dims(static_cast<std::size_t>(rank), Dim(0)),
         PadMode::constant};
  if (mode == "reflect")
    op.mode = PadMode::reflect;
  else if (mode == "edge")
    op.mode = PadMode::edge;
  else if (mode == "wrap")
    op.mode = PadMode::wrap;
  else if (mode != "constant")
    invalid("attribute mode='" + mode + "'; expected constant, reflect, edge or wrap");
  std::vector<ValueId> inputs{x};
  Dims pads, axes;
  if (n.opset() < 11) {
    const auto given = n.attr_ints("pads");
    if (!given) invalid("attribute 'pads' is missing");
    pads = to_dims(*given);
    const double value = n.attr_real("value", 0);
    if (value != 0 && op.mode == PadMode::constant) inputs.push_back(n.scalar(value, n.dtype(x)));
  } else {
    pads = n.host_dims(1, "pads");
    if (n.has(3)) axes = n.host_dims(3, "axes");
    if (n.has(2) && op.mode == PadMode::constant) {
      if (n.in_dtype(2) != n.dtype(x)) invalid("the constant value must be of the input's type");
      inputs.push_back(n.reshape(n.in(2), {}));
    }
  }
  if (axes.empty() && !n.has(3)) {
    for (std::int64_t i = 0; i < rank; ++i) axes.push_back(Dim(i));
  }
  if (pads.size() != 2 * axes.size())
    invalid("pads must have two entries for each axis, " + std::to_string(2 * axes.size()));
  ShapeProgram& s = n.shapes();
  if (all_constant(axes)) normal_axes(to_shape(axes), rank);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const Dims hit = axis_flags(s, {axes[i]}, rank);
    for (std::size_t k = 0; k < hit.size(); ++k) {
      op.before[k] = s.select(hit[k], pads[i], op.before[k]);
      op.after[k] = s.select(hit[k], pads[axes.size() + i], op.after[k]);
    }
  }
  n.out(0, n.add(std::move(op), std::move(inputs)));
}

}  // namespace headrace::onnx
