// The machinery behind Session: three pools (inputs, contexts, outputs) joined per inference.
//
// One mutex guards all of it; kernels run outside. A worker owns one Context, one stream and one event; it
// takes the oldest item when an output slot is free, so that a slow reader of outputs holds outputs and never
// a context. Every hand-over (lease to worker, worker to lease) is told to the hazard checker through base
// hooks.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include <headrace/session.h>

#include "base/sched.h"
#include "device/device.h"
#include "runtime/engine.h"

namespace headrace::pipeline {

struct InputSlot {
  std::vector<BufferRef> buffers;  ///< one per engine input; grown when a larger shape is acquired
  std::vector<Shape> shapes;
  ShapeMap shape_map;
  std::uint64_t holder = 0;  ///< thread that acquired the lease; 0: free or in flight
};

struct OutputSlot {
  std::vector<BufferRef> buffers;
  std::vector<Shape> shapes;
  std::uint64_t holder = 0;  ///< thread that holds the lease; 0: free, in flight, or in a ticket
  std::uint64_t tag = 0, sequence = 0;
};

struct TicketState {
  enum class Status : std::uint8_t { pending, done, failed, taken };
  Status status = Status::pending;
  int references = 0;  ///< the user's Ticket, the queue, the callback's Ticket
  InputSlot* input = nullptr;
  OutputSlot* output = nullptr;
  std::exception_ptr error;
  std::uint64_t tag = 0, sequence = 0;
  TicketTimes times;
  std::function<void(Ticket)> callback;
  sched::CondVar changed{"ticket"};
};

class SessionCore : public std::enable_shared_from_this<SessionCore> {
 public:
  SessionCore(runtime::EngineRef engine, const SessionOptions& options);
  ~SessionCore();
  void start();  ///< after construction: workers need shared_from_this for callbacks
  void close();

  InputSlot* acquire(const ShapeMap& shapes);
  TicketState* submit(InputSlot* slot, SubmitOptions&& options);
  void prepare(const ShapeMap& shapes);
  SessionStats stats() const;
  const runtime::Engine& engine() const { return *engine_; }

  void return_input(InputSlot* slot) noexcept;
  void return_output(OutputSlot* slot) noexcept;
  void drop_ticket(TicketState* state) noexcept;
  bool ticket_ready(const TicketState& state) const;
  /// False when the deadline passed first.
  bool wait_ticket(TicketState& state, sched::Clock::time_point deadline);
  OutputSlot* take_output(TicketState& state);
  TicketTimes ticket_times(const TicketState& state) const;

 private:
  struct Worker;
  struct PrepareRequest;
  void work(Worker& worker);
  void run_item(Worker& worker, TicketState& state, OutputSlot& output);
  void size_outputs(OutputSlot& output, const runtime::Prepared& prepared);
  void finish(TicketState& state, OutputSlot* output, std::exception_ptr error);
  void release_locked(TicketState& state);  ///< one reference less
  TicketState* new_ticket_locked();

  runtime::EngineRef engine_;
  SessionOptions options_;
  mutable sched::Mutex mutex_{"session"};
  sched::CondVar input_free_{"session.input_free"};
  sched::CondVar work_ready_{"session.work_ready"};
  std::vector<std::unique_ptr<InputSlot>> inputs_;
  std::vector<std::unique_ptr<OutputSlot>> outputs_;
  std::vector<std::unique_ptr<TicketState>> tickets_;
  std::vector<InputSlot*> free_inputs_;
  std::vector<OutputSlot*> free_outputs_;
  std::vector<TicketState*> free_tickets_;
  std::vector<TicketState*> queue_;  ///< ring: at most one item per input slot
  std::size_t queue_head_ = 0, queue_size_ = 0;
  std::vector<std::unique_ptr<Worker>> workers_;
  bool closing_ = false;
  bool joined_ = false;
  std::uint64_t next_sequence_ = 0;
  SessionStats stats_;
};

}  // namespace headrace::pipeline
