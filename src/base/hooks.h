// Acquire and release hooks: how queues and leases tell the hazard checker what orders them.
//
// Problem: a device sees launches and copies, but not that a ticket was awaited or a lease handed on.
// Contract: whoever hands a token over calls release(token) before the hand-over becomes visible; whoever
// receives it calls acquire(token) after. Everything before the release happens before everything after the
// acquire. Without an observer both are one load and one branch. The observer is called on the caller's
// thread, from many threads at once, and must not throw; it outlives every call: install it before the
// pipeline starts, remove it after the pipeline has been joined.
#pragma once

#include <atomic>

namespace headrace::hooks {

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_release(const void* token) noexcept = 0;
  virtual void on_acquire(const void* token) noexcept = 0;
};

namespace detail {
inline std::atomic<Observer*> observer{nullptr};
}

// Returns the former observer; null removes it.
inline Observer* set_observer(Observer* observer) noexcept {
  return detail::observer.exchange(observer, std::memory_order_acq_rel);
}

inline void release(const void* token) noexcept {
  if (Observer* observer = detail::observer.load(std::memory_order_acquire)) [[unlikely]] {
    observer->on_release(token);
  }
}

inline void acquire(const void* token) noexcept {
  if (Observer* observer = detail::observer.load(std::memory_order_acquire)) [[unlikely]] {
    observer->on_acquire(token);
  }
}

}  // namespace headrace::hooks
