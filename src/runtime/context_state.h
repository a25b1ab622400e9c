// What a Context holds, for context.cc and profile.cc.
#pragma once

#include <algorithm>
#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <headrace/error.h>

#include "base/busy.h"
#include "runtime/engine.h"
#include "runtime/engine_state.h"
#include "runtime/io.h"

namespace headrace::runtime {

using HostValueMap = std::map<std::string, HostTensor, std::less<>>;

inline constexpr const char* kContext = "a Context";

struct Binding {
  BufferRef buffer;
  std::size_t offset = 0;
  bool operator==(const Binding&) const = default;
};

/// All launches of a shape key on memory that the user bound.
struct BoundRecording {
  std::vector<Binding> inputs, outputs;  ///< keep the memory alive that the recording names
  std::unique_ptr<Recording> recording;
};

constexpr std::size_t kNoStep = SIZE_MAX;  ///< of a launch that is no step of the plan

struct Launch {
  std::shared_ptr<const Kernel> kernel;
  std::size_t first = 0, count = 0;  ///< range of Entry::operands
  std::size_t workspace_bytes = 0;
  std::size_t step = 0;
};

/// An operand that lies in bound memory.
struct Patch {
  std::size_t operand = 0, io = 0, offset = 0;
  enum Kind : std::uint8_t { input, output } kind = input;
};

struct ValueRead {
  SymbolSource source;
  std::int64_t value = 0;
  std::size_t source_input() const { return static_cast<std::size_t>(source.input); }
};

/// One shape key, prepared.
struct Entry {
  std::vector<Shape> shapes;           ///< of all inputs
  std::vector<bool> implied;           ///< inputs whose shape may be left out
  std::vector<ValueRead> value_reads;  ///< of the key: values of inputs that shapes depend on
  std::unique_ptr<Prepared> prepared;
  std::vector<std::int64_t> values;  ///< of the plan's shape program
  std::vector<std::size_t> input_bytes, output_bytes;
  std::vector<Launch> launches;
  std::vector<Operand> operands;
  std::vector<Patch> patches;
  std::vector<std::size_t> arena_operands;
  Buffer* arena = nullptr;       ///< that `operands` point into
  std::uint64_t generation = 0;  ///< of the context's memory that `recordings` were made for
  /// All launches on the inputs and outputs of each slot of the ring; empty: none.
  std::vector<std::unique_ptr<Recording>> recordings;
  std::vector<BoundRecording> bound;  ///< oldest first
  std::ptrdiff_t last_input_launch = -1;
};

/// Device memory of one inference's inputs and outputs, where bound memory is host memory. Inferences take
/// the slots in turn, so that the next one's upload and the last one's download overlap with the computation.
/// The events order the streams of an inference, and with those of the slot's next one.
struct RingSlot {
  BufferRef inputs, outputs;   ///< laid out as Prepared::input_layout and output_layout say
  EventRef filled, consumed;   ///< the inputs are uploaded; no launch reads them any more
  EventRef computed, emptied;  ///< the outputs are written; they are downloaded
  bool used = false;           ///< `consumed` and `emptied` were recorded
};

struct Context::State {
  static constexpr std::size_t kMaxEntries = 64;
  static constexpr std::size_t kMaxBound = 4;     ///< recordings of bound memory, of one shape key
  static constexpr std::size_t kMaxRetired = 64;  ///< replaced bindings; then the context waits

  State(EngineRef engine, std::size_t profile, int threads, int ring);
  bool matches(const Entry& entry, const ShapeMap& shapes, const HostValueMap& values) const;
  void make_entry(const ShapeMap& shapes, const HostValueMap& host_values);
  /// Operands and launches of a key that the profile `used` serves.
  void add_launches(Entry& entry, const ResolvedPlan& resolved, std::size_t used) const;
  /// Memory of the context for this key: nothing is done when it is there.
  void fit(const Entry& entry);
  void grow(std::uint64_t arena_bytes, std::uint64_t workspace_bytes);
  void grow_ring(const Entry& entry);
  /// Whether this binding is host memory that the device cannot compute on.
  bool is_staged(const Binding& binding) const;
  double recorded_us(Stream& stream, const Entry& entry, const Launch& launch, int repeats) const;
  bool all_staged(const std::vector<Binding>& bindings) const {
    return std::all_of(bindings.begin(), bindings.end(),
                       [this](const Binding& b) { return !b.buffer || is_staged(b); });
  }
  bool any_staged(const std::vector<Binding>& bindings) const {
    return std::any_of(bindings.begin(), bindings.end(), [this](const Binding& b) { return is_staged(b); });
  }
  /// Makes the recordings of an entry, on devices that can.
  void record(Entry& entry);
  /// Keeps the recordings of the `keep` entries used last. Nothing is in flight.
  void drop_recordings(std::size_t keep);
  enum class Direction : std::uint8_t { up, down };
  /// Copies between bound host memory and an arena of the ring: one copy where the bound memory has the
  /// arena's layout, else one for each tensor.
  void copy_io(Stream& stream, Direction direction, const std::vector<Binding>& bindings,
               const std::vector<std::size_t>& bytes, const IoLayout& layout, Buffer& arena) const;
  /// The recording that does what is bound now, or null.
  Recording* find_recording(const Entry& entry) const;
  void compute(Stream& stream, const Entry& entry, Event* input_consumed, Event* slot_consumed) const;
  void submit(const Streams& streams, Event& done, const EnqueueOptions& options, Entry& entry,
              RingSlot* slot);
  void activate(Entry& entry);
  void bind(std::vector<Binding>& bindings, const char* what, std::size_t index, BufferRef buffer,
            std::size_t offset);
  void check_binding(const Binding& binding, std::size_t bytes, const char* what, std::size_t index) const;
  /// Points the entry's operands at bound memory, or at `slot` where that is host memory.
  void patch(Entry& entry, const std::vector<Binding>& in, const std::vector<Binding>& out,
             const RingSlot* slot) const;
  void patch_ring(Entry& entry, const RingSlot& slot) const;  ///< all of them at `slot`
  void launch(Stream& stream, const Entry& entry, const Launch& launch) const;
  void note_in_flight(const Streams& streams);
  void give_up(const Streams& streams) noexcept;  ///< waits for what was submitted of a failed enqueue
  void drain() noexcept;                          ///< waits for all that was enqueued

  EngineRef engine;
  std::size_t profile = kByShapes;
  int threads = 1;
  std::atomic<bool> busy{false};
  std::list<Entry> entries;  ///< most recently used first
  Entry* current = nullptr;
  std::vector<Binding> inputs, outputs;
  std::vector<BufferRef> retired;  ///< replaced bindings that queued work may still touch
  BufferRef arena, workspace;
  std::vector<RingSlot> ring;  ///< empty where device memory is host memory
  std::size_t next_slot = 0;
  std::uint64_t generation = 1;  ///< grows when any of these is allocated anew
  std::unique_ptr<Stream> recorder;
  EventRef finished;
  bool in_flight = false;
  const Stream* last_upload = nullptr;  ///< the streams of what is in flight
  const Stream* last_compute = nullptr;
};

}  // namespace headrace::runtime
