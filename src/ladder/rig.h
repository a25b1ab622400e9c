// What a rung works with: an engine on its device, the batches in host memory, and the one who receives
// results.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/sched.h"
#include "ladder/model.h"
#include "ladder/place.h"

namespace headrace::ladder {

using TimePoint = sched::Clock::time_point;
inline double ms_between(TimePoint a, TimePoint b) {
  return std::chrono::duration<double, std::milli>(b - a).count();
}

/// Where rungs run: the real registry, or the simulated machine.
struct Machine {
  LadderOptions options;
  std::optional<sim::Spec> spec;  ///< set: simulated
  std::string device;             ///< that plans are compiled for
  const Registry* registry = nullptr;
  std::map<Variant, std::shared_ptr<const Plan>> plans;
  std::size_t upload_bytes = 0, download_bytes = 0;  ///< of a batch, as the model has it
};

/// Seeded numbers that a byte holds exactly, so that all variants compute on the same: (byte - 128) / 64 is
/// nearly normal; `narrow`: the byte itself. Integers from 0 to 9.
void fill_values(std::byte* data, std::size_t count, DType dtype, bool narrow, std::uint64_t seed);

/// Fills in the bytes of a batch.
void measure_io(Machine& machine);

/// Inputs or outputs of one batch: a buffer and an offset for each tensor.
struct Io {
  std::vector<BufferRef> buffers;
  std::vector<std::size_t> offsets, sizes;
  std::size_t size_bytes() const;
};

/// What post-processing makes of a batch: by row the first place, its probability, and how far ahead it is.
struct Result {
  std::vector<std::int64_t> top;
  std::vector<float> probability, margin;
  std::vector<std::vector<std::byte>> outputs;  ///< only in check runs
};

/// What one run of a rung has delivered. One thread adds at a time.
struct Delivery {
  explicit Delivery(int batches)
      : submitted(static_cast<std::size_t>(batches)),
        delivered(submitted.size()),
        results(submitted.size()),
        batch(submitted.size()) {
    for (std::size_t k = 0; k < batch.size(); ++k) batch[k] = static_cast<int>(k);
  }
  void submit(int k) { submitted[static_cast<std::size_t>(k)] = sched::Clock::now(); }
  void add(int k, Result result) {
    results[static_cast<std::size_t>(k)] = std::move(result);
    delivered[static_cast<std::size_t>(k)] = sched::Clock::now();
    if (k == mark_at && mark) mark();
    if (k == end_at && end) end();
  }
  std::vector<TimePoint> submitted, delivered;
  std::vector<Result> results;
  std::vector<int> batch;              ///< whose inputs it had; Rig::batch(k) unless a rung says otherwise
  bool keep = false;                   ///< whole outputs too
  sched::Clock::duration enqueuing{};  ///< host time of handing over, without waits
  int mark_at = -1, end_at = -1;       ///< batches whose delivery begins and ends the window
  std::function<void()> mark, end;
  std::uint64_t allocations_outside = 0;  ///< that a rung counted itself, where there should be none
};

class Rig {
 public:
  /// Makes the engine, and the batches in memory of that kind.
  Rig(const Machine& machine, Variant variant, MemoryKind batches, bool check_hazards);

  /// Takes the plan's profile by the shapes that it is prepared for.
  runtime::Context make_context() const {
    return runtime::Context(engine, runtime::kByShapes, engine->threads());
  }
  Io make_inputs(MemoryKind kind) const { return make(true, kind); }
  Io make_outputs(MemoryKind kind) const { return make(false, kind); }
  /// Inputs and outputs in one block of device memory.
  std::pair<Io, Io> make_block() const;
  const Io& batch(int k) const { return batches_[static_cast<std::size_t>(k) % batches_.size()]; }
  std::unique_ptr<Stream> stream(const std::string& name) const;
  EventRef event() const { return device().make_event(); }
  Device& device() const { return engine->device(); }
  /// The same memory, used for a smaller batch.
  Io rows_of(const Io& io, std::int64_t rows) const;

  static void copy(Stream& stream, const Io& dst, const Io& src);
  /// Binds and enqueues, timed.
  static void enqueue(runtime::Context& context, Stream& stream, const Io& in, const Io& out, Event& done,
                      Event* consumed, Delivery& delivery);
  /// Host copy of a batch into pinned memory.
  void stage(const Io& dst, const Io& src) const;
  /// Reads batch k's outputs, for as long as that takes, and counts it as delivered.
  void post(int k, const Io& outputs, std::int64_t rows, Delivery& delivery) const;
  void post(int k, std::span<const std::byte* const> outputs, std::int64_t rows, Delivery& delivery) const;
  std::int64_t rows() const { return machine.options.batch; }
  ShapeMap shapes(std::int64_t rows) const;
  /// For tests of the ladder itself: a batch is not what it is taken for.
  void swap_batches() { std::swap(batches_.front(), batches_.back()); }

  const Machine& machine;
  std::shared_ptr<sim::SimDevice> sim;  ///< null on real machines
  runtime::EngineRef engine;
  std::size_t steps = 0;  ///< kernels of one inference

 private:
  Io make(bool input, MemoryKind kind) const;
  std::vector<std::size_t> sizes(bool input) const;

  std::unique_ptr<Registry> registry_;        ///< on the simulated machine
  std::vector<TensorDesc> inputs_, outputs_;  ///< of the full batch
  std::vector<Io> batches_;
};

}  // namespace headrace::ladder
