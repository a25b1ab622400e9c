// Shared by the parts of `headrace bench`.
#pragma once

#include <vector>

#include "cli.h"

namespace headrace::cli {

/// 0 of no values.
double percentile(std::vector<double> values, double q);
Json latency_json(const std::vector<double>& ms);
/// n, min, median, p90
Json times_json(const std::vector<double>& us);

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
