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

#include "runtime/engine.h"
#include "runtime/engine_state.h"

namespace headrace::runtime {

using HostValueMap = std::map<std::string, HostTensor, std::less<>>;

/// One host thread at a time: a second one is told so.
class Busy {
 public:
  explicit Busy(std::atomic<bool>& flag) : flag_(flag) {
    if (flag_.exchange(true, std::memory_order_acquire))
      throw Error(
          ErrorCode::misuse,
          "a Context is used by two threads at once; give each thread a Context of its own, or use Session");
  }
  ~Busy() { flag_.store(false, std::memory_order_release); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  std::atomic<bool>& flag_;
};

struct Binding {
  BufferRef buffer;
  std::size_t offset = 0;
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
  Buffer* arena = nullptr;               ///< that `operands` point into
  std::uint64_t generation = 0;          ///< of the context's memory that `recording` was made for
  std::unique_ptr<Recording> recording;  ///< all launches, on staged inputs and outputs; null: none
  std::ptrdiff_t last_input_launch = -1;
};

struct Context::State {
  static constexpr std::size_t kMaxEntries = 64;

  State(EngineRef engine, std::size_t profile, int threads);
  bool matches(const Entry& entry, const ShapeMap& shapes, const HostValueMap& values) const;
  void make_entry(const ShapeMap& shapes, const HostValueMap& host_values);
  /// Operands and launches of a key that the profile `used` serves.
  void add_launches(Entry& entry, const ResolvedPlan& resolved, std::size_t used) const;
  /// Memory of the context for this key: nothing is done when it is there.
  void fit(const Entry& entry);
  void grow(std::uint64_t arena_bytes, std::uint64_t workspace_bytes);
  void grow_staging(std::vector<BufferRef>& staging, const std::vector<std::size_t>& bytes);
  /// Whether this binding is host memory that the device cannot compute on.
  bool is_staged(const Binding& binding) const;
  double recorded_us(Stream& stream, const Entry& entry, const Launch& launch, int repeats) const;
  /// Makes the recording of an entry, on devices that can.
  void record(Entry& entry);
  /// Keeps the recordings of the `keep` entries used last. Nothing is in flight.
  void drop_recordings(std::size_t keep);
  bool outputs_staged() const {
    return std::all_of(outputs.begin(), outputs.end(),
                       [this](const Binding& b) { return !b.buffer || is_staged(b); });
  }
  void upload(Stream& stream, const Entry& entry) const;
  void download(Stream& stream, const Entry& entry) const;
  void activate(Entry& entry);
  void bind(std::vector<Binding>& bindings, const char* what, std::size_t index, BufferRef buffer,
            std::size_t offset);
  void check_binding(const Binding& binding, std::size_t bytes, const char* what, std::size_t index) const;
  void patch(Entry& entry, const std::vector<Binding>& in, const std::vector<Binding>& out) const;
  void launch(Stream& stream, const Entry& entry, const Launch& launch) const;
  void note_in_flight(Stream& stream);
  void drain() noexcept;  ///< waits for all that was enqueued

  EngineRef engine;
  std::size_t profile = kByShapes;
  int threads = 1;
  std::atomic<bool> busy{false};
  std::list<Entry> entries;  ///< most recently used first
  Entry* current = nullptr;
  std::vector<Binding> inputs, outputs;
  std::vector<BufferRef> retired;  ///< replaced bindings that queued work may still touch
  BufferRef arena, workspace;
  /// Own device memory of bound host memory, by input and output; all null where device memory is host
  /// memory.
  std::vector<BufferRef> staged_inputs, staged_outputs;
  std::uint64_t generation = 1;  ///< grows when any of these is allocated anew
  std::unique_ptr<Stream> recorder;
  EventRef finished;
  bool in_flight = false;
};

}  // namespace headrace::runtime
