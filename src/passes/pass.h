// Graph -> Graph rewrites, all through one door.
//
// A pass is stateless, deterministic and idempotent: it returns true when it changed the graph, and running
// it again changes nothing. `run_passes` runs passes.inc in order until nothing changes (bounded rounds),
// verifies the graph after each pass in debug builds and tests, can skip passes by name, and names pass and
// node in every Error.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace headrace::passes {

using Evaluator = std::function<std::vector<HostTensor>(const Op&, std::span<const HostTensor* const>)>;

struct PassContext {
  Evaluator evaluate;                 ///< runs one operator on constants
  std::vector<std::string> disabled;  ///< names of passes to skip
  bool verify_each = false;
  std::size_t max_folded_bytes = std::size_t{1} << 28;  ///< constant folding makes no tensor larger than this
};

struct Pass {
  std::string_view name;
  bool (*run)(Graph&, const PassContext&);
};

std::span<const Pass> all_passes();  ///< passes.inc
void run_passes(Graph& graph, const PassContext& context);
/// One pass by name: for the text tests.
bool run_pass(std::string_view name, Graph& graph, const PassContext& context);

}  // namespace headrace::passes
