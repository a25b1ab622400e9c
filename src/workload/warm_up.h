// When measuring may begin: the first inferences are slower (pages, caches, clocks), by how much nobody
// knows.
#pragma once

#include <chrono>
#include <cstddef>
#include <vector>

namespace headrace::workload {

/// Stable: the median of the last kWindow samples is within 5 % of that of the kWindow before them. Gives up,
/// and says so, after kMost.
class WarmUp {
 public:
  static constexpr std::size_t kWindow = 5, kMost = 100;
  void add(std::chrono::nanoseconds sample) { samples_.push_back(sample); }
  bool stable() const;
  bool over() const { return stable() || samples_.size() >= kMost; }
  int count() const { return static_cast<int>(samples_.size()); }

 private:
  std::vector<std::chrono::nanoseconds> samples_;
};

}  // namespace headrace::workload
