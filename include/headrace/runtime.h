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
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <headrace/device.h>
#include <headrace/error.h>
#include <headrace/input_format.h>
#include <headrace/tensor.h>
#include <headrace/types.h>

namespace headrace {

class DeviceTensor;
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
/// What `build` takes where no device is named: the first GPU, when it and its libraries can be used, else
/// the CPU.
struct DefaultDevice {
  std::string name;  ///< "cuda:0", "cpu"
  std::string why;   ///< "a usable GPU, NVIDIA H200, sm_90"; "no usable GPU: no CUDA driver: ..."
};
DefaultDevice default_device();

struct LoadOptions {
  std::string device;                              ///< "": the plan's own
  int threads = 0;                                 ///< CPU threads per inference; 0: all usable cores
  std::uint64_t memory_budget_bytes = UINT64_MAX;  ///< refuse plans (and shapes) that need more
  bool check_hazards = false;                      ///< watch every operand; reported by Engine::hazards()
  bool trace = false;                              ///< note when all work runs; Engine::save_trace()
  int max_recordings = 16;            ///< GPU: recordings (CUDA graphs) of each context; 0: launch by launch
  bool foreign_plans = false;         ///< take plans that were tuned on another GPU model, with a warning
  std::optional<Precision> expect{};  ///< refuse plans that were built in another precision
};

/// What a trace shows: milliseconds from the first to the last piece of device work, in how many of them the
/// engines were busy, and in how many two or more of them at once.
struct TraceReport {
  double total_ms = 0, upload_ms = 0, compute_ms = 0, download_ms = 0, overlap_ms = 0;
  std::uint64_t spans = 0, dropped = 0;  ///< in the file, and beyond the 200,000 that a trace keeps
};

/// Bytes of one purpose.
struct MemoryFigure {
  std::uint64_t now = 0, high_water = 0;
};
/// A GPU's memory behind the figures: freed blocks are kept for the next allocation, within the limit.
struct PoolFigure {
  std::uint64_t in_use = 0, cached = 0, limit = 0;  ///< limit: of what is cached; 0: there is no pool
  std::uint64_t high_water = 0;                     ///< of in_use + cached
  std::uint64_t system_allocations = 0;             ///< calls that reached the driver
};
/// What an engine holds and has done so far, all its contexts together.
struct EngineStatistics {
  MemoryFigure weights, activations, io, workspace, recordings;
  PoolFigure device_pool, pinned_pool;
  std::uint64_t allocations = 0;     ///< of the device's memory, of any kind
  std::uint64_t waiting_copies = 0;  ///< copies of pageable memory, for which the host waited
  std::uint64_t prepared = 0;        ///< shapes made ready
  std::uint64_t fallbacks = 0;       ///< layers that run with another tactic than the plan's
  std::uint64_t recordings_made = 0, recordings_dropped = 0;  ///< dropped: for max_recordings
  std::uint64_t recordings_failed = 0;                        ///< shapes that run launch by launch
  std::string recordings_failed_why;                          ///< of the last of these
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
  std::optional<InputFormat> format{};  ///< inputs: what the plan converts; dtype and shape are the format's
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
  std::string device() const;        ///< that it runs on: "cpu", "cuda:0"
  std::string device_model() const;  ///< "NVIDIA H200, sm_90"
  int threads() const;
  Precision precision() const;  ///< that the plan was built in
  EngineStatistics statistics() const;
  /// Clock of the GPU's processors at this moment, MHz; nothing where it cannot be read.
  std::optional<double> clock_mhz() const;
  /// Unordered conflicting accesses found so far, one line each; empty without check_hazards.
  std::vector<std::string> hazards() const;
  /// Writes the timeline so far in the trace event format of Chrome and Perfetto (replacing `path` at once):
  /// a track for each stream and each host thread, a span for each launch, replay, copy and host range, with
  /// the inference's number where it is known. Waits for the work. Error(misuse) without LoadOptions::trace.
  TraceReport save_trace(const std::string& path) const;
  const std::shared_ptr<const runtime::Engine>& data() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

/// One layer of a profile.
struct LayerTime {
  std::string name;                ///< the first ONNX node, or the operator
  std::vector<std::string> nodes;  ///< all ONNX nodes that it computes
  std::string tactic, choice;
  std::vector<std::string> inputs, outputs;  ///< "f16[8x64x56x56, channels_last]"
  DType dtype = DType::f32;                  ///< of its first input
  double us = 0;                             ///< median
  double bytes = 0, flops = 0;               ///< that it has to move and to compute at least
};

/// Microseconds, one entry per repeat.
struct CopyTimes {
  std::vector<double> upload, download;
};

struct EnqueueOptions {
  /// Not null: becomes an event after which the bound inputs may be overwritten, before the outputs are done.
  DeviceEvent* input_consumed = nullptr;
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

  // On streams and memory of the caller's own: device.h. Every call refuses what does not fit with an Error
  // that names the tensor.
  /// Of an input, for the next `prepare()`. Error(invalid_argument) for an unknown name.
  void set_shape(std::string_view input, const Shape& shape);
  /// Values of an input that shapes depend on (Reshape's, given at run time): `prepare()` asks for them.
  void set_value(std::string_view input, const ConstTensorView& value);
  /// Memory of an input or output for what is enqueued from now on, dense, of at least the prepared size. It
  /// is kept alive until it is replaced and no work uses it. Error(invalid_argument): another element type.
  /// Error(misuse): freed, of another device, misaligned, or a read-only span for an output.
  template <class T>
  void bind(std::string_view tensor, const DeviceSpan<T>& memory) {
    bind_memory(tensor, memory.range(), dtype_of<T>(), !std::is_const_v<T>);
  }
  /// The same for a tensor (dlpack.h), whose shape is set where it is an input's.
  void bind(std::string_view tensor, const DeviceTensor& memory);
  /// All lazy work for the shapes that were set, so that `enqueue` neither allocates, compiles, plans nor
  /// synchronises; cheap when it was done before. With all memory bound, a device that records (GPUs) makes
  /// the inference one launch for this memory; the four latest sets of bindings are kept. Returns the
  /// outputs' shapes.
  ShapeMap prepare();
  /// One inference onto the stream, after what was submitted there; the event is its end. Inferences of one
  /// context run one after the other, on whatever streams. Error(misuse) when shapes are not prepared (again
  /// after set_shape or infer), or memory is unbound, too small, overlaps an output, or another device's.
  [[nodiscard]] DeviceEvent enqueue(DeviceStream& stream, const EnqueueOptions& options = {});
  /// Time of each step at the shapes prepared last, on random inputs: median of `repeats`.
  std::vector<LayerTime> profile(int repeats);
  /// The device's own time of `repeats` whole inferences at the shapes prepared last, one by one, without the
  /// copies from and to host memory, microseconds; empty on devices without a clock of their own (CPUs).
  std::vector<double> device_times_us(int repeats);
  /// How long the host takes to submit an inference from and to pinned memory, `repeats` times, microseconds;
  /// empty where submitting is running (CPUs).
  std::vector<double> enqueue_times_us(int repeats);
  /// The device's own time of copying the inputs up and the outputs down, from and to pinned memory, at the
  /// shapes prepared last; empty where device memory is host memory.
  CopyTimes copy_times_us(int repeats);
  /// Kernels launched one by one for an inference at the shapes prepared last; 1 when they are one recording.
  std::size_t launches() const;

 private:
  struct State;
  void bind_memory(std::string_view tensor, const detail::Range& memory, DType dtype, bool writable);
  std::unique_ptr<State> state_;
};

}  // namespace headrace
