// The machinery behind Session: three pools (inputs, contexts, outputs) joined per inference.
//
// One mutex guards all of it; copies and kernels run outside. A Lane owns a context and its streams; it takes
// the oldest job when an output is free, so that a slow reader holds outputs and never a context. Every
// hand-over (lease to lane, lane to lease) is told to the hazard checker through base/hooks.h.
//
//   session_core.cc  construction, inputs and admission, closing      lane.cc     jobs onto a context
//   delivery.cc      from a finished job to ready tickets             batch.cc    single items into jobs
//   tickets.cc       what Ticket and OutputLease ask for              stager.cc   copies from pageable memory
//   hand_over.cc     views and device memory that callers submit
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include <headrace/session.h>

#include "base/sched.h"
#include "device/device.h"
#include "pipeline/slots.h"
#include "pipeline/stager.h"
#include "runtime/engine.h"

namespace headrace::pipeline {

class Lane;
using Clock = sched::Clock;
using sched::UniqueLock;

std::int64_t now_ns();
/// Whether the calling thread is in a callback of this session.
bool in_callback_of(const SessionCore& core);
constexpr std::chrono::seconds kLongWait{5};

class SessionCore : public std::enable_shared_from_this<SessionCore> {
 public:
  SessionCore(runtime::EngineRef engine, const SessionOptions& options);
  ~SessionCore();
  void start();  ///< after construction: lanes need shared_from_this for callbacks
  void close(Closing how);
  void prepare(const ShapeMap& shapes);
  SessionStats stats() const;
  const runtime::Engine& engine() const { return *engine_; }
  const runtime::EngineRef& engine_ref() const { return engine_; }
  const SessionOptions& options() const { return options_; }

  // inputs
  InputSlot* acquire(const ShapeMap& shapes) { return acquire(shapes, true); }
  TicketState* submit(InputSlot* slot, SubmitOptions&& options);  ///< the slot stays the caller's on errors
  /// `memory`: of each input; `ready`: null is now.
  TicketState* submit_device(std::span<const NamedDeviceTensor> inputs, std::span<const detail::Held> memory,
                             detail::MomentRef ready, SubmitOptions&& options);
  TicketState* submit_copy(std::span<const NamedView> inputs, SubmitOptions&& options);
  void return_input(InputSlot* slot) noexcept;

  // outputs and tickets
  void return_output(OutputSlot* slot) noexcept;
  void hand_over(OutputSlot* slot);
  void drop_ticket(TicketState* state) noexcept;
  /// False when the deadline passed first.
  bool wait_ticket(TicketState& state, Clock::time_point deadline);
  OutputSlot* take_output(TicketState& state);
  bool cancel_ticket(TicketState& state);
  void call_back(TicketState* state, std::function<void(Ticket)> callback);
  TicketTimes ticket_times(const TicketState& state) const;

  // lanes
  struct PrepareRequest {
    const ShapeMap* shapes = nullptr;
    std::size_t pending = 0;
    std::exception_ptr error;
    Signal done{"session.prepare"};
  };
  struct Work {
    Job* job = nullptr;
    PrepareRequest* request = nullptr;  ///< both null: the session is closed, and nothing is left
  };
  Work next_work(Lane& lane);
  void answer(PrepareRequest& request, std::exception_ptr error);
  void fit_output(OutputSlot& output, const runtime::Prepared& prepared, bool on_device);
  void note_late();
  void input_free(Job& job, std::uint64_t generation);
  void finish(Lane& lane, Job& job, std::exception_ptr error);

 private:
  // With the mutex held. `lock` is given up where it says so.
  void require_open() const;
  InputSlot* take_input(UniqueLock& lock);  ///< may wait; null: a batch has been opened meanwhile
  Clock::time_point complain(UniqueLock& lock, const char* who);
  void require_others_to_free(std::uint64_t self) const;
  void grow_pools();  ///< so that make_ticket and make_job cannot fail
  TicketState* make_ticket(SubmitOptions&& options);
  Job* make_job(InputSlot* input);
  void add_ticket(Job& job, TicketState& state);
  void enqueue(Job& job);                    ///< as the overflow policy says
  void drop(Job& job);                       ///< a waiting one, for that policy
  void break_off(std::exception_ptr error);  ///< the device has failed for good
  void fail_ticket(TicketState& state, std::exception_ptr error);
  void fail_waiting(Job& job, std::exception_ptr error, std::uint64_t& counter);
  void forget_if_dead(Job& job);
  void deliver(Job& job);
  void recycle(Job& job);
  void make_ready(TicketState& state, TicketStatus status);
  void release_ticket(TicketState& state);  ///< one reference less
  void release_output(OutputSlot* slot);    ///< one reference less
  void free_input(InputSlot* slot);
  bool expire_ticket(TicketState& state, Clock::time_point now);
  Clock::time_point expire();            ///< what is due; the time when the next item is
  void run_callbacks(UniqueLock& lock);  ///< gives up the lock; one thread at a time
  OutputSlot* find_output(Lane& lane);
  InputSlot* acquire(const ShapeMap& shapes, bool memory);
  void fit_input(InputSlot& slot, const ShapeMap& shapes, bool memory);  ///< without the mutex
  void lay_out(InputSlot& slot, const ShapeMap& shapes) const;
  void drop_given(UniqueLock& lock);    ///< gives up the lock: deleters are somebody else's code
  void note_staged(std::size_t bytes);  ///< without the mutex

  // batches: batch.cc
  TicketState* submit_row(const std::vector<const NamedView*>& inputs, SubmitOptions&& options);
  void open_batch(UniqueLock& lock, const std::vector<Shape>& items);
  void seal_batch(UniqueLock& lock);           ///< the open one takes no more rows
  void run_batch(UniqueLock& lock, Job& job);  ///< sealed, and all rows are filled
  std::vector<ShapeMap> batch_shapes(const std::vector<Shape>& items) const;  ///< of all sizes, rising

  runtime::EngineRef engine_;
  SessionOptions options_;
  Stager stager_;
  mutable sched::Mutex mutex_{"session"};
  Signal input_free_{"session.input_free"}, work_{"session.work"};
  std::vector<std::unique_ptr<InputSlot>> inputs_;
  std::vector<std::unique_ptr<OutputSlot>> outputs_;
  std::vector<std::unique_ptr<TicketState>> tickets_;
  std::vector<std::unique_ptr<Job>> jobs_;
  std::vector<InputSlot*> free_inputs_;
  std::vector<OutputSlot*> free_outputs_;
  std::vector<TicketState*> free_tickets_;
  std::vector<Job*> free_jobs_;
  std::vector<Job*> queue_;  ///< waiting, oldest first
  std::vector<Job*> order_;  ///< running or complete, not delivered
  std::vector<std::unique_ptr<Lane>> lanes_;
  Job* open_ = nullptr;                 ///< the batch that takes rows
  std::vector<ShapeMap> batch_sizes_;   ///< shapes of the batches that open_'s items can make
  std::vector<Shape> batch_items_;      ///< shapes of those items
  bool opening_ = false;                ///< a thread makes the next open_
  std::uint64_t filling_ = 0;           ///< batches that are open, or whose rows are being copied
  std::vector<DeviceInputs> given_up_;  ///< of inputs that are free again
  TicketState *callbacks_ = nullptr, *last_callback_ = nullptr;
  bool calling_back_ = false;
  bool closing_ = false, closed_ = false;
  std::exception_ptr broken_;  ///< the device has failed for good
  std::uint64_t next_sequence_ = 0;
  std::uint64_t running_ = 0;
  SessionStats stats_;
};

}  // namespace headrace::pipeline
