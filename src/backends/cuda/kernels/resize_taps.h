// Resize along one axis as a table: for each destination position the source positions and their weights.
#pragma once

#include <vector>

#include "core/op.h"

namespace headrace::cuda {

struct ResizeAxis {
  std::int64_t taps = 1;
  std::vector<std::int64_t> index;  ///< [out][taps], inside the source
  std::vector<double> weight;       ///< [out][taps]
  std::vector<bool> outside;        ///< [out]: takes the extrapolation value
  bool identity = false;            ///< copied as it is
};
/// Every mode of ONNX: nearest has one tap, linear two, cubic four, antialiasing more.
ResizeAxis make_resize_axis(const Resize& op, std::size_t axis, std::int64_t in, std::int64_t out);

}  // namespace headrace::cuda
