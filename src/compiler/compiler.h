// The driver of the build: import -> passes -> selection of tactics and layouts -> views -> Plan.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <headrace/input_format.h>

#include "backends/backend.h"
#include "graph/graph.h"
#include "plan/plan.h"
#include "tuner/timing_cache.h"

namespace headrace::compiler {

struct InputRange {
  std::string
      input;  ///< an input's name, or "*": min/opt/max have one extent, the batch of every dynamic input
  Shape min, opt, max;
};

struct Options {
  std::string device = "cpu";
  Precision precision = Precision::fp32;
  std::vector<std::vector<InputRange>>
      profiles;       ///< empty: one that allows every extent from 1 to 2^20 (opt 1)
  int opt_level = 1;  ///< 0: tactics by rule; >= 1: by timing
  int threads = 0;
  std::string timing_cache;  ///< file; read if it exists, merged and written back atomically
  std::uint64_t memory_budget_bytes = UINT64_MAX;
  bool verbose = false;
  std::function<bool(std::string_view stage, double done)>
      progress;                                      ///< return false to cancel: Error(cancelled)
  std::vector<std::string> extra_outputs;            ///< tensor names to expose, for verify --per-layer
  std::vector<std::string> disabled_passes;          ///< names in passes.inc
  std::set<NodeId> keep_f32;                         ///< nodes of the optimised graph, whatever the precision
  std::map<std::string, InputFormat> input_formats;  ///< by name; "*": every other float input with 4 axes
  tuner::TimingCache* timings = nullptr;             ///< shared by several builds; null: of this one
};

/// Inputs take the caller's data, and the graph converts them. Error(invalid_argument) when a format does not
/// fit.
void apply_input_formats(Graph& graph, const std::map<std::string, InputFormat>& formats);
/// The graph after input formats and all passes, in f32: what `keep_f32` refers to.
Graph optimise(Graph graph, const Options& options);
/// Selection on an optimised graph.
Plan compile_optimised(Graph graph, const Registry& registry, const Options& options);
/// Error(unsupported) when the device has no good kernels for the precision; Error(invalid_argument) when
/// there is no such device.
void check_device(const Registry& registry, const Options& options);

/// Runs all passes and selection on an imported graph. Deterministic for equal graph, options and timing
/// cache.
Plan compile(Graph graph, const Registry& registry, const Options& options);

}  // namespace headrace::compiler
