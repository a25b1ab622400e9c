#include "onnx/ops/runtime_axes.h"

namespace headrace::onnx {
namespace {

struct Range {
  Dim start, end, step;
};

/// ONNX's slice of one axis: negative counts from the end, then clamped into the axis; start and number of
/// elements.
std::pair<Dim, Dim> resolve_range(ShapeProgram& s, const Range& r, Dim extent) {
  auto from_end = [&](Dim d) {
    if (is_non_negative(s, d)) return d;
    if (d.is_constant()) return s.add(d, extent);
    return s.select(s.lt(d, Dim(0)), s.add(d, extent), d);
  };
  auto clamp = [&](Dim d, Dim low, Dim high) {
    // The usual "to the end" is a huge number: no need to drag it along.
    if (d.is_constant() && d.value >= (std::int64_t{1} << 31) - 1) return high;
    if (d.is_constant() && d.value <= -(std::int64_t{1} << 31) + 1) return low;
    if (d == high || d == low) return d;
    const Dim upper = s.min(d, high);
    return low == Dim(0) && is_non_negative(s, d) ? upper : s.max(low, upper);
  };
  // For constants far below: -INT_MAX + extent must still clamp to the low end.
  auto bound = [&](Dim d, Dim low, Dim high) {
    if (d.is_constant() && d.value < 0 && d.value <= -(std::int64_t{1} << 31) + 1) return low;
    return clamp(from_end(d), low, high);
  };
  const Dim last = s.sub(extent, Dim(1));
  auto forward = [&] {
    const Dim start = bound(r.start, Dim(0), extent), end = bound(r.end, Dim(0), extent);
    return std::pair{start, s.ceil_div(start == Dim(0) ? end : s.max(Dim(0), s.sub(end, start)), r.step)};
  };
  auto backward = [&] {
    const Dim start = bound(r.start, Dim(0), last), end = bound(r.end, Dim(-1), last);
    return std::pair{start, s.max(Dim(0), s.ceil_div(s.sub(start, end), s.sub(Dim(0), r.step)))};
  };
  if (r.step.is_constant()) return r.step.value > 0 ? forward() : backward();
  // Both ways are evaluated at run time, so neither may divide by zero or by a wrong sign's step: |step| for
  // both.
  const Dim negative = s.lt(r.step, Dim(0));
  const Dim size = s.select(negative, s.sub(Dim(0), r.step), r.step);
  Range up = r, down = r;
  up.step = size;
  down.step = s.sub(Dim(0), size);
  const Dim f_start = bound(up.start, Dim(0), extent), f_end = bound(up.end, Dim(0), extent);
  const Dim b_start = bound(down.start, Dim(0), last), b_end = bound(down.end, Dim(-1), last);
  const Dim f_count = s.ceil_div(s.max(Dim(0), s.sub(f_end, f_start)), size);
  const Dim b_count = s.ceil_div(s.max(Dim(0), s.sub(b_start, b_end)), size);
  return {s.select(negative, b_start, f_start), s.select(negative, b_count, f_count)};
}

}  // namespace

void import_Slice(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  const std::int64_t rank = n.rank(x);
  ShapeProgram& s = n.shapes();
  Dims starts, ends, axes, steps;
  if (n.opset() < 10) {
    const auto first = n.attr_ints("starts"), last = n.attr_ints("ends"), which = n.attr_ints("axes");
    if (!first || !last) invalid("attributes starts and ends are missing");
    starts = to_dims(*first);
    ends = to_dims(*last);
    if (which) axes = to_dims(*which);
  } else {
    starts = n.host_dims(1, "starts");
    ends = n.host_dims(2, "ends");
    if (n.has(3)) axes = n.host_dims(3, "axes");
    if (n.has(4)) steps = n.host_dims(4, "steps");
  }
  if (axes.empty()) {
    for (std::size_t i = 0; i < starts.size(); ++i) axes.push_back(Dim(static_cast<std::int64_t>(i)));
  }
  if (steps.empty()) steps.assign(starts.size(), Dim(1));
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size()) {
    invalid("starts, ends, axes and steps must have the same number of entries");
  }
  for (const Dim& step : steps) {
    if (step == Dim(0)) invalid("a step is 0");
  }
  Slice op{Dims(shape.size(), Dim(0)), Dims(shape.size(), Dim(1)), shape};
  if (all_constant(axes)) {
    Ints named = to_shape(axes);
    normal_axes(named, rank);  // range and duplicates
    for (std::size_t i = 0; i < named.size(); ++i) {
      const auto k = static_cast<std::size_t>(normal_axis(named[i], rank));
      const auto [start, size] = resolve_range(s, {starts[i], ends[i], steps[i]}, shape[k]);
      op.starts[k] = start;
      op.sizes[k] = size;
      op.steps[k] = steps[i];
    }
  } else {
    for (std::int64_t k = 0; k < rank; ++k) {
      const auto at = static_cast<std::size_t>(k);
      Range range{0, (std::int64_t{1} << 31) - 1, 1};
      for (std::size_t i = 0; i < axes.size(); ++i) {
        const Dim hit = axis_flags(s, {axes[i]}, rank)[at];
        range = {s.select(hit, starts[i], range.start), s.select(hit, ends[i], range.end),
                 s.select(hit, steps[i], range.step)};
      }
      const auto [start, size] = resolve_range(s, range, shape[at]);
      op.starts[at] = start;
      op.sizes[at] = size;
      op.steps[at] = range.step;
    }
  }
  const bool whole =
      op.sizes == shape && op.starts == Dims(shape.size(), Dim(0)) && op.steps == Dims(shape.size(), Dim(1));
  n.out(0, whole ? x : n.add(std::move(op), {x}));
}

}  // namespace headrace::onnx
