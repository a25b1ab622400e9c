// The precision that a plan computes in (headrace build --precision).
#pragma once

#include "graph/graph.h"

namespace headrace::compiler {

/// The graph with f16 instead of f32 between its inputs and outputs, whose types stay.
Graph to_f16(const Graph& graph);

}  // namespace headrace::compiler
