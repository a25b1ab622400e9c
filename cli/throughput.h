// The part of `bench` with many inferences in flight.
#pragma once

#include "bench.h"

namespace headrace::cli {

struct ThroughputOptions {
  SessionOptions session{};  ///< slots 0: chosen
  double seconds = 1;
  std::size_t iterations = SIZE_MAX;
};
struct Throughput {
  double per_s = 0;           ///< inferences
  std::size_t different = 0;  ///< results that are not `expected`
  int slots = 0;
  Json json;  ///< {"slots", "contexts", "submit_us", "one_by_one_us", "max_in_flight", "allocations"}
};

/// Inputs are written once into each of the session's slots: what is measured is the session, not the
/// caller's copies. Every result is compared.
Throughput measure_throughput(const Engine& engine, const ShapeMap& shapes,
                              const std::vector<NamedTensor>& inputs,
                              const std::vector<NamedTensor>& expected, const ThroughputOptions& options);

}  // namespace headrace::cli
