// Fractions of a unit, as figures have them, into typed time; and what every report says first.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <headrace/workload.h>

namespace headrace::workload {

inline std::chrono::nanoseconds from_us(double us) {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(us * 1e3 + 0.5));
}
inline std::chrono::nanoseconds from_ms(double ms) { return from_us(ms * 1e3); }
inline std::vector<std::chrono::nanoseconds> from_us(const std::vector<double>& us) {
  std::vector<std::chrono::nanoseconds> times;
  for (const double t : us) times.push_back(from_us(t));
  return times;
}

/// "device      sim (simulated machine); x 1x48"
std::string where(const WorkloadRun& run);

}  // namespace headrace::workload
