// What a machine can do: memory, streams, events, kernels, recordings. No operators.
//
// Contract: a Device owns streams and buffers and outlives them. Creation may throw; nothing on the hot path
// (launch, copy, record, wait) allocates. All device work goes through a Stream, and every operand is named
// with its byte range and access, so that wrappers (hazard checker, tracer) see everything.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <headrace/error.h>

namespace headrace {

enum class MemoryKind : std::uint8_t { host, pinned, device };
/// What the bytes are for; each is counted apart.
enum class MemoryUse : std::uint8_t { weights, activations, io, workspace, recordings };
std::string_view to_string(MemoryUse use);

/// A block of memory of one device. On a CPU device every kind is host memory, 64-byte aligned. Move-free:
/// held by shared_ptr; the last owner frees it.
class Buffer {
 public:
  virtual ~Buffer() = default;
  virtual std::size_t size_bytes() const = 0;
  virtual MemoryKind kind() const = 0;
  /// Address as the device sees it. Only kernels and the innermost stream use it.
  virtual std::byte* device_data() const = 0;
  /// Address as the host sees it; null for pure device memory.
  virtual std::byte* host_data() const = 0;
};
using BufferRef = std::shared_ptr<Buffer>;

enum class Access : std::uint8_t { read, write, read_write };

/// A byte range of a buffer, and what the launch does to it. Non-owning: the caller keeps the buffer alive
/// until the work is done.
struct Operand {
  Buffer* buffer = nullptr;
  std::size_t offset = 0, size = 0;
  Access access = Access::read;
};

/// The machine's own stream, opaque here (cudaStream_t, the CPU worker). Null on an inline CPU stream.
using NativeStream = void*;

/// Immutable, shareable between threads, capture-safe: launch neither allocates nor synchronises.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual std::size_t workspace_bytes() const { return 0; }
  /// data[i]: device address of operand i (sources then destinations, in the step's order).
  virtual void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const = 0;
  virtual std::string_view name() const = 0;  ///< for traces: tactic and implementation
};

/// A point on a stream's timeline. Reusable: `Stream::record` moves it. Thread-safe.
class Event {
 public:
  virtual ~Event() = default;
  /// Blocks the host until the work before the record is done. Throws the Error of failed work, and
  /// Error(misuse) when the event was never recorded.
  virtual void wait() = 0;
  virtual bool wait_for(std::chrono::nanoseconds timeout) = 0;
  /// True when done (or failed); never blocks. Throws Error(misuse) when never recorded.
  virtual bool ready() const = 0;
};
using EventRef = std::shared_ptr<Event>;

struct EventOptions {
  bool timing = false;  ///< Device::elapsed_us may be asked; costs a little per record
  bool spin = false;    ///< GPU: the waiting host thread spins (lower latency) instead of sleeping
};

/// Work captured once and launched as a whole (a CUDA graph). Used by one replay at a time, in stream order.
/// What the work uses (kernels, buffers) must outlive it; it must outlive its last replay's execution.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual std::size_t nodes() const = 0;       ///< launches and copies in it
  virtual std::size_t size_bytes() const = 0;  ///< device memory it takes, as far as the device tells
};

/// In-order queue of work. One host thread at a time. Work that fails poisons the events recorded after it,
/// until `record` of the failing span has been consumed: later independent work runs.
class Stream {
 public:
  virtual ~Stream() = default;
  /// `operands`: sources then destinations; `workspace` may have a null buffer when the kernel needs none.
  /// The kernel and buffers must outlive the execution.
  virtual void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) = 0;
  /// Same sizes; ranges must not overlap. Direction follows from the buffers.
  virtual void copy(const Operand& dst, const Operand& src) = 0;
  virtual void record(Event& event) = 0;
  /// Later work on this stream waits for the event. Error(misuse) when it was never recorded.
  virtual void wait(Event& event) = 0;
  /// What is submitted from here on does not depend on work that failed before, here or on a stream that this
  /// one has waited for so far: it runs, and events recorded from here on carry only errors from here on.
  /// What has to wait for memory, but not for results, waits before this call. Not inside a recording.
  virtual void start_item() = 0;
  /// Blocks the host until all is done; throws the first Error of failed work.
  virtual void synchronize() = 0;
  /// Calls `work`, which uses this stream as usual, but captures what it submits instead of running it. Other
  /// streams join by waiting for an event that was recorded inside, and must be waited for before `work`
  /// ends. Inside: no synchronize, no copy of pageable memory, no event from outside; an event recorded
  /// inside cannot be waited for outside. Whatever goes wrong, also an exception of `work`, ends the capture,
  /// leaves the stream usable and comes out as an Error with the reason. Not for the hot path: it allocates.
  virtual std::unique_ptr<Recording> make_recording(const std::function<void()>& work);
  /// Submits the recorded work; like one launch. The recording was made on a stream of the same device.
  virtual void replay(Recording& recording);
  virtual NativeStream native() const = 0;
};

struct StreamOptions {
  std::string name = "stream";
  /// CPU: run on the calling thread at once (blocking infer) instead of on a worker thread of the stream's
  /// own.
  bool inline_execution = false;
  int threads = 0;  ///< CPU: OpenMP team of the worker; 0: the device's default
};

struct MemoryStats {
  std::size_t current[5] = {}, high_water[5] = {};  ///< by MemoryUse
  std::uint64_t allocations = 0;                    ///< since creation
  /// Copies for which the host had to wait (pageable memory, host to host), where others are asynchronous.
  std::uint64_t waiting_copies = 0;
  /// What is behind the numbers above, on devices with caching pools: rounded sizes.
  struct Pool {
    std::size_t in_use = 0, cached = 0, high_water = 0;  ///< bytes; high water of in_use + cached
    std::size_t limit = 0;                               ///< of `cached`; 0: there is no pool
    std::uint64_t system_allocations = 0;                ///< calls that reached the driver
  };
  Pool device_pool, pinned_pool;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view kind() const = 0;  ///< "cpu", "reference", "cuda", "sim"
  virtual std::string model() const = 0;      ///< hardware model and instruction set, as plans record it
  virtual int ordinal() const { return 0; }   ///< among the machine's devices of this kind
  /// Uninitialised memory, 64-byte aligned (256 on GPUs). Error(out_of_memory) with size and use.
  virtual BufferRef allocate(std::size_t size_bytes, MemoryKind kind, MemoryUse use) = 0;
  /// Makes memory that somebody else owns usable as a buffer without copying: host memory that nobody has
  /// pinned, or (kind device) memory of this device. `owner` lives as long as the buffer.
  virtual BufferRef wrap(std::byte* data, std::size_t size_bytes, std::shared_ptr<const void> owner,
                         MemoryKind kind = MemoryKind::host) = 0;
  virtual std::unique_ptr<Stream> make_stream(const StreamOptions& options) = 0;
  /// A stream that somebody else owns and that outlives the result, which waits for its work when it goes.
  /// Error(unsupported) where there are none; Error(invalid_argument) for a default stream.
  virtual std::unique_ptr<Stream> wrap_stream(NativeStream native, const StreamOptions& options);
  virtual EventRef make_event(const EventOptions& options = {}) = 0;
  /// Makes this device current on the calling thread while the result lives (a CUDA context): held while a
  /// tactic is asked or a kernel made. Streams do it by themselves. Null where nothing is to be done.
  virtual std::shared_ptr<void> enter() { return nullptr; }
  /// Whether Stream::make_recording is there.
  virtual bool can_record() const { return false; }
  /// Time between two events of this device that were made with `timing` and recorded; waits for `end`.
  /// Nothing where the device does not measure. Throws as Event::wait does.
  virtual std::optional<double> elapsed_us(Event& /*begin*/, Event& /*end*/) { return std::nullopt; }
  /// False once an error has made the device useless for good: whatever is in flight or comes later fails.
  virtual bool alive() const { return true; }
  /// True when device memory is host memory (leases alias, nothing is copied).
  virtual bool unified_memory() const = 0;
  virtual MemoryStats memory() const = 0;
  /// Clock of a GPU's processors at this moment, MHz; nothing where it cannot be read.
  virtual std::optional<double> clock_mhz() const { return std::nullopt; }
};
using DeviceRef = std::shared_ptr<Device>;

}  // namespace headrace
