#include "onnx/ops/window.h"

namespace headrace::onnx {

Window read_window(ImportNode& n, const Ints& kernel, const Dims& src, bool transposed) {
  const std::size_t rank = kernel.size();
  if (rank == 0 || src.size() != rank + 2) {
    invalid("a kernel over " + std::to_string(rank) + " axes does not fit an input of rank " +
            std::to_string(src.size()));
  }
  Window w{kernel,
           Ints(rank, 1),
           Ints(rank, 1),
           Dims(rank, Dim(0)),
           Dims(rank, Dim(0)),
           n.attr_string("auto_pad", "NOTSET")};
  auto positive = [&](std::string_view name, Ints& to) {
    if (auto given = n.attr_ints(name); given && !given->empty()) to = *given;
    if (to.size() != rank)
      invalid("attribute " + std::string(name) + " must have " + std::to_string(rank) + " entries");
    for (std::int64_t v : to) {
      if (v < 1 || v > (std::int64_t{1} << 31))
        invalid("attribute " + std::string(name) + ": " + std::to_string(v) + " is out of range");
    }
  };
  positive("strides", w.strides);
  positive("dilations", w.dilations);
  for (std::int64_t k : kernel) {
    if (k < 1 || k > (std::int64_t{1} << 31))
      invalid("kernel extent " + std::to_string(k) + " is out of range");
  }
  const auto pads = n.attr_ints("pads");
  if (w.auto_pad.empty() || w.auto_pad == "NOTSET") {
    w.auto_pad = "NOTSET";
    if (pads && !pads->empty()) {
      if (pads->size() != 2 * rank)
        invalid("attribute pads must have " + std::to_string(2 * rank) + " entries");
      for (std::size_t i = 0; i < rank; ++i) {
        w.pads_begin[i] = (*pads)[i];
        w.pads_end[i] = (*pads)[rank + i];
      }
    }
    return w;
  }
  if (w.auto_pad == "VALID") return w;
  if (w.auto_pad != "SAME_UPPER" && w.auto_pad != "SAME_LOWER") {
    invalid("attribute auto_pad='" + w.auto_pad + "'; expected NOTSET, VALID, SAME_UPPER or SAME_LOWER");
  }
  if (transposed) return w;
  ShapeProgram& s = n.shapes();
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t window = (w.kernel[i] - 1) * w.dilations[i] + 1;
    Dim total;
    if (w.strides[i] == 1) {
      total = window - 1;
    } else {
      const Dim last = s.mul(s.sub(s.ceil_div(src[i + 2], Dim(w.strides[i])), Dim(1)), Dim(w.strides[i]));
      total = s.max(Dim(0), s.sub(s.add(last, Dim(window)), src[i + 2]));
    }
    const Dim less = s.floor_div(total, Dim(2)), more = s.sub(total, less);
    w.pads_begin[i] = w.auto_pad == "SAME_UPPER" ? less : more;
    w.pads_end[i] = w.auto_pad == "SAME_UPPER" ? more : less;
  }
  return w;
}

Ints kernel_of_weights(ImportNode& n, const Dims& weights) {
  if (weights.size() < 3) invalid("weights must have at least one spatial axis");
  const Dims spatial(weights.begin() + 2, weights.end());
  if (!all_constant(spatial)) unsupported("weights of dynamic kernel extents");
  const Ints kernel = to_shape(spatial);
  if (const auto given = n.attr_ints("kernel_shape"); given && !given->empty() && *given != kernel) {
    invalid("attribute kernel_shape " + headrace::to_string(*given) + " is not the weights' " +
            headrace::to_string(kernel));
  }
  return kernel;
}

}  // namespace headrace::onnx
