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
#include <cstdint>
#include <string_view>
#include <utility>

#include "base/nvtx.h"
#include "base/sched.h"

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

// Ranges of host work (acquire, submit, wait, a stage), for the tracer (device/tracer.h) and profilers.
//
//   hooks::Range range("submit", sequence);   // until the end of the scope
//
// Without an observer a range is one load and one branch; in a build with NVTX a profiler sees it, too.
// Contract of the observer as above; the one that was set last hears.
class RangeObserver {
 public:
  virtual ~RangeObserver() = default;
  /// At the end of the range, on its thread.
  virtual void on_range(std::string_view name, sched::Clock::time_point begin,
                        std::uint64_t sequence) noexcept = 0;
};

namespace detail {
inline std::atomic<RangeObserver*> range_observer{nullptr};
inline thread_local std::uint64_t current_sequence = 0;
}  // namespace detail

/// Of the innermost range of this thread that has one: whose work it submits. 0 without an observer.
inline std::uint64_t current_sequence() noexcept { return detail::current_sequence; }

// Returns the former observer; null removes it.
inline RangeObserver* set_range_observer(RangeObserver* observer) noexcept {
  return detail::range_observer.exchange(observer, std::memory_order_acq_rel);
}

class Range {
 public:
  /// `name` outlives the range. `sequence` counts inferences from 1; 0: it belongs to none.
  explicit Range(std::string_view name, std::uint64_t sequence = 0) noexcept
      : name_(name), sequence_(sequence), observer_(detail::range_observer.load(std::memory_order_acquire)) {
    nvtx::push(name);
    if (observer_) [[unlikely]] {
      begin_ = sched::Clock::now();
      if (sequence_ != 0) former_ = std::exchange(detail::current_sequence, sequence_);
    }
  }
  ~Range() {
    nvtx::pop();
    if (observer_) [[unlikely]] {
      if (sequence_ != 0) detail::current_sequence = former_;
      observer_->on_range(name_, begin_, sequence_);
    }
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  std::string_view name_;
  std::uint64_t sequence_, former_ = 0;
  RangeObserver* observer_;
  sched::Clock::time_point begin_{};
};

}  // namespace headrace::hooks
