// The inputs' shapes of a shape key, checked against the plan's profiles.
#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>

#include "plan/profiles.h"
#include "runtime/engine_state.h"

namespace headrace::runtime {
namespace {

[[noreturn]] void refuse_extent(const Engine::State& engine, std::size_t input, std::size_t axis,
                                const Shape& given, const std::string& allowed) {
  const IoInfo& info = engine.inputs[input];
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format("input '{}' ({}): axis {} is {}, but the plan allows {}; the given shape is {}", info.name,
                  engine.plan->shapes.to_string(info.shape), axis, given[axis], allowed, to_string(given)));
}

/// Every extent is allowed somewhere, but no profile allows all of them.
[[noreturn]] void refuse_together(const Engine::State& engine, const std::vector<Shape>& shapes) {
  std::string given, profiles;
  for (std::size_t i = 0; i < shapes.size(); ++i)
    given += fmt::format("{}'{}' {}", i == 0 ? "" : ", ", engine.inputs[i].name, to_string(shapes[i]));
  for (std::size_t p = 0; p < engine.plan->profiles.size(); ++p) {
    profiles += fmt::format("\n  profile {}:", p);
    for (const ProfileRange& r : engine.plan->profiles[p])
      profiles += fmt::format(" '{}' {} to {}", r.input, to_string(r.min), to_string(r.max));
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("no profile of the plan allows these shapes together: {}{}", given, profiles));
}

}  // namespace

bool Engine::State::is_implied(std::size_t input, std::size_t profile) const {
  const ProfileRange& first = plan->profiles[profile == kByShapes ? 0 : profile][input];
  if (first.min != first.max) return false;
  return profile != kByShapes ||
         std::all_of(plan->profiles.begin(), plan->profiles.end(), [&](const Profile& p) {
           return p[input].min == first.min && p[input].max == first.max;
         });
}

InputShapes Engine::State::input_shapes(const ShapeMap& shapes, std::size_t profile) const {
  if (profile != kByShapes && profile >= plan->profiles.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no profile {}: the plan has {}", profile, plan->profiles.size()));
  InputShapes result{std::vector<Shape>(inputs.size()), profile};
  std::size_t named = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const ProfileRange& range = plan->profiles[profile == kByShapes ? 0 : profile][i];
    const IoInfo& info = inputs[i];
    const std::string expected = plan->shapes.to_string(info.shape);
    const auto it = shapes.find(info.name);
    if (it == shapes.end()) {
      if (!is_implied(i, profile))
        throw Error(
            ErrorCode::invalid_argument,
            fmt::format("input '{}' has the dynamic shape {} and needs a shape", info.name, expected));
      result.shapes[i] = range.min;
      continue;
    }
    ++named;
    const Shape& given = result.shapes[i] = it->second;
    if (given.size() != range.min.size())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("input '{}' has rank {} ({}), but the given shape is {}", info.name,
                              range.min.size(), expected, to_string(given)));
    for (std::size_t a = 0; a < given.size(); ++a) {
      if (profile == kByShapes) {
        if (!is_allowed(*plan, i, a, given[a])) refuse_extent(*this, i, a, given, allowed_text(*plan, i, a));
      } else if (given[a] < range.min[a] || given[a] > range.max[a]) {
        refuse_extent(*this, i, a, given,
                      range.min[a] == range.max[a] ? fmt::format("{}", range.min[a])
                                                   : fmt::format("{} to {}", range.min[a], range.max[a]));
      }
    }
  }
  for (const auto& [name, shape] : shapes)
    if (named != shapes.size() &&
        std::none_of(inputs.begin(), inputs.end(), [&](const IoInfo& i) { return i.name == name; })) {
      std::string known;
      for (const IoInfo& i : inputs) known += (known.empty() ? "'" : ", '") + i.name + "'";
      throw Error(ErrorCode::invalid_argument, fmt::format("there is no input '{}'; the inputs are {}", name,
                                                           known.empty() ? "none" : known));
    }
  if (profile == kByShapes) {
    const auto found = find_profile(*plan, result.shapes);
    if (!found) refuse_together(*this, result.shapes);
    result.profile = *found;
  }
  return result;
}

}  // namespace headrace::runtime
