// What an Engine holds, for engine.cc, context.cc and tests. Immutable after creation but for the cache and
// counters.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/sched.h"
#include "plan/placement.h"
#include "runtime/engine.h"
#include "runtime/kernel_cache.h"

namespace headrace::runtime {

class EngineStats {
 public:
  std::atomic<std::uint64_t> fallbacks{0};   ///< steps that ran with another tactic than the plan's
  std::atomic<std::uint64_t> prepared{0};    ///< shape keys that did not come from a context's cache
  std::atomic<std::uint64_t> recorded{0};    ///< recordings made, again after a change of memory too
  std::atomic<std::uint64_t> dropped{0};     ///< recordings given up for EngineOptions::max_recordings
  std::atomic<std::uint64_t> unrecorded{0};  ///< times that a recording device could not record a shape key

  void count_unrecorded(std::string why) {
    unrecorded.fetch_add(1, std::memory_order_relaxed);
    sched::LockGuard lock(mutex_);
    unrecorded_why_ = std::move(why);
  }
  /// Why the last of `unrecorded` was not recorded; empty when there is none.
  std::string unrecorded_why() const {
    sched::LockGuard lock(mutex_);
    return unrecorded_why_;
  }

 private:
  mutable sched::Mutex mutex_{"engine.stats"};
  std::string unrecorded_why_;
};

/// What the hazard checker found. Shared with the checker, which may outlive the engine.
class HazardLog {
 public:
  void add(std::string line) {
    sched::LockGuard lock(mutex_);
    lines_.push_back(std::move(line));
  }
  std::vector<std::string> lines() const {
    sched::LockGuard lock(mutex_);
    return lines_;
  }

 private:
  mutable sched::Mutex mutex_{"engine.hazards"};
  std::vector<std::string> lines_;
};

struct InputShapes {
  std::vector<Shape> shapes;  ///< by input
  std::size_t profile = 0;
};

struct Engine::State {
  explicit State(std::size_t kernel_entries) : kernels(kernel_entries) {}

  std::shared_ptr<const Plan> plan;
  const Backend* backend = nullptr;
  const Backend* reference = nullptr;  ///< null when the backend's memory is no host memory
  DeviceRef device;
  std::shared_ptr<Tracer> tracer;  ///< null without EngineOptions::trace
  std::string device_name;         ///< "cuda:0"
  std::shared_ptr<HazardLog> hazards = std::make_shared<HazardLog>();
  int threads = 1;
  std::uint64_t memory_budget_bytes = UINT64_MAX;
  std::size_t max_recordings = SIZE_MAX;
  BufferRef weights;  ///< null when the plan has none
  std::vector<IoInfo> inputs, outputs;
  std::vector<Op> ops;                              ///< one per step
  std::vector<std::vector<const Tactic*>> tactics;  ///< by profile, then step
  std::vector<std::size_t> value_symbols;           ///< symbols whose first source is a value
  mutable KernelCache kernels;
  mutable EngineStats stats;

  /// The extents of all inputs (of `shapes`, or the only possible ones) and the profile that serves them:
  /// `profile`, or the nearest one for kByShapes. Checks names, ranks and ranges.
  InputShapes input_shapes(const ShapeMap& shapes, std::size_t profile) const;
  /// Whether an input has one possible shape in the profile (kByShapes: in all of them).
  bool is_implied(std::size_t input, std::size_t profile) const;
  /// Values of the plan's symbols; checks that sources which must agree do.
  std::vector<std::int64_t> symbol_values(
      std::span<const Shape> shapes, const std::map<std::string, HostTensor, std::less<>>& host_values) const;
};

/// Everything that depends on the shapes but not on a context's memory: made once per shape key.
struct ResolvedStep {
  std::shared_ptr<const Kernel> kernel;  ///< null: nothing to do (no output has an element)
  const Tactic* tactic = nullptr;        ///< that made the kernel
  std::optional<Problem> problem;        ///< only where the kernel may lose a NaN
};
struct ResolvedPlan {
  Placement placement;
  std::vector<ResolvedStep> steps;
  std::vector<std::uint64_t> arena_offsets;  ///< by tensor: of roots that lie in the arena
  std::uint64_t arena_bytes = 0, workspace_bytes = 0;
};
/// Error(invalid_plan) when the plan contradicts itself at these values; Error(out_of_memory) above the
/// budget.
ResolvedPlan resolve_plan(const Engine::State& engine, std::size_t profile,
                          std::span<const std::int64_t> symbol_values, int threads);

/// Problem of step `index`, reading `inputs`, under a placement; re-infers the output types and demands that
/// they are those of the plan.
Problem make_problem(const Engine::State& engine, std::size_t index, std::span<const std::int32_t> inputs,
                     const Placement& placement, std::span<const std::int64_t> values, int threads);

}  // namespace headrace::runtime
