// Finds the fastest way to do one problem, under the conditions of use. Knows no graph.
//
// Method: the tactics' candidates are made ahead by several threads and looked at quickly, one after the
// other (bench.h); then each tactic is asked what else to try beside its best, for some rounds; then the few
// best are timed carefully against each other, interleaved. Within the noise that is left, the order of
// preference decides. Contract: equal problems are searched once per cache, and a search that the cache knows
// gives the same answer without asking tactics or machine. One thread at a time.
//   Tuner tuner(device, threads, cache);
//   Verdict best = tuner.choose(problem, tactics, constants);
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "base/sched.h"
#include "tuner/bench.h"
#include "tuner/timing_cache.h"

namespace headrace::tuner {

struct TunerOptions {
  BenchOptions bench;
  bool full = false;  ///< everything that tactics know to try, however long it takes
  std::size_t max_workspace_bytes = std::size_t{256} << 20;  ///< candidates that want more are left out
  int make_threads = 0;                                      ///< 0: as many as make sense
  std::function<void()> poll;                                ///< called between candidates; may throw
};

/// One line that names everything a time depends on: operator, descriptions, which sources are constant.
std::string problem_text(const Problem& problem, std::span<const Constant> constants);

struct Trial {
  const Tactic* tactic = nullptr;
  Choice choice;
  double us = 0;
};

struct Verdict {
  const Tactic* tactic = nullptr;  ///< null: nothing could be timed
  Choice choice;
  double us = 0;              ///< 0: there was nothing to choose from, and nothing was timed
  std::vector<Trial> trials;  ///< the best dozen, fastest first
  std::vector<std::pair<const Tactic*, std::string>> failed;  ///< where all of a tactic's choices failed: why
};

/// A question to come: as `choose` will be asked it, without the constants' values.
struct Announced {
  Problem problem;
  std::vector<const Tactic*> tactics;
  std::string text;  ///< problem_text()
};

class Tuner {
 public:
  Tuner(DeviceRef device, int threads, TimingCache& cache, const TunerOptions& options = {});
  ~Tuner();
  /// `tactics`: in order of preference, none of which refuses the problem. `constants`: one per source, null
  /// where the source is no constant. Throws what `poll` throws, and Error(device) when the device has died.
  Verdict choose(const Problem& problem, std::span<const Tactic* const> tactics,
                 std::span<const Constant> constants);
  /// Microseconds of one way, where there is nothing to choose from. Throws what stands in its way.
  double time(const Problem& problem, const Tactic& tactic, const Choice& choice,
              std::span<const Constant> constants);
  /// Problems that `choose` will be asked about, in this order: what is slow to compile for them is compiled
  /// meanwhile by threads of the tuner's own (where kernels are timed by the device's clock). Once per tuner.
  void announce(std::vector<Announced> problems);
  std::size_t measured() const { return measured_; }  ///< candidates that the cache did not know

 private:
  class Search;
  SearchKey search_key(const std::string& text, std::span<const Tactic* const> tactics) const;
  DeviceRef device_;
  std::unique_ptr<Stream> stream_;
  Fillings fillings_;
  int threads_;
  std::string model_;
  TimingCache& cache_;
  TunerOptions options_;
  std::size_t measured_ = 0;
  std::vector<Announced> announced_;
  std::atomic<std::size_t> next_announced_{0};
  std::atomic<bool> stop_{false};
  std::vector<sched::Thread> compilers_;
};

}  // namespace headrace::tuner
