// Times one way to do one problem, under the conditions of use. Knows no graph.
//
// Contract: operands rotate through several copies, so that small problems are not timed on warm caches
// alone; warm-up runs, then samples until the budget is spent; the result is the median of what is left
// without outliers, rounded to a nanosecond. Equal problems are timed once per cache.
//   Tuner tuner(device, threads, cache);
//   double us = tuner.time(problem, tactic, choice, constants);
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "tuner/timing_cache.h"

namespace headrace::tuner {

struct TunerOptions {
  std::chrono::milliseconds budget{25};  ///< per candidate, after warm-up
  int min_samples = 3, max_samples = 15;
  std::size_t rotate_bytes = std::size_t{16} << 20;
};

/// One line that names everything a time depends on: operator, descriptions, which sources are constant.
std::string problem_text(const Problem& problem, std::span<const Constant> constants);

class Tuner {
 public:
  Tuner(DeviceRef device, int threads, TimingCache& cache, const TunerOptions& options = {});
  ~Tuner();
  /// `constants`: one per source, null where the source is no constant. Packs them as the tactic wants.
  /// Throws what the tactic throws.
  double time(const Problem& problem, const Tactic& tactic, const Choice& choice,
              std::span<const Constant> constants);
  std::size_t measured() const { return measured_; }  ///< candidates that the cache did not know

 private:
  double measure(Problem problem, const Tactic& tactic, const Choice& choice,
                 std::span<const Constant> constants);
  BufferRef buffer_of(std::size_t size, MemoryUse use, const std::function<void(std::byte*)>& write);
  double time_recorded(const Kernel& kernel, const std::vector<std::vector<Operand>>& operands,
                       const Operand& scratch);
  double time_directly(const Kernel& kernel, const std::vector<std::vector<Operand>>& operands,
                       const Operand& scratch);
  DeviceRef device_;
  std::unique_ptr<Stream> stream_;
  int threads_;
  std::string model_;
  TimingCache& cache_;
  TunerOptions options_;
  std::size_t measured_ = 0;
};

}  // namespace headrace::tuner
