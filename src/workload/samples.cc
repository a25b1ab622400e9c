#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>
#include <headrace/workload.h>

#include "workload/units.h"

namespace headrace {

std::string workload::where(const WorkloadRun& run) {
  std::string text = fmt::format("device      {} ({})", run.device, run.model);
  const char* separator = "; ";
  for (const auto& [name, shape] : run.shapes) {
    text += fmt::format("{}{} {}", separator, name, fmt::join(shape, "x"));
    separator = ", ";
  }
  return text;
}

void Series::append(const Series& more) {
  if (more.name != name || more.run != run)
    throw Error(ErrorCode::misuse,
                fmt::format("samples of '{}' of run {} cannot be added to those of '{}' of run {}: compare "
                            "the two runs' summaries",
                            more.name, more.run, name, run));
  samples.insert(samples.end(), more.samples.begin(), more.samples.end());
}

namespace {
double percentile_of_sorted(const std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  const double at = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}
}  // namespace

double percentile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return percentile_of_sorted(values, q);
}

Summary summarize(const std::vector<std::chrono::nanoseconds>& samples) {
  std::vector<double> sorted;
  for (const std::chrono::nanoseconds t : samples) sorted.push_back(static_cast<double>(t.count()));
  std::sort(sorted.begin(), sorted.end());
  const auto at = [&](double q) {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(percentile_of_sorted(sorted, q) + 0.5));
  };
  return {.n = sorted.size(),
          .min = at(0),
          .median = at(0.5),
          .p10 = at(0.1),
          .p90 = at(0.9),
          .p99 = at(0.99),
          .max = at(1)};
}

std::string to_text(std::chrono::nanoseconds time) {
  const double ns = static_cast<double>(time.count());
  if (ns < 1e6) return fmt::format("{:.1f} us", ns * 1e-3);
  if (ns < 1e9) return fmt::format("{:.3f} ms", ns * 1e-6);
  return fmt::format("{:.2f} s", ns * 1e-9);
}

}  // namespace headrace
