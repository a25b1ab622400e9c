// Windows of Conv, ConvTranspose and the pools: strides, dilations and pads from ONNX's attributes.
#pragma once

#include "onnx/import_node.h"

namespace headrace::onnx {

struct Window {
  Ints kernel, strides, dilations;
  Dims pads_begin, pads_end;
  std::string auto_pad;  ///< NOTSET, VALID, SAME_UPPER, SAME_LOWER
};

/// Reads auto_pad, pads, strides, dilations for `kernel`. SAME_* is resolved against the input's spatial
/// extents (for ConvTranspose, `transposed`, pads of SAME_* are left to the caller).
Window read_window(ImportNode& n, const Ints& kernel, const Dims& src, bool transposed = false);

/// kernel_shape; for convolutions it may be left out, then it is the weights'.
Ints kernel_of_weights(ImportNode& n, const Dims& weights);

}  // namespace headrace::onnx
