// The profiles of a plan: which one serves given shapes, what they allow, where they leave gaps.
//
// A plan has one profile or more; each has its own choice of kernels for every step, while tensors, layouts
// and weights are shared. The profile for a set of input shapes is, among those that contain them, the one
// whose opt shapes are nearest: the product, over all axes, of max(extent, opt) / min(extent, opt) is least
// (an extent of 0 counts as 1). Of equally near ones the first serves.
//   const std::optional<std::size_t> p = find_profile(plan, shapes);
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace headrace {

/// Which profile serves these shapes (one per input, of the right rank); nothing when none contains them.
std::optional<std::size_t> find_profile(const Plan& plan, std::span<const Shape> shapes);

/// Whether some profile allows this extent, whatever the other axes are.
bool is_allowed(const Plan& plan, std::size_t input, std::size_t axis, std::int64_t extent);

/// "3", "1 to 16", "1, 2 to 16 or 128 to 256": what the profiles allow along an axis, neighbours joined.
std::string allowed_text(const Plan& plan, std::size_t input, std::size_t axis);

/// Extents between the profiles that none of them allows, one line per input and axis that has any.
std::vector<std::string> profile_gaps(const Plan& plan);

/// How a profile does a step: references into the step.
struct StepWay {
  const std::string &tactic, &choice;
  const std::vector<std::int32_t>& inputs;
  const std::vector<RefusalRecord>& refused;
  const std::vector<TimingRecord>& tried;
};
StepWay way_of(const PlanStep& step, std::size_t profile);

}  // namespace headrace
