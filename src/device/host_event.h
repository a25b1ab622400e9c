// Events of the host device: a counter of records, a counter of completions, and the error of failed work.
//
// Contract: `submit` numbers a record when it is submitted; `complete` says that the work before it is done.
// A waiter waits for the number that was current when it called. Records may complete out of order (two
// streams recording one event); a waiter then also waits for the earlier records. At most 64 records of one
// event may be outstanding. An event made with `timing` notes when its last record completed.
#pragma once

#include <cstdint>
#include <memory>

#include "base/sched.h"
#include "device/device.h"
#include "device/poison.h"

namespace headrace::host {

class EventState {
 public:
  explicit EventState(bool timing = false) : timing_(timing) {}
  bool timing() const { return timing_; }
  /// When the last record completed; there was one.
  sched::Clock::time_point completed_at() const;
  std::uint64_t submit();
  void complete(std::uint64_t generation, const PoisonRef& poison);
  /// The current record's number; Error(misuse) when there is none.
  std::uint64_t target() const;
  /// Waits; the error of that record or a later one, or null. False in `done` when the deadline came first.
  PoisonRef await(std::uint64_t generation, sched::Clock::time_point deadline, bool* done = nullptr);
  bool ready() const;

  /// The event becomes a point inside a recording, which only that recording may wait for while it is open.
  void record_inside(std::shared_ptr<const bool> recording);
  bool is_inside(const bool& recording) const;

 private:
  mutable sched::Mutex mutex_{"event"};
  sched::CondVar changed_{"event.changed"};
  std::uint64_t recorded_ = 0, completed_ = 0;
  std::uint64_t ahead_ = 0;  ///< bit i: record completed_ + 1 + i is complete
  PoisonRef poison_;
  std::uint64_t poison_generation_ = 0;
  bool timing_;
  sched::Clock::time_point completed_at_{};
  std::shared_ptr<const bool> inside_;  ///< the recording of the last record, or null
};

class HostEvent final : public Event {
 public:
  explicit HostEvent(bool timing) : state_(std::make_shared<EventState>(timing)) {}
  void wait() override;
  bool wait_for(std::chrono::nanoseconds timeout) override;
  bool ready() const override { return state_->ready(); }
  const std::shared_ptr<EventState>& state() const { return state_; }

 private:
  std::shared_ptr<EventState> state_;  ///< shared with commands in flight
};

/// The host event behind `event`; Error(misuse) when it belongs to another device.
const std::shared_ptr<EventState>& state_of(Event& event);

}  // namespace headrace::host
