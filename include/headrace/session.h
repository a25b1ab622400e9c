// Session: many inferences in flight over one engine, with leases and tickets.
//
//   hr::Session session{engine, {.slots = 3}};
//   hr::InputLease in = session.acquire({{"input0", {1, 3, 224, 224}}});   // memory that nobody else touches
//   fill(in["input0"].as<float>());
//   hr::Ticket ticket = session.submit(std::move(in), {.tag = frame_id});
//   hr::OutputLease out = ticket.get();                                    // waits; the only way to the
//   numbers use(out["output0"].as<float>(), out.tag());                            // re-used only after
//   `out` is gone
//
// Nothing is readable before it is ready, and nothing is writable while it is in flight: leases move.
// Thread safety: every member of Session and Ticket may be called from any thread. A lease belongs to one
// thread at a time. Leases and tickets may outlive the Session object. On a CPU device the leases are the
// memory that the kernels read and write: nothing is copied.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include <headrace/runtime.h>

namespace headrace {

namespace pipeline {
class SessionCore;
struct InputSlot;
struct OutputSlot;
struct TicketState;
}  // namespace pipeline

enum class Overflow : std::uint8_t {
  block,   ///< acquire waits for a free input slot
  reject,  ///< acquire throws Error(rejected) at once
};

struct SessionOptions {
  int slots = 3;    ///< input slots, and output slots: how many inferences may be in flight or held
  int streams = 1;  ///< workers, each with a context and a team of threads of its own
  int threads = 0;  ///< team size per stream; 0: the engine's threads divided by streams, at least 1
  Overflow overflow = Overflow::block;
};

class Ticket;
struct SubmitOptions {
  std::uint64_t tag = 0;  ///< comes back with the result
  std::function<void(Ticket)>
      callback{};  ///< called once on a worker when the ticket is ready; must not block long
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

/// The results of one inference. Memory is re-used only after the lease is gone.
class OutputLease {
 public:
  OutputLease(OutputLease&&) noexcept;
  OutputLease& operator=(OutputLease&&) noexcept;
  ~OutputLease();
  ConstTensorView operator[](std::string_view name) const;
  ConstTensorView operator[](std::size_t index) const;  ///< in the order of Engine::outputs()
  std::uint64_t tag() const;
  std::uint64_t sequence() const;  ///< order of submission, from 0

 private:
  friend class Ticket;
  OutputLease(std::shared_ptr<pipeline::SessionCore> core, pipeline::OutputSlot* slot);
  void release() noexcept;
  std::shared_ptr<pipeline::SessionCore> core_;
  pipeline::OutputSlot* slot_ = nullptr;
};

/// Times of one item, nanoseconds on the session's monotonic clock; 0: not reached.
struct TicketTimes {
  std::int64_t submitted_ns = 0, started_ns = 0, finished_ns = 0;
};

/// The promise of one result. Move-only. Dropping a ticket lets the inference finish and frees its output.
class Ticket {
 public:
  Ticket(Ticket&&) noexcept;
  Ticket& operator=(Ticket&&) noexcept;
  ~Ticket();
  bool ready() const;  ///< never blocks; true also after a failure
  void wait() const;   ///< until ready
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds timeout) const;
  /// Waits, then hands over the output once; throws the item's own Error. A second call throws Error(misuse).
  [[nodiscard]] OutputLease get();
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
  std::uint64_t submitted = 0, completed = 0, failed = 0, rejected = 0, cancelled = 0;
  std::uint64_t prepared_late = 0;  ///< inferences whose shapes had not been prepared before
  std::uint64_t allocations = 0;    ///< input/output buffers and ticket states made since construction
};

class Session {
 public:
  Session(const Engine& engine, const SessionOptions& options = {});
  Session(Session&&) noexcept;
  ~Session();  ///< close()
  /// All lazy work for these shapes on every stream; blocks until done.
  void prepare(const ShapeMap& shapes);
  /// Error(invalid_argument): shapes that do not fit, with the range. Error(rejected): no free slot under
  /// `reject`. Error(misuse): this thread itself holds all slots, so that waiting would never end; or the
  /// session is closed.
  [[nodiscard]] InputLease acquire(const ShapeMap& shapes);
  [[nodiscard]] Ticket submit(InputLease&& input, SubmitOptions options = {});
  /// Refuses new work, finishes what was submitted, joins the workers. Idempotent.
  void close();
  SessionStats stats() const;

 private:
  std::shared_ptr<pipeline::SessionCore> core_;
};

}  // namespace headrace
