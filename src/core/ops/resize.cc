// Resize: one size per axis.
#include <algorithm>
#include <cmath>

#include "core/ops/rules.h"

namespace headrace::rules {

namespace {
constexpr std::int64_t kMaxExtent = 1 << 24;  ///< kernels keep a table per resized axis

/// Guards the memory that such tables take: an entry for each output position, or with antialiasing for each
/// source position under it.
void check_tables(const Resize& op, const Inputs& in) {
  for (std::size_t i = 0; i < op.sizes.size(); ++i) {
    const Dim size = op.sizes[i], extent = in[0].shape[i];
    if (!size.is_constant() || (size == extent && op.scales.empty())) continue;
    double scale = 1;
    if (!op.scales.empty())
      scale = op.scales[i].is_constant() ? op.scales[i].value : 1;
    else if (extent.is_constant() && extent.value > 0)
      scale = static_cast<double>(size.value) / static_cast<double>(extent.value);
    const double reads = static_cast<double>(size.value) / (op.antialias ? std::min(scale, 1.0) : 1.0);
    if (reads <= static_cast<double>(kMaxExtent) || size.value <= 0) continue;
    in.fail("axis " + std::to_string(i) + " would be resized to " + std::to_string(size.value) +
            " with a scale of " + std::to_string(scale) + "; extents up to " + std::to_string(kMaxExtent) +
            " are supported");
  }
}
}  // namespace

Types infer(const Resize& op, const Inputs& in) {
  in.count(1, 1);
  const Dims& src = in[0].shape;
  if (in[0].dtype == DType::boolean) in.fail("not for bool");
  in.entries(op.sizes.size(), src.size(), "sizes");
  if (!op.scales.empty()) in.entries(op.scales.size(), src.size(), "scales");
  for (std::size_t i = 0; i < op.scales.size(); ++i) {
    const Real s = op.scales[i];
    if (s.is_constant() && (!(s.value > 0) || !std::isfinite(s.value)))
      in.fail("the scale of axis " + std::to_string(i) + " is " + std::to_string(s.value) +
              "; scales must be positive numbers");
  }
  const bool crop = op.coord == ResizeCoord::tf_crop_and_resize;
  if (crop || !op.roi.empty()) in.entries(op.roi.size(), 2 * src.size(), "roi");
  for (const Real& r : op.roi) {
    if (!std::isfinite(r.value)) in.fail("roi must be finite numbers");
  }
  for (std::size_t i = 0; i < src.size(); ++i) {
    if (src[i] == Dim(0) && op.sizes[i].is_constant() && op.sizes[i] != Dim(0)) {
      in.fail("axis " + std::to_string(i) + " of " + in.show(0) + " is empty and cannot grow");
    }
  }
  check_tables(op, in);
  return {{in[0].dtype, op.sizes}};
}

}  // namespace headrace::rules
