// Session: many inferences in flight over one engine, with leases and tickets.
//
//   hr::Session session{engine, {.slots = 4}};
//   hr::InputLease in = session.acquire({{"input0", {1, 3, 224, 224}}});   // memory that nobody else touches
//   fill(in["input0"].as<float>());
//   hr::Ticket ticket = session.submit(std::move(in), {.tag = frame_id});
//   /* any other work */
//   hr::OutputLease out = ticket.get();           // waits; the only way to the numbers
//   use(out["output0"].as<float>(), out.tag());   // the memory is used again only after `out` is gone
//
// Three pools are joined per inference: inputs (pinned host memory that leases are), contexts (with device
// memory and streams for upload, computation and download), outputs (pinned host memory). On a GPU the upload
// of one inference, the computation of the one before and the download of the one before that overlap; an
// input is free again when it has been uploaded, and who reads outputs slowly holds outputs, nothing else. On
// a CPU device leases are the memory that kernels read and write: nothing is copied.
//
// Nothing is readable before it is ready, and nothing is writable while it is in flight: leases move.
// Thread safety: every member of Session and Ticket may be called from any thread. A lease belongs to one
// thread at a time. Leases and tickets may outlive the Session object. Shapes are full shapes, outermost
// first, batch included.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>

#include <headrace/dlpack.h>
#include <headrace/runtime.h>

namespace headrace {

namespace pipeline {
class SessionCore;
struct InputSlot;
struct OutputSlot;
struct TicketState;
}  // namespace pipeline

/// What happens when items come faster than they can be computed. Every drop reaches its ticket.
enum class Overflow : std::uint8_t {
  block,        ///< acquire waits for a free input
  reject,       ///< acquire throws Error(rejected) at once
  drop_oldest,  ///< the oldest item that has not started fails with Error(dropped)
  drop_newest,  ///< an item submitted while `slots` inputs are in use fails with Error(dropped)
  latest,       ///< like drop_oldest, and each submit drops all that have not started
};

/// Results become ready in the order of submission, or as they are done. Errors never wait for others. Makes
/// a difference with several contexts only.
enum class Delivery : std::uint8_t { in_order, as_ready };

/// How threads wait, the session's own and those that wait for tickets. `spin` and `yield` answer within
/// microseconds and keep processors busy while work comes; after 10 ms without any they sleep, too.
enum class WaitPolicy : std::uint8_t { block, yield, spin };

/// What becomes of items that have not started when a session is closed.
enum class Closing : std::uint8_t {
  drain,   ///< they run
  cancel,  ///< they fail with Error(cancelled)
};

/// Single items, submitted by any threads, run together. An item has extent 1 along the first axis of every
/// input; a batch runs when it is full or its first item has waited for `max_delay`. Batches are padded to
/// the next power of two, so that few shapes are prepared.
struct BatchOptions {
  int max_batch = 1;  ///< 1: off
  std::chrono::nanoseconds max_delay = std::chrono::milliseconds(1);
};

struct SessionOptions {
  int slots = 4;  ///< inputs, and outputs: how many may be in flight, waiting or held
  int contexts =
      1;  ///< each with activations and streams of its own; on a CPU a worker with a team of threads
  int threads = 0;  ///< CPU: team size per context; 0: the engine's threads divided by contexts, at least 1
  int ring = 2;     ///< GPU: device copies of inputs and outputs per context; 1 saves memory, without overlap
  Overflow overflow = Overflow::block;
  Delivery delivery = Delivery::in_order;
  WaitPolicy wait = WaitPolicy::block;
  Closing closing = Closing::drain;  ///< of the destructor, and of close()
  int staging_threads = 0;           ///< that copy pageable input of submit(views); 0: up to 8
  BatchOptions batch{};
};

class Ticket;
struct SubmitOptions {
  std::uint64_t tag = 0;  ///< comes back with the result
  /// Not 0: an item that has not started this long after submit fails with Error(timeout). What has started
  /// is delivered, however late: see Ticket::times.
  std::chrono::nanoseconds deadline{0};
  /// Called once when the ticket is ready, on some thread of the session or of a caller; a session's
  /// callbacks come one at a time, in the order of readiness. Must not block long, nor wait for this
  /// session's tickets or inputs: acquire and submit throw Error(misuse) where they would wait.
  std::function<void(Ticket)> callback{};
  /// The results stay in device memory, for OutputLease::device: nothing is downloaded.
  bool outputs_on_device = false;
};

/// Exclusive, writable input memory of one future inference. Returned unused when it is destroyed without
/// submit.
class InputLease {
 public:
  InputLease(InputLease&&) noexcept;
  InputLease& operator=(InputLease&&) noexcept;
  ~InputLease();
  /// Error(invalid_argument) for an unknown name; Error(misuse) after the lease was moved away.
  TensorView operator[](std::string_view name) const;

 private:
  friend class Session;
  InputLease(std::shared_ptr<pipeline::SessionCore> core, pipeline::InputSlot* slot);
  void release() noexcept;
  std::shared_ptr<pipeline::SessionCore> core_;
  pipeline::InputSlot* slot_ = nullptr;
};

/// Times of one item, nanoseconds on the session's monotonic clock; 0: not reached.
struct TicketTimes {
  std::int64_t submitted_ns = 0;  ///< submit was called
  std::int64_t started_ns = 0;    ///< a context took it
  std::int64_t uploaded_ns = 0;   ///< its input memory was free again; on a CPU: finished
  std::int64_t finished_ns = 0;   ///< the results were in host memory, or the error was known
  std::int64_t delivered_ns = 0;  ///< the ticket became ready: later than finished while earlier items ran
};

/// The results of one inference. Memory is re-used only after the lease is gone.
class OutputLease {
 public:
  OutputLease(OutputLease&&) noexcept;
  OutputLease& operator=(OutputLease&&) noexcept;
  ~OutputLease();
  ConstTensorView operator[](std::string_view name) const;
  ConstTensorView operator[](std::size_t index) const;  ///< in the order of Engine::outputs()
  /// An output in device memory, of an item with SubmitOptions::outputs_on_device or of a CPU; read-only, and
  /// not of a batch. The lease's memory is used again when the lease, all its tensors (and their exports),
  /// and what was submitted on streams of device.h with them are gone.
  DeviceTensor device(std::string_view name);
  std::uint64_t tag() const { return tag_; }
  std::uint64_t sequence() const { return sequence_; }  ///< order of submission, from 0
  const TicketTimes& times() const { return times_; }
  /// To be called before the lease goes to another thread for good. Otherwise it counts as this thread's, and
  /// waiting while one holds all outputs oneself is Error(misuse).
  void hand_over();

 private:
  friend class Ticket;
  OutputLease(std::shared_ptr<pipeline::SessionCore> core, const pipeline::TicketState& state,
              pipeline::OutputSlot* slot);
  void release() noexcept;
  std::shared_ptr<pipeline::SessionCore> core_;
  pipeline::OutputSlot* slot_ = nullptr;
  std::shared_ptr<detail::Memory> memory_;  ///< of the tensors that `device` gave: returns the slot
  std::int64_t row_ = -1;                   ///< of a batch; -1: all of it
  std::uint64_t tag_ = 0, sequence_ = 0;
  TicketTimes times_;
};

enum class TicketStatus : std::uint8_t { waiting, running, done, failed, taken };
std::string_view to_string(TicketStatus status);

/// The promise of one result. Move-only. Dropping a ticket lets the inference finish and frees its output.
class Ticket {
 public:
  Ticket(Ticket&&) noexcept;
  Ticket& operator=(Ticket&&) noexcept;
  ~Ticket();
  bool ready() const;  ///< never blocks; true also after a failure
  TicketStatus status() const;
  /// Until ready. Error(misuse) when that could never be: this thread holds all outputs, or is in a callback.
  void wait() const;
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds timeout) const;
  /// Waits, then hands over the output once; throws the item's own Error. A second call throws Error(misuse).
  [[nodiscard]] OutputLease get();
  /// True: the item had not started, its ticket fails with Error(cancelled). False: too late, it goes on.
  bool cancel() const;
  /// Gives the ticket to `callback` when it is ready, at once if it is; rules as for SubmitOptions::callback,
  /// of which a ticket has one at most.
  void then(std::function<void(Ticket)> callback) &&;
  std::uint64_t tag() const;
  std::uint64_t sequence() const;
  TicketTimes times() const;

 private:
  friend class Session;
  friend class pipeline::SessionCore;
  Ticket(std::shared_ptr<pipeline::SessionCore> core, pipeline::TicketState* state);
  void release() noexcept;
  std::shared_ptr<pipeline::SessionCore> core_;
  pipeline::TicketState* state_ = nullptr;
};

struct SessionStats {
  std::uint64_t submitted = 0, completed = 0, failed = 0;
  std::uint64_t rejected = 0;                  ///< acquires refused under `reject`
  std::uint64_t dropped = 0;                   ///< items given up by an overflow policy
  std::uint64_t cancelled = 0;                 ///< by Ticket::cancel or Closing::cancel
  std::uint64_t expired = 0;                   ///< not started before their deadline
  std::uint64_t prepared_late = 0;             ///< inferences whose shapes had not been prepared before
  std::uint64_t batches = 0;                   ///< inferences that batched items ran in
  std::uint64_t staged = 0, staged_bytes = 0;  ///< items of submit(views), copied into the session's memory
  std::uint64_t allocations = 0;    ///< input/output buffers and ticket states made since construction
  std::uint64_t max_in_flight = 0;  ///< inferences that had started and not finished, at most
};

class Session {
 public:
  Session(const Engine& engine, const SessionOptions& options = {});
  Session(Session&&) noexcept;
  ~Session();  ///< close()
  /// All lazy work for these shapes on every context; blocks until done. With batching: shapes of one item.
  void prepare(const ShapeMap& shapes);
  /// Error(invalid_argument): shapes that do not fit, with the range. Error(rejected): no free input under
  /// `reject`. Error(misuse): this thread itself holds what it would wait for; the session is closed; the
  /// session batches. Error(device): the device has failed for good.
  [[nodiscard]] InputLease acquire(const ShapeMap& shapes);
  /// Never waits. With Overflow::drop_newest the ticket may have failed already.
  [[nodiscard]] Ticket submit(InputLease&& input, SubmitOptions options = {});
  /// Copies the inputs, of which each is given once, into the session's memory: several threads do it where
  /// they are large. The caller's memory is free when it returns. Errors as of acquire; waits as it does.
  /// With batching this is the way in.
  [[nodiscard]] Ticket submit(std::span<const NamedView> inputs, SubmitOptions options = {});
  [[nodiscard]] Ticket submit(std::initializer_list<NamedView> inputs, SubmitOptions options = {}) {
    return submit(std::span(inputs.begin(), inputs.size()), std::move(options));
  }
  /// Device memory of the caller, used where it lies: no staging, no upload. It is read after `ready` (by
  /// default: now), on the device; work that failed before `ready` fails the ticket. The session keeps the
  /// memory until it was read: the ticket's times().uploaded_ns, at the latest its result, say that it may be
  /// written again, and then a deleter (DLPack) is called. Waits and drops as acquire does.
  /// Error(unsupported) with batching, and where shapes depend on values of inputs.
  [[nodiscard]] Ticket submit_device(std::span<const NamedDeviceTensor> inputs, const DeviceEvent& ready = {},
                                     SubmitOptions options = {});
  [[nodiscard]] Ticket submit_device(std::initializer_list<NamedDeviceTensor> inputs,
                                     const DeviceEvent& ready = {}, SubmitOptions options = {}) {
    return submit_device(std::span(inputs.begin(), inputs.size()), ready, std::move(options));
  }
  /// Refuses new work, finishes or cancels what was submitted, joins the threads. Idempotent. Tickets that
  /// nobody has taken, and leases, stay valid. Error(misuse) from a callback of this session.
  void close();
  void close(Closing how);
  SessionStats stats() const;

 private:
  std::shared_ptr<pipeline::SessionCore> core_;
};

}  // namespace headrace
