#include "device/host_event.h"

#include <string>

namespace headrace::host {

namespace {
std::atomic<std::uint64_t> epoch{0};
}

std::uint64_t current_epoch() noexcept { return epoch.load(std::memory_order_acquire); }

void Poison::observe_and_throw() {
  std::uint64_t unobserved = UINT64_MAX;
  // A commands' epoch counts as "after" only when it was read after this increment.
  observed_at.compare_exchange_strong(unobserved, epoch.fetch_add(1, std::memory_order_acq_rel) + 1);
  std::rethrow_exception(error);
}

std::uint64_t EventState::submit() {
  sched::LockGuard lock(mutex_);
  if (recorded_ - completed_ >= 64)
    throw Error(ErrorCode::misuse,
                "an event has 64 records in flight; wait for it before recording it again");
  return ++recorded_;
}

void EventState::complete(std::uint64_t generation, const PoisonRef& poison) {
  {
    sched::LockGuard lock(mutex_);
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

std::uint64_t EventState::target() const {
  sched::LockGuard lock(mutex_);
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
