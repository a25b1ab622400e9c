#include "plan/profiles.h"

#include <algorithm>

#include <fmt/format.h>

namespace headrace {
namespace {

struct Interval {
  std::int64_t min = 0, max = 0;
};

/// What all profiles allow along one axis, in order, with neighbours joined.
std::vector<Interval> allowed(const Plan& plan, std::size_t input, std::size_t axis) {
  std::vector<Interval> all, joined;
  for (const Profile& profile : plan.profiles)
    all.push_back({profile[input].min[axis], profile[input].max[axis]});
  std::sort(all.begin(), all.end(), [](const Interval& a, const Interval& b) { return a.min < b.min; });
  for (const Interval& i : all) {
    if (joined.empty() || i.min - 1 > joined.back().max)
      joined.push_back(i);
    else
      joined.back().max = std::max(joined.back().max, i.max);
  }
  return joined;
}

std::string text_of(const Interval& i) {
  return i.min == i.max ? fmt::format("{}", i.min) : fmt::format("{} to {}", i.min, i.max);
}

/// 1 at opt, larger the farther the shapes are; nothing when the profile does not contain them.
std::optional<double> distance(const Profile& profile, std::span<const Shape> shapes) {
  double product = 1;
  for (std::size_t i = 0; i < profile.size(); ++i)
    for (std::size_t a = 0; a < profile[i].min.size(); ++a) {
      const std::int64_t extent = shapes[i][a];
      if (extent < profile[i].min[a] || extent > profile[i].max[a]) return std::nullopt;
      const auto have = static_cast<double>(std::max<std::int64_t>(extent, 1));
      const auto opt = static_cast<double>(std::max<std::int64_t>(profile[i].opt[a], 1));
      product *= std::max(have, opt) / std::min(have, opt);
    }
  return product;
}

}  // namespace

std::optional<std::size_t> find_profile(const Plan& plan, std::span<const Shape> shapes) {
  std::optional<std::size_t> best;
  double nearest = 0;
  for (std::size_t p = 0; p < plan.profiles.size(); ++p) {
    const std::optional<double> d = distance(plan.profiles[p], shapes);
    if (!d || (best && *d >= nearest)) continue;
    best = p;
    nearest = *d;
  }
  return best;
}

bool is_allowed(const Plan& plan, std::size_t input, std::size_t axis, std::int64_t extent) {
  return std::any_of(plan.profiles.begin(), plan.profiles.end(), [&](const Profile& p) {
    return extent >= p[input].min[axis] && extent <= p[input].max[axis];
  });
}

std::string allowed_text(const Plan& plan, std::size_t input, std::size_t axis) {
  const std::vector<Interval> intervals = allowed(plan, input, axis);
  std::string text;
  for (std::size_t i = 0; i < intervals.size(); ++i)
    text += (i == 0 ? "" : i + 1 == intervals.size() ? " or " : ", ") + text_of(intervals[i]);
  return text;
}

std::vector<std::string> profile_gaps(const Plan& plan) {
  std::vector<std::string> gaps;
  if (plan.profiles.empty()) return gaps;
  for (std::size_t input = 0; input < plan.profiles[0].size(); ++input)
    for (std::size_t axis = 0; axis < plan.profiles[0][input].min.size(); ++axis) {
      const std::vector<Interval> intervals = allowed(plan, input, axis);
      std::string text;
      for (std::size_t i = 1; i < intervals.size(); ++i)
        text += (text.empty() ? "" : ", ") + text_of({intervals[i - 1].max + 1, intervals[i].min - 1});
      if (!text.empty())
        gaps.push_back(fmt::format("input '{}', axis {}: no profile allows {}", plan.profiles[0][input].input,
                                   axis, text));
    }
  return gaps;
}

StepWay way_of(const PlanStep& step, std::size_t profile) {
  for (const StepVariant& v : step.variants)
    if (v.profile == profile) return {v.tactic, v.choice, v.inputs, v.refused, v.tried};
  return {step.tactic, step.choice, step.inputs, step.refused, step.tried};
}

}  // namespace headrace
