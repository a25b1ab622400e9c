// Resize, Upsample.
#include <algorithm>
#include <cmath>

#include "onnx/import_node.h"

namespace headrace::onnx {
namespace {

/// The fraction with the smallest denominator that rounds to the float `scale`: 0.7f is 7/10.
std::pair<std::int64_t, std::int64_t> to_fraction(double scale) {
  std::int64_t p0 = 0, q0 = 1, p1 = 1, q1 = 0;
  double rest = scale;
  for (int i = 0; i < 40; ++i) {
    if (!(rest < 1e9)) break;
    const auto whole = static_cast<std::int64_t>(std::floor(rest));
    const std::int64_t p = whole * p1 + p0, q = whole * q1 + q0;
    if (p > (std::int64_t{1} << 31) || q > (std::int64_t{1} << 31)) break;
    p0 = p1, q0 = q1, p1 = p, q1 = q;
    if (static_cast<float>(static_cast<double>(p) / static_cast<double>(q)) == static_cast<float>(scale))
      break;
    rest = 1.0 / (rest - static_cast<double>(whole));
  }
  if (q1 == 0) unsupported("scale " + std::to_string(scale) + " is out of range");
  return {p1, q1};
}

template <class T>
T choose(const std::string& value, std::string_view attribute,
         std::initializer_list<std::pair<std::string_view, T>> table) {
  std::string names;
  for (const auto& [name, result] : table) {
    if (name == value) return result;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  unsupported("attribute " + std::string(attribute) + "='" + value + "'; supported are " + names);
}

void read_modes(ImportNode& n, Resize& op) {
  op.mode = choose<ResizeMode>(n.attr_string("mode", "nearest"), "mode",
                               {{"nearest", ResizeMode::nearest},
                                {"linear", ResizeMode::linear},
                                {"bilinear", ResizeMode::linear},
                                {"cubic", ResizeMode::cubic}});
  const std::string coord =
      n.attr_string("coordinate_transformation_mode", n.opset() < 11 ? "asymmetric" : "half_pixel");
  op.coord = choose<ResizeCoord>(coord, "coordinate_transformation_mode",
                                 {{"half_pixel", ResizeCoord::half_pixel},
                                  {"half_pixel_symmetric", ResizeCoord::half_pixel_symmetric},
                                  {"pytorch_half_pixel", ResizeCoord::pytorch_half_pixel},
                                  {"align_corners", ResizeCoord::align_corners},
                                  {"asymmetric", ResizeCoord::asymmetric},
                                  {"tf_crop_and_resize", ResizeCoord::tf_crop_and_resize},
                                  {"tf_half_pixel_for_nn", ResizeCoord::half_pixel}});
  op.nearest = choose<ResizeNearest>(
      n.attr_string("nearest_mode", n.opset() < 11 ? "floor" : "round_prefer_floor"), "nearest_mode",
      {{"round_prefer_floor", ResizeNearest::round_prefer_floor},
       {"round_prefer_ceil", ResizeNearest::round_prefer_ceil},
       {"floor", ResizeNearest::floor},
       {"ceil", ResizeNearest::ceil}});
  if (coord == "tf_half_pixel_for_nn") {  // (x + 0.5) / scale: its floor is half_pixel's coordinate, rounded
    if (op.mode != ResizeMode::nearest || op.nearest != ResizeNearest::floor)
      unsupported(
          "coordinate_transformation_mode='tf_half_pixel_for_nn' is supported with mode='nearest' and "
          "nearest_mode='floor' only");
    op.nearest = ResizeNearest::round_prefer_ceil;
  }
  op.cubic_coeff = n.attr_real("cubic_coeff_a", -0.75);
  op.extrapolation = n.attr_real("extrapolation_value", 0);
  op.exclude_outside = n.attr_flag("exclude_outside", false);
  op.antialias = n.attr_flag("antialias", false);
}

/// sizes = floor(extent * scale), in integers.
void apply_scales(ImportNode& n, Resize& op, const Dims& src, const Ints& axes, const Reals& scales) {
  ShapeProgram& s = n.shapes();
  if (scales.size() != axes.size()) invalid("scales must have " + std::to_string(axes.size()) + " entries");
  op.scales.assign(src.size(), 1.0);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const auto axis = static_cast<std::size_t>(axes[i]);
    op.scales[axis] = scales[i];
    if (!scales[i].is_constant()) {
      s.require(s.lt(Dim(0), scales[i].bits()), n.describe() + ": the scale of axis " + std::to_string(axis) +
                                                    " is not positive (input 'scales', element " +
                                                    std::to_string(i) + ")");
      op.sizes[axis] = s.scale(src[axis], scales[i]);
      continue;
    }
    if (!(scales[i].value > 0)) invalid("scale " + std::to_string(scales[i].value) + " is not positive");
    const auto [num, den] = to_fraction(scales[i].value);
    op.sizes[axis] =
        den == 1 ? s.mul(src[axis], Dim(num)) : s.floor_div(s.mul(src[axis], Dim(num)), Dim(den));
  }
}

/// sizes given; the aspect ratio may be kept: then one scale, the smallest or largest, is for all axes.
void apply_sizes(ImportNode& n, Resize& op, const Dims& src, const Ints& axes, const Dims& sizes) {
  ShapeProgram& s = n.shapes();
  if (sizes.size() != axes.size()) invalid("sizes must have " + std::to_string(axes.size()) + " entries");
  for (const Dim& d : sizes) {
    if (d.is_constant() && d.value < 0) invalid("a size is negative");
  }
  const std::string policy = n.attr_string("keep_aspect_ratio_policy", "stretch");
  if (policy == "stretch" || axes.empty()) {
    for (std::size_t i = 0; i < axes.size(); ++i) op.sizes[static_cast<std::size_t>(axes[i])] = sizes[i];
    return;
  }
  if (policy != "not_larger" && policy != "not_smaller") {
    invalid("attribute keep_aspect_ratio_policy='" + policy +
            "'; expected stretch, not_larger or not_smaller");
  }
  Dim num = sizes[0], den = src[static_cast<std::size_t>(axes[0])];
  for (std::size_t i = 1; i < axes.size(); ++i) {
    const Dim other = src[static_cast<std::size_t>(axes[i])];
    const Dim here = s.mul(sizes[i], den), best = s.mul(num, other);
    const Dim better = policy == "not_larger" ? s.lt(here, best) : s.lt(best, here);
    num = s.select(better, sizes[i], num);
    den = s.select(better, other, den);
  }
  for (std::int64_t axis : axes) {  // rounded, halves up
    const auto k = static_cast<std::size_t>(axis);
    op.sizes[k] = s.floor_div(s.add(s.mul(s.mul(src[k], num), Dim(2)), den), s.mul(den, Dim(2)));
  }
  const Real scale = s.to_real(num, den);
  op.scales.assign(src.size(), 1.0);
  for (std::int64_t axis : axes) op.scales[static_cast<std::size_t>(axis)] = scale;
}

/// An optional input that is there but has no elements counts as absent.
bool given(ImportNode& n, std::size_t i) {
  if (!n.has(i)) return false;
  const Dims shape = n.in_shape(i);
  return std::find(shape.begin(), shape.end(), Dim(0)) == shape.end();
}

}  // namespace

void import_Resize(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims src = n.shape(x);
  const std::size_t rank = src.size();
  Resize op;
  op.sizes = src;
  read_modes(n, op);
  Ints axes;
  if (auto named = n.attr_ints("axes"); named && !named->empty()) {
    axes = *named;
    for (auto& a : axes) a = normal_axis(a, n.rank(x));
  } else {
    for (std::size_t i = 0; i < rank; ++i) axes.push_back(static_cast<std::int64_t>(i));
  }
  if (op.coord == ResizeCoord::tf_crop_and_resize) {
    const Reals roi = n.host_reals(1, "roi");
    if (roi.size() != 2 * axes.size())
      invalid("roi must have " + std::to_string(2 * axes.size()) + " entries");
    op.roi.assign(2 * rank, 0.0);
    std::fill(op.roi.begin() + static_cast<std::ptrdiff_t>(rank), op.roi.end(), 1.0);
    for (std::size_t i = 0; i < axes.size(); ++i) {
      op.roi[static_cast<std::size_t>(axes[i])] = roi[i];
      op.roi[rank + static_cast<std::size_t>(axes[i])] = roi[axes.size() + i];
    }
  }
  const std::size_t scales = n.opset() < 11 ? 1 : 2;
  n.ignore_attr("keep_aspect_ratio_policy");
  if (given(n, 3))
    apply_sizes(n, op, src, axes, n.host_dims(3, "sizes"));
  else if (given(n, scales))
    apply_scales(n, op, src, axes, n.host_reals(scales, "scales"));
  else
    invalid("neither scales nor sizes are given");
  n.out(0, n.add(std::move(op), {x}));
}

void import_Upsample(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims src = n.shape(x);
  Resize op;
  op.sizes = src;
  op.coord = ResizeCoord::asymmetric;
  op.nearest = ResizeNearest::floor;
  op.mode = choose<ResizeMode>(
      n.attr_string("mode", "nearest"), "mode",
      {{"nearest", ResizeMode::nearest}, {"linear", ResizeMode::linear}, {"bilinear", ResizeMode::linear}});
  Ints axes;
  for (std::size_t i = 0; i < src.size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
  if (n.opset() < 9) {
    const auto scales = n.attr_reals("scales");
    if (!scales) invalid("attribute 'scales' is missing");
    apply_scales(n, op, src, axes, Reals(scales->begin(), scales->end()));
  } else {
    apply_scales(n, op, src, axes, n.host_reals(1, "scales"));
  }
  n.out(0, n.add(std::move(op), {x}));
}

}  // namespace headrace::onnx
