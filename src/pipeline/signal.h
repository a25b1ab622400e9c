// A condition variable that can be polled: what WaitPolicy means for threads that wait for each other.
//
// Contract: `notify` is called with the mutex held; `wait_until` may return without cause, so it stands in a
// loop over what is waited for. Polling ends after kPatience without a notify, and the thread sleeps.
#pragma once

#include <algorithm>
#include <atomic>

#include <headrace/session.h>

#include "base/sched.h"

namespace headrace::pipeline {

class Signal {
 public:
  static constexpr std::chrono::milliseconds kPatience{10};

  explicit Signal(const char* name) noexcept : changed_(name) {}

  /// False when the deadline passed without a notify.
  bool wait_until(sched::UniqueLock& lock, sched::Clock::time_point deadline, WaitPolicy policy) {
    if (policy != WaitPolicy::block && poll(lock, deadline, policy)) return true;
    return changed_.wait_until(lock, deadline);
  }
  void notify() noexcept {
    changes_.fetch_add(1, std::memory_order_release);
    changed_.notify_all();
  }

 private:
  bool poll(sched::UniqueLock& lock, sched::Clock::time_point deadline, WaitPolicy policy) {
    const std::uint64_t seen = changes_.load(std::memory_order_acquire);
    const auto patience = std::min(deadline, sched::Clock::after(kPatience));
    lock.unlock();
    for (unsigned turn = 1; changes_.load(std::memory_order_acquire) == seen; ++turn) {
      sched::poll_pause(policy == WaitPolicy::yield);
      if (turn % 64 == 0 && sched::Clock::now() >= patience) break;
    }
    lock.lock();
    return changes_.load(std::memory_order_acquire) != seen;
  }

  sched::CondVar changed_;
  std::atomic<std::uint64_t> changes_{0};
};

}  // namespace headrace::pipeline
