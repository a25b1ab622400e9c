// A plan of less than f32, checked against f32 after it was built, and moved back towards f32 until it is
// close enough.
//
// Contract: the reference is an f32 plan of the CPU backend (of the plan's own device where the CPU lacks a
// kernel), run on the same inputs; deviations are the largest error of a tensor over the reference's largest
// number. With a budget the layers that add most error for the least work go back to f32, in at most
// kMaxBuilds builds; Error(unsupported) names the best that was reached.
//   Plan plan = api::build_checked(graph, registry, options, build_options);
#pragma once

#include <headrace/build.h>

#include "compiler/compiler.h"

namespace headrace::api {

inline constexpr int kMaxBuilds = 12;

/// `graph`: optimised. Builds, checks as `wanted` says, and fills wanted.accuracy.
Plan build_checked(const Graph& graph, const Registry& registry, compiler::Options options,
                   const BuildOptions& wanted);

}  // namespace headrace::api
