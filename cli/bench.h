// Shared by the parts of `headrace bench`.
#pragma once

#include <vector>

#include "cli.h"

namespace headrace::cli {

Json latency_json(const std::vector<double>& ms);
/// n, min, median, p90
Json times_json(const std::vector<double>& us);

/// Flags that say what a workload runs on.
struct TargetFlags {
  WorkloadTarget target;
  std::vector<std::string> shapes;
  void add_to(CLI::App& command);
  WorkloadTarget resolve() const;
};
/// {"run", "started", "device", ...}
Json run_json(const WorkloadRun& run);
/// {"n", "min_us", "median_us", ...}
Json summary_json(const std::vector<std::chrono::nanoseconds>& samples);
/// Its summary, raw samples and the run that they are of; or {"name", "why_not"}.
Json series_json(const Series& series);

/// Bytes by purpose, and on GPUs the pools and recordings.
Json memory_json(const EngineStatistics& statistics);
void print_memory(const EngineStatistics& statistics);

/// Layers against what this machine gives at most, measured in the same run.
struct LayerReport {
  std::vector<LayerTime> layers;
  Roofline roofline;
  double sum_us = 0, whole_us = 0;  ///< whole: of an inference, by the same clock
  Json json() const;
  void print() const;
};
LayerReport profile_layers(const Engine& engine, Context& context, double whole_us);

}  // namespace headrace::cli
