// Events of a CUDA device. Contract: device/device.h.
//
// A host that waits for one record is not held up by the next: where hosts wait, the next record takes
// another CUevent. An event recorded while its stream records (Stream::make_recording) is a point inside that
// recording: only streams of the recording may wait for it.
#pragma once

#include <list>
#include <memory>

#include "backends/cuda/device_state.h"
#include "device/device.h"
#include "device/poison.h"

namespace headrace::cuda {

/// A recording in the making; streams and events that take part share it.
struct Capture {
  bool open = true;
};
using CaptureRef = std::shared_ptr<Capture>;

class CudaEvent final : public Event {
 public:
  CudaEvent(StateRef state, const EventOptions& options);
  ~CudaEvent() override;

  void wait() override;
  bool wait_for(std::chrono::nanoseconds timeout) override;
  bool ready() const override;

  /// For streams. `poison` may be null; `capture` is the recording that the stream is part of, or null.
  void record(CUstream stream, const PoisonRef& poison, const CaptureRef& capture);
  /// Makes the stream wait, and gives what the event carries. A stream outside of `capture` joins it.
  PoisonRef make_wait(CUstream stream, CaptureRef& capture);

  bool timing() const { return timing_; }
  CUevent native() const;
  const StateRef& state() const { return state_; }

 private:
  struct Slot {
    CUevent event = nullptr;
    int waiting = 0;  ///< host threads
  };
  /// A host thread's wait for the record that was current when it began.
  class Waiting {
   public:
    explicit Waiting(const CudaEvent& event);  ///< Error(misuse) where there is nothing to wait for
    ~Waiting();
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    bool done() const;
    void block() const;
    void throw_poison() const;  ///< of that record, or a later one

   private:
    const CudaEvent& event_;
    Slot* slot_ = nullptr;
    std::uint64_t generation_ = 0;
  };
  Slot& add_slot();

  StateRef state_;
  bool timing_, spin_;
  mutable sched::Mutex mutex_{"cuda.event"};
  std::list<Slot> slots_;
  Slot* current_ = nullptr;  ///< of the last record
  std::uint64_t recorded_ = 0, poison_generation_ = 0;
  PoisonRef poison_;
  CaptureRef capture_;  ///< of the last record, when that was inside a recording
};

/// The CUDA event of this device behind `event`; Error(misuse) when it belongs to another device.
CudaEvent& event_of(Event& event, const DeviceState& state);

}  // namespace headrace::cuda
