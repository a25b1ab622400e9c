// The precision that a plan computes in (headrace build --precision).
#pragma once

#include <set>

#include <headrace/types.h>

#include "graph/graph.h"

namespace headrace::compiler {

/// The graph in f16 or bf16 instead of f32 between its inputs and outputs, whose types stay; or, for tf32,
/// with leave to round the factors of its products. Nodes in `keep_f32` stay as they are.
Graph lower_precision(const Graph& graph, Precision precision, const std::set<NodeId>& keep_f32 = {});

}  // namespace headrace::compiler
