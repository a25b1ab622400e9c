#include "device/host_event.h"

#include <string>

namespace headrace::host {

std::uint64_t EventState::submit() {
  sched::LockGuard lock(mutex_);
  if (recorded_ - completed_ >= 64)
    throw Error(ErrorCode::misuse,
                "an event has 64 records in flight; wait for it before recording it again");
  inside_.reset();
  return ++recorded_;
}

void EventState::complete(std::uint64_t generation, const PoisonRef& poison) {
  {
    sched::LockGuard lock(mutex_);
    if (timing_) completed_at_ = sched::Clock::now();
    ahead_ |= std::uint64_t{1} << (generation - completed_ - 1);
    while (ahead_ & 1) {
      ahead_ >>= 1;
      ++completed_;
    }
    if (poison) {
      poison_ = poison;
      poison_generation_ = generation;
    }
  }
  changed_.notify_all();
}

sched::Clock::time_point EventState::completed_at() const {
  sched::LockGuard lock(mutex_);
  return completed_at_;
}

std::uint64_t EventState::target() const {
  sched::LockGuard lock(mutex_);
  if (inside_)
    throw Error(
        ErrorCode::misuse,
        "this event was recorded inside a recording, where only that recording can wait for it; record "
        "one after the replay");
  if (recorded_ == 0)
    throw Error(ErrorCode::misuse,
                "waiting for an event that was never recorded; record it on a stream first");
  return recorded_;
}

PoisonRef EventState::await(std::uint64_t generation, sched::Clock::time_point deadline, bool* done) {
  sched::UniqueLock lock(mutex_);
  const bool complete = changed_.wait_until(lock, deadline, [&] { return completed_ >= generation; });
  if (done) *done = complete;
  return complete && poison_generation_ >= generation ? poison_ : nullptr;
}

void EventState::record_inside(std::shared_ptr<const bool> recording) {
  sched::LockGuard lock(mutex_);
  inside_ = std::move(recording);
}
bool EventState::is_inside(const bool& recording) const {
  sched::LockGuard lock(mutex_);
  return inside_.get() == &recording;
}

bool EventState::ready() const {
  const std::uint64_t generation = target();
  sched::LockGuard lock(mutex_);
  return completed_ >= generation;
}

void HostEvent::wait() {
  if (PoisonRef poison = state_->await(state_->target(), sched::Clock::time_point::max()))
    poison->observe_and_throw();
}

bool HostEvent::wait_for(std::chrono::nanoseconds timeout) {
  bool done = false;
  PoisonRef poison = state_->await(state_->target(), sched::Clock::after(timeout), &done);
  if (poison) poison->observe_and_throw();
  return done;
}

const std::shared_ptr<EventState>& state_of(Event& event) {
  auto* host = dynamic_cast<HostEvent*>(&event);
  if (!host) throw Error(ErrorCode::misuse, "an event of another device; make it with this stream's device");
  return host->state();
}

}  // namespace headrace::host
