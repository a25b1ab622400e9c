// Events of the simulated machine: the host device's, with the time of completion, and what a capture needs.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "backends/sim/machine.h"
#include "device/host_event.h"

namespace headrace::sim {

struct EventState {
  host::EventState host;
  std::atomic<std::int64_t> completed_at_ns{0};
  /// Of a record inside a capture: which, and how many steps of each branch it covers.
  sched::Mutex mutex{"sim.event"};
  std::weak_ptr<Capture> capture;
  std::vector<std::size_t> covers;
};
using EventStateRef = std::shared_ptr<EventState>;

class SimEvent final : public Event {
 public:
  explicit SimEvent(MachineRef machine)
      : machine_(std::move(machine)), state_(std::make_shared<EventState>()) {
    ++machine_->live.events;
  }
  ~SimEvent() override { --machine_->live.events; }
  void wait() override {
    machine_->forbid_in_capture("waiting for an event", false);
    static_cast<void>(await(sched::Clock::time_point::max()));
  }
  bool wait_for(std::chrono::nanoseconds timeout) override { return await(sched::Clock::after(timeout)); }
  bool ready() const override { return state_->host.ready(); }
  const EventStateRef& state() const { return state_; }

 private:
  bool await(sched::Clock::time_point deadline) {
    static_cast<void>(machine_->count(Call::wait, {}));
    bool done = false;
    if (const PoisonRef poison = state_->host.await(state_->host.target(), deadline, &done))
      poison->observe_and_throw();
    if (done)
      if (const std::exception_ptr death = machine_->death()) std::rethrow_exception(death);
    return done;
  }
  MachineRef machine_;
  EventStateRef state_;  ///< shared with commands in flight
};

/// Error(misuse) for an event of another device.
SimEvent& sim_event(Event& event);

}  // namespace headrace::sim
