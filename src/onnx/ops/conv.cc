#include "onnx/ops/window.h"

namespace headrace::onnx {

void import_Conv(ImportNode& n) {
  const ValueId src = n.in(0), weights = n.in(1);
  Window w = read_window(n, kernel_of_weights(n, n.shape(weights)), n.shape(src));
  Conv op{w.strides, w.dilations, w.pads_begin, w.pads_end, n.attr_int("group", 1), n.has(2), {}};
  std::vector<ValueId> inputs{src, weights};
  if (n.has(2)) inputs.push_back(n.in(2));
  n.out(0, n.add(std::move(op), std::move(inputs)));
}

void import_ConvTranspose(ImportNode& n) {
  const ValueId src = n.in(0), weights = n.in(1);
  const Dims shape = n.shape(src);
  Window w = read_window(n, kernel_of_weights(n, n.shape(weights)), shape, /*transposed=*/true);
  const std::size_t rank = w.kernel.size();
  ConvTranspose op{w.strides, w.dilations, w.pads_begin, w.pads_end, Ints(rank, 0), n.attr_int("group", 1),
                   n.has(2),  {}};
  if (auto given = n.attr_ints("output_padding"); given && !given->empty()) op.output_padding = *given;
  if (op.output_padding.size() != rank)
    invalid("attribute output_padding must have " + std::to_string(rank) + " entries");
  auto output_shape = n.attr_ints("output_shape");
  if (output_shape && output_shape->empty()) output_shape.reset();
  if (output_shape && output_shape->size() == rank + 2)
    output_shape->erase(output_shape->begin(), output_shape->begin() + 2);
  if (output_shape && output_shape->size() != rank)
    invalid("attribute output_shape must have " + std::to_string(rank) + " entries");
  const bool same = w.auto_pad.starts_with("SAME");
  ShapeProgram& s = n.shapes();
  if (output_shape || same) {
    for (std::size_t i = 0; i < rank; ++i) {
      // Without pads the output would have (in-1)*stride + output_padding + window elements.
      const std::int64_t window = (w.kernel[i] - 1) * w.dilations[i] + 1;
      const Dim in = shape[i + 2], stride(w.strides[i]);
      const Dim full = s.add(s.mul(s.sub(in, Dim(1)), stride), Dim(op.output_padding[i] + window));
      Dim total = s.sub(full, output_shape ? Dim((*output_shape)[i]) : s.mul(in, stride));
      if (total.is_constant() && total.value < 0) {
        op.output_padding[i] -= total.value;
        total = 0;
      } else if (!total.is_constant()) {
        total = s.max(Dim(0), total);
      }
      const Dim less = s.floor_div(total, Dim(2)), more = s.sub(total, less);
      const bool upper = w.auto_pad == "SAME_UPPER" || (output_shape && !same && n.opset() < 11);
      op.pads_begin[i] = upper ? less : more;
      op.pads_end[i] = upper ? more : less;
    }
  }
  std::vector<ValueId> inputs{src, weights};
  if (n.has(2)) inputs.push_back(n.in(2));
  n.out(0, n.add(std::move(op), std::move(inputs)));
}

}  // namespace headrace::onnx
