// Resize: one size per axis.
#include <cmath>

#include "core/ops/rules.h"

namespace headrace::rules {

Types infer(const Resize& op, const Inputs& in) {
  in.count(1, 1);
  const Dims& src = in[0].shape;
  if (in[0].dtype == DType::boolean) in.fail("not for bool");
  in.entries(op.sizes.size(), src.size(), "sizes");
  if (!op.scales.empty()) in.entries(op.scales.size(), src.size(), "scales");
  for (const double s : op.scales) {
    if (!(s > 0) || !std::isfinite(s)) in.fail("scales must be positive numbers");
  }
  const bool crop = op.coord == ResizeCoord::tf_crop_and_resize;
  if (crop || !op.roi.empty()) in.entries(op.roi.size(), 2 * src.size(), "roi");
  for (const double r : op.roi) {
    if (!std::isfinite(r)) in.fail("roi must be finite numbers");
  }
  for (std::size_t i = 0; i < src.size(); ++i) {
    if (src[i] == Dim(0) && op.sizes[i].is_constant() && op.sizes[i] != Dim(0)) {
      in.fail("axis " + std::to_string(i) + " of " + in.show(0) + " is empty and cannot grow");
    }
  }
  return {{in[0].dtype, op.sizes}};
}

}  // namespace headrace::rules
