// Where every tensor of a plan lies, for one set of extents: descriptions, roots of views, byte offsets.
//
// Contract: `place_tensors` checks everything that depends on extents (views inside their parents, sizes that
// do not overflow) and throws Error(invalid_plan), so that what it returns is safe to address. A root is a
// tensor that owns memory; every view lies in exactly one root.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace headrace {

struct Placement {
  std::vector<TensorDesc> descs;
  std::vector<std::int32_t> roots;
  std::vector<std::uint64_t> offsets;     ///< bytes from the start of the root
  std::vector<std::uint64_t> span_bytes;  ///< from the first to the last element; weights: all their bytes
  /// Start of each tensor inside its root, per axis; empty where a view changed the shape on the way (`boxed`
  /// is false).
  std::vector<Shape> starts;
  std::vector<bool> boxed;
};

/// `values`: of all shape expressions (ShapeProgram::evaluate).
Placement place_tensors(const Plan& plan, std::span<const std::int64_t> values);

/// True when two tensors share a byte. Exact for windows, by range for the rest.
bool overlap(const Placement& placement, std::int32_t a, std::int32_t b);

/// Steps that touch each root, from first to last; {-1, -1} for views and for roots that no step touches.
struct Life {
  std::int32_t first = -1, last = -1;
};
std::vector<Life> root_lives(const Plan& plan, const Placement& placement);

/// One line for each step that destroys a value which a later step, an output or an input lease still needs;
/// empty for a sound plan.
std::vector<std::string> find_clobbering(const Plan& plan, const Placement& placement);

}  // namespace headrace
