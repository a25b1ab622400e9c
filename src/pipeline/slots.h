// What a session's pools hold. All of it is guarded by the session's mutex, but for memory that a lease or a
// running inference owns.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <vector>

#include <headrace/session.h>

#include "device/device.h"
#include "device/shared_stream.h"
#include "pipeline/signal.h"
#include "runtime/engine.h"

namespace headrace::pipeline {

/// Inputs that the caller hands over in device memory.
struct DeviceInputs {
  std::vector<detail::Held> tensors;  ///< by input; empty: there are none
  detail::MomentRef ready;            ///< null: now
};

/// Memory of the inputs of one inference: one block, laid out as runtime::make_layout says.
struct InputSlot {
  BufferRef arena;
  runtime::IoLayout layout;
  std::vector<Shape> shapes;
  ShapeMap shape_map;
  std::uint64_t holder = 0;  ///< thread that acquired the lease; 0: free or in flight
  DeviceInputs given{};      ///< device memory of the caller, instead of the arena
};

struct OutputSlot {
  BufferRef pinned, device;  ///< made when they are first needed
  bool on_device = false;    ///< which one holds the results
  const BufferRef& arena() const { return on_device ? device : pinned; }
  runtime::IoLayout layout;
  std::vector<Shape> shapes;
  std::uint64_t holder = 0;  ///< thread that holds the lease; 0: free, in flight, or in a ticket
  int references = 0;        ///< tickets and leases; the job, while it delivers
  std::int64_t rows = 0;     ///< of the batch that was computed, padding included
};

struct TicketState;

/// One inference, of one item or of a batch.
struct Job {
  enum class Stage : std::uint8_t { free, open, waiting, running, complete };
  Stage stage = Stage::free;
  std::uint64_t generation = 0;  ///< grows when the job is used again
  InputSlot* input = nullptr;    ///< until its memory is free
  OutputSlot* output = nullptr;
  TicketState *first = nullptr, *last = nullptr;  ///< in the order of submission
  int alive = 0;                                  ///< tickets that have not failed by themselves
  std::exception_ptr error;
  std::int64_t rows = 0, filled = 0;  ///< of a batch; 0 rows: none
  bool sealed = false;                ///< takes no more rows
  sched::Clock::time_point due{};     ///< when it is sealed at the latest
  ShapeMap shapes;                    ///< of the sealed batch
  bool outputs_on_device = false;
};

struct TicketState {
  std::atomic<TicketStatus> status{TicketStatus::waiting};
  int references = 0;                    ///< the user's Ticket, the job, the callback's Ticket
  Job* job = nullptr;                    ///< while it is waiting or running
  TicketState* next = nullptr;           ///< of the same job
  TicketState* next_callback = nullptr;  ///< of those whose callback is due
  OutputSlot* output = nullptr;
  std::int64_t row = -1;  ///< of a batch
  std::exception_ptr error;
  std::uint64_t tag = 0, sequence = 0;
  sched::Clock::time_point deadline = sched::Clock::time_point::max();
  TicketTimes times;
  std::function<void(Ticket)> callback;
  Signal changed{"ticket"};

  bool pending() const {
    const TicketStatus s = status.load(std::memory_order_acquire);
    return s == TicketStatus::waiting || s == TicketStatus::running;
  }
};

}  // namespace headrace::pipeline
