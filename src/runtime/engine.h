// Engine and Context: a plan made executable.
//
// Engine: immutable after creation, shared between threads; holds device, weights, and one bounded kernel
// cache. Context: bindings, activations and prepared shape keys over one Engine; one host thread at a time
// (checked: a second thread gets Error(misuse)). `prepare` does all lazy work for a shape key (resolved
// shapes, arena offsets, kernels); `enqueue` neither allocates, compiles, plans nor synchronises.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <headrace/types.h>

#include "backends/backend.h"
#include "device/device.h"
#include "device/tracer.h"
#include "plan/plan.h"
#include "runtime/layer_cost.h"

namespace headrace::runtime {

struct IoInfo {
  std::string name;
  DType dtype = DType::f32;
  Dims shape;  ///< symbolic; Engine::plan().shapes prints it
};

/// Instead of a profile's index: the one that find_profile (plan/profiles.h) takes for the shapes.
inline constexpr std::size_t kByShapes = SIZE_MAX;

struct EngineOptions {
  std::string device;  ///< "", or a device string that must match the plan's backend
  int threads = 0;     ///< 0: all usable cores
  std::uint64_t memory_budget_bytes = UINT64_MAX;
  bool check_hazards = false;  ///< wraps the device in the hazard checker
  bool trace = false;          ///< wraps the device in the tracer
  std::size_t kernel_cache_entries = 4096;
  /// Recordings (CUDA graphs) that one context keeps, of the shapes used last; 0: everything runs launch by
  /// launch. Shapes whose recording was given up are recorded again when they are prepared again.
  std::size_t max_recordings = 16;
  /// Where choices are a GPU's, a plan that was tuned on another model is refused without this.
  bool foreign_plans = false;
};

class Engine {
 public:
  static std::shared_ptr<const Engine> create(std::shared_ptr<const Plan> plan, const Registry& registry,
                                              const EngineOptions& options);
  ~Engine();
  const Plan& plan() const;
  Device& device() const;
  int threads() const;
  /// Hazards found so far, one line each; empty without check_hazards.
  std::vector<std::string> hazards() const;
  Tracer* tracer() const;  ///< null without `trace`
  std::span<const IoInfo> inputs() const;
  std::span<const IoInfo> outputs() const;
  /// Checks dtype-free facts: names, ranks, profile ranges; Error(invalid_argument) naming input and range.
  /// Unnamed inputs with one possible shape may be left out.
  void check_shapes(const ShapeMap& shapes, std::size_t profile = kByShapes) const;
  struct State;
  State& state() const { return *state_; }

 private:
  Engine();
  std::unique_ptr<State> state_;
};
using EngineRef = std::shared_ptr<const Engine>;

/// Where the tensors of one side lie in one block of memory.
struct IoLayout {
  std::vector<std::size_t> offsets;
  std::size_t size_bytes = 0;
};

/// Shapes and byte sizes of one prepared key. Stable address while the context lives.
struct Prepared {
  std::vector<TensorDesc> inputs, outputs;  ///< dense, plain: the I/O contract
  std::uint64_t arena_bytes = 0, workspace_bytes = 0;
  std::size_t profile = 0;  ///< the plan's profile that serves it
  /// Host memory that is bound with these layouts goes up and down in one copy each, however many tensors.
  IoLayout input_layout, output_layout;
  std::uint64_t uses = 0;  ///< times that `prepare` gave it; 1: it has just been made
};

/// The streams of one inference, which may be one and the same. With three, copies and computation of
/// successive inferences overlap. Uploads and downloads are used for bound host memory only.
struct Streams {
  Stream& upload;
  Stream& compute;
  Stream& download;
};

struct EnqueueOptions {
  /// Recorded when the bound inputs may be overwritten: after the upload, or after the last step that reads
  /// one.
  Event* input_consumed = nullptr;
  /// The inputs that lie in device memory are ready after it; what failed before it fails this inference.
  Event* inputs_ready = nullptr;
  /// What failed on these streams before does not touch this inference (Stream::start_item). Not for streams
  /// of somebody who computes the inputs on them.
  bool independent = true;
};

struct StepTime {
  std::size_t step = 0;
  double us = 0;
  std::vector<TensorDesc> srcs, dsts;
  LayerCost cost;
};

struct CopyTime {
  double upload_us = 0, download_us = 0;
};

class Context {
 public:
  /// `profile`: the one to use, or kByShapes: chosen by `prepare` for each shape key.
  /// `threads`: team of the streams that its work will run on, for which kernels are made; 0: the engine's.
  /// `ring`: device copies of inputs and outputs, where device memory is apart: 2 let copies overlap.
  explicit Context(EngineRef engine, std::size_t profile = kByShapes, int threads = 0, int ring = 1);
  ~Context();
  Context(Context&&) noexcept;

  /// All lazy work for these input shapes (and, for inputs that shape arithmetic reads, their values:
  /// `host_values`, by input name). Returns the same object again for the same key. Bounded LRU of keys.
  const Prepared& prepare(const ShapeMap& shapes,
                          const std::map<std::string, HostTensor, std::less<>>& host_values = {});
  /// Binds memory (of at least the prepared sizes) for the next enqueues; kept alive until replaced and
  /// executed.
  void bind_input(std::size_t index, BufferRef buffer, std::size_t offset = 0);
  void bind_output(std::size_t index, BufferRef buffer, std::size_t offset = 0);
  /// Records the launches of the key prepared last on the device memory that is bound now, where the device
  /// records, so that an enqueue with these bindings is one replay. Nothing where host memory is bound or
  /// that was done before. A few sets of bindings are kept, with their memory, the latest ones.
  void record_bound();
  /// Enqueues the key prepared last. `done` is recorded at the end. Error(misuse) when something is
  /// unprepared or unbound; when it throws, nothing of it is left in flight.
  void enqueue(const Streams& streams, Event& done, const EnqueueOptions& options = {});
  void enqueue(Stream& stream, Event& done, const EnqueueOptions& options = {}) {
    enqueue(Streams{stream, stream, stream}, done, options);
  }
  /// Runs step by step on an inline stream with timing (median of `repeats`): for bench --profile and
  /// inspect.
  std::vector<StepTime> profile_steps(Stream& stream, int repeats);
  /// Time of whole inferences by the device's clock, without copies; empty where it has none. The memory
  /// bound before stays bound, and is not touched when it is staged.
  std::vector<double> device_times_us(Stream& stream, int repeats);
  /// Time that the host takes to submit an inference, from and to pinned memory of its own; empty where
  /// device memory is host memory. The memory bound before stays bound.
  std::vector<double> enqueue_times_us(Stream& stream, int repeats);
  /// Time of the copies of all inputs and of all outputs, one copy each, from and to pinned memory; empty
  /// where device memory is host memory.
  std::vector<CopyTime> copy_times_us(Stream& stream, int repeats);
  /// Submissions of one enqueue of the shapes prepared last, copies apart.
  std::size_t launches() const;
  /// The plan's profile that serves the shapes prepared last; 0 before any.
  std::size_t used_profile() const;
  const Engine& engine() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace headrace::runtime
