// The run-time half of headrace: Plan, Engine, Context.
//
//   hr::Engine  engine = hr::Engine::load("resnet18.plan");
//   hr::Context context{engine};
//   std::vector<hr::NamedTensor> out = context.infer({{"input0", view}});     // blocking, inline on this
//   thread
//
// Thread safety: Plan and Engine are immutable handles, free to copy and to use from any thread. A Context
// serves one thread at a time; a second one gets Error(misuse). For many inferences in flight use Session
// (session.h). Needs only the library headrace_runtime.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <headrace/error.h>
#include <headrace/tensor.h>
#include <headrace/types.h>

namespace headrace {

struct Plan;  // the data; see src/plan/plan.h
namespace runtime {
class Engine;
class Context;
}  // namespace runtime

/// A device that plans can be built for and run on, or one that cannot be used and why.
struct DeviceInfo {
  std::string name;                ///< "cpu", "cuda:0"
  std::string model;               ///< hardware model and instruction set
  std::string why_not;             ///< not empty: it cannot be used
  std::vector<std::string> notes;  ///< libraries found, and what a missing one costs
};
/// All devices of this build of headrace. Opens the GPUs' libraries: some milliseconds the first time.
std::vector<DeviceInfo> devices();

struct LoadOptions {
  std::string device;                              ///< "": the plan's own
  int threads = 0;                                 ///< CPU threads per inference; 0: all usable cores
  std::uint64_t memory_budget_bytes = UINT64_MAX;  ///< refuse plans (and shapes) that need more
  bool check_hazards = false;                      ///< watch every operand; reported by Engine::hazards()
};

/// A plan in memory: what `build` makes and `Engine::load` takes. Cheap to copy (shared, immutable).
class PlanFile {
 public:
  /// Verifies everything; Error(io), Error(invalid_plan), Error(out_of_memory).
  static PlanFile load(const std::string& path, std::uint64_t memory_budget_bytes = UINT64_MAX);
  static PlanFile from_bytes(std::span<const std::byte> bytes,
                             std::uint64_t memory_budget_bytes = UINT64_MAX);
  explicit PlanFile(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {}
  /// Atomic: an existing file stays untouched when anything fails.
  void save(const std::string& path) const;
  std::vector<std::byte> bytes() const;
  /// Everything a person may want to know, as JSON (schema: docs/cli.md, `inspect`).
  std::string describe_json() const;
  const std::shared_ptr<const Plan>& data() const { return plan_; }

 private:
  std::shared_ptr<const Plan> plan_;
};

/// An input or output of an engine.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::string shape_text;  ///< "Nx3x224x224"
  Shape shape;             ///< -1 where the extent is not fixed
  Shape min, opt, max;     ///< inputs: least min and greatest max of all profiles, opt of the first one
};

class Engine {
 public:
  static Engine load(const std::string& path, const LoadOptions& options = {});
  static Engine load(const PlanFile& plan, const LoadOptions& options = {});
  /// For those who made the engine themselves, on a device of their own.
  static Engine from(std::shared_ptr<const runtime::Engine> engine);
  const std::vector<TensorInfo>& inputs() const;
  const std::vector<TensorInfo>& outputs() const;
  /// Text that the model's file carried ("character", ...); empty when there is none of that key.
  std::string metadata(const std::string& key) const;
  std::string device() const;
  int threads() const;
  /// Unordered conflicting accesses found so far, one line each; empty without check_hazards.
  std::vector<std::string> hazards() const;
  const std::shared_ptr<const runtime::Engine>& data() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

/// One step's time in a profile of an inference.
struct LayerTime {
  std::string name, tactic;
  double us = 0;
};

class Context {
 public:
  explicit Context(const Engine& engine);
  ~Context();
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;

  /// Does all lazy work for these input shapes, so that `infer` with them neither allocates nor compiles.
  /// Returns the outputs' shapes.
  ShapeMap prepare(const ShapeMap& shapes);
  /// Blocking, on this thread. Every input by name, any order. Error(invalid_argument) names what does not
  /// fit.
  [[nodiscard]] std::vector<NamedTensor> infer(std::span<const NamedView> inputs);
  [[nodiscard]] std::vector<NamedTensor> infer(std::initializer_list<NamedView> inputs) {
    return infer(std::span(inputs.begin(), inputs.size()));
  }
  /// The same into the caller's memory, one view per output in the order of Engine::outputs(), of exactly the
  /// shapes that prepare returned. No allocation once the shapes are prepared.
  void infer(std::span<const NamedView> inputs, std::span<const TensorView> outputs);
  /// Time of each step at the shapes prepared last, on random inputs: median of `repeats`.
  std::vector<LayerTime> profile(int repeats);
  /// The device's own time of `repeats` whole inferences at the shapes prepared last, one by one, without the
  /// copies from and to host memory, microseconds; empty on devices without a clock of their own (CPUs).
  std::vector<double> device_times_us(int repeats);
  /// Kernels launched one by one for an inference at the shapes prepared last; 1 when they are one recording.
  std::size_t launches() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace headrace
