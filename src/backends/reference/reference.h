// The reference backend's operators: one function each, from a resolved problem to its loops.
//
// Contract: `make` may allocate and precompute; what it returns is immutable, and its run neither allocates
// nor keeps state. Semantics: core/op.h, core/pointwise.h, and ONNX's specification. `refuse` says why not,
// or nothing.
#pragma once

#include <optional>

#include "backends/reference/loops.h"

namespace headrace::reference {

#define REFERENCE_TACTIC(Type, id) Work make(const Type& op, const Problem& problem);
#include "backends/reference/tactics.inc"
#undef REFERENCE_TACTIC

/// The tensor descriptions by name, for messages: "Conv(f32[1x3x8x8], ...) -> f32[...]".
std::string describe(const Problem& problem);

}  // namespace headrace::reference
