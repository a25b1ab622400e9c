// The scheduling seam: the only door to threads, locks and clocks.
//
// Problem: a pipeline's bugs hide in interleavings that a test meets once in a million runs.
// Contract: code that uses only these types runs in two ways.
//   native          thin over std; the price is one relaxed load and one branch per call.
//   deterministic   inside DeterministicScheduler::run: real threads, but one baton. At every call into the
//                   seam a seeded choice says who goes on. Virtual time stands still while anybody can go on,
//                   and jumps to the earliest deadline when all wait. The same seed gives the same run.
// Which of the two: decided by the calling thread. A thread of a deterministic run uses the run's scheduler
// on every object it touches, wherever that was made; all other threads are native. A Mutex may be shared by
// both kinds of thread; a CondVar or a Thread may not.
//
//   sched::Mutex mutex{"queue"};
//   sched::CondVar ready{"queue.ready"};
//   sched::Thread worker("worker", [&] { sched::UniqueLock lock(mutex); ready.wait(lock, [&] { return done;
//   }); }); { sched::LockGuard lock(mutex); done = true; } ready.notify_all(); worker.join();
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace headrace::sched {

class Mutex;
class CondVar;

// A chrono clock. Monotonic; virtual inside a deterministic run.
struct Clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<Clock>;
  static constexpr bool is_steady = true;

  static time_point now();
  // Now plus `duration`, saturating: a caller's "forever" is time_point::max(), never an overflow.
  static time_point after(duration wait);
};

namespace detail {

struct Task;  // a thread of a deterministic run

inline std::atomic<int> active_runs{0};
Task* current_task() noexcept;  // null on native threads
inline bool deterministic() noexcept {
  return active_runs.load(std::memory_order_relaxed) != 0 && current_task() != nullptr;
}

void lock(Mutex& mutex);
bool try_lock(Mutex& mutex);
void unlock(Mutex& mutex) noexcept;
bool wait(CondVar& condition, Mutex& mutex, Clock::time_point deadline);
void notify(CondVar& condition, bool all) noexcept;
void yield() noexcept;

}  // namespace detail

// Satisfies Lockable. `name` appears in deadlock reports and must outlive the mutex (a literal).
class Mutex {
 public:
  explicit Mutex(const char* name = "mutex") noexcept : name_(name) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() {
    if (detail::deterministic()) [[unlikely]]
      return detail::lock(*this);
    native_.lock();
  }
  bool try_lock() {
    if (detail::deterministic()) [[unlikely]]
      return detail::try_lock(*this);
    return native_.try_lock();
  }
  void unlock() {
    if (detail::deterministic()) [[unlikely]]
      return detail::unlock(*this);
    native_.unlock();
  }
  const char* name() const noexcept { return name_; }

 private:
  friend class CondVar;
  friend void detail::lock(Mutex&);
  friend bool detail::try_lock(Mutex&);
  friend void detail::unlock(Mutex&) noexcept;
  friend bool detail::wait(CondVar&, Mutex&, Clock::time_point);
  friend struct DeadlockReport;

  std::mutex native_;
  std::atomic<std::uint64_t> owner_{0};  // the deterministic holder: run number << 16 | task number + 1
  const char* name_;
};

using LockGuard = std::lock_guard<Mutex>;
using UniqueLock = std::unique_lock<Mutex>;

// Wakes may be spurious (the deterministic scheduler makes some on purpose): wait with a predicate.
class CondVar {
 public:
  explicit CondVar(const char* name = "condition") noexcept : name_(name) {}
  CondVar(const CondVar&) = delete;
  CondVar& operator=(const CondVar&) = delete;

  void wait(UniqueLock& lock) { wait_until(lock, Clock::time_point::max()); }
  template <class Predicate>
  void wait(UniqueLock& lock, Predicate predicate) {
    while (!predicate()) wait(lock);
  }

  // False when the deadline passed without a wake. time_point::max() means no deadline.
  bool wait_until(UniqueLock& lock, Clock::time_point deadline);
  // Returns the predicate's last value.
  template <class Predicate>
  bool wait_until(UniqueLock& lock, Clock::time_point deadline, Predicate predicate) {
    while (!predicate()) {
      if (!wait_until(lock, deadline)) return predicate();
    }
    return true;
  }
  template <class Predicate>
  bool wait_for(UniqueLock& lock, Clock::duration timeout, Predicate predicate) {
    return wait_until(lock, Clock::after(timeout), std::move(predicate));
  }

  void notify_one() noexcept {
    if (detail::deterministic()) [[unlikely]]
      return detail::notify(*this, false);
    native_.notify_one();
  }
  void notify_all() noexcept {
    if (detail::deterministic()) [[unlikely]]
      return detail::notify(*this, true);
    native_.notify_all();
  }
  const char* name() const noexcept { return name_; }

 private:
  std::condition_variable native_;
  const char* name_;
};

// Must be joined before it is destroyed or assigned to: otherwise the process ends with the thread's name.
// `body` must not let an exception out: natively that ends the process, in a deterministic run run() throws
// it.
class Thread {
 public:
  Thread() noexcept = default;
  Thread(std::string name, std::function<void()> body);
  Thread(Thread&& other) noexcept;
  Thread& operator=(Thread&& other) noexcept;
  ~Thread();

  bool joinable() const noexcept { return native_.joinable() || task_ != nullptr; }
  void join();

 private:
  void require_joined() const noexcept;

  std::string name_;
  std::thread native_;
  std::shared_ptr<detail::Task> task_;
  std::shared_ptr<char> order_;  // token of base/hooks.h: starting and joining order what is around them
};

// Unequal for any two threads that live at the same time; not the operating system's number.
std::uint64_t this_thread_id() noexcept;

void sleep_until(Clock::time_point deadline);
inline void sleep_for(Clock::duration duration) { sleep_until(Clock::after(duration)); }

// One turn of a loop that polls: a pause of the processor, or `give_way`: of the thread. In a deterministic
// run it takes a microsecond of virtual time, so that what is polled for can happen.
void poll_pause(bool give_way);

// Put it beside accesses to atomics that other threads race for: the deterministic scheduler may switch here.
inline void yield_point() noexcept {
  if (detail::deterministic()) [[unlikely]]
    detail::yield();
}

struct DeterministicOptions {
  std::uint64_t seed = 0;
  std::chrono::milliseconds watchdog{10'000};  // real time that one thread may spend between two seam calls
  std::uint64_t max_steps = 2'000'000;         // more seam calls than this is reported as a livelock
  bool spurious_wakes = true;
};

// Runs `body`, and every Thread that it starts, one at a time in an order that the seed decides.
//
// run() returns when all of them have finished, and throws
//   - the first exception that left the body or one of its threads (after all threads have finished), or
//   - Error when all threads wait without a deadline (deadlock), when max_steps is passed (livelock), or when
//     the watchdog finds a thread blocked outside the seam. It names every thread and what that waits for.
// After the second kind the run's threads are parked for good and what they own is leaked, since destructors
// would only wait again. So make the objects inside the body, not around it.
// The operating system's threads are re-used by later runs: thread_local variables keep their values.
class DeterministicScheduler {
 public:
  explicit DeterministicScheduler(std::uint64_t seed) : options_{.seed = seed} {}
  explicit DeterministicScheduler(const DeterministicOptions& options) : options_(options) {}

  void run(std::function<void()> body);

  // Of the last run; also valid after it has thrown.
  std::uint64_t trace_hash() const noexcept { return trace_hash_; }  // of all decisions, in order
  std::uint64_t steps() const noexcept { return steps_; }
  std::uint64_t switches() const noexcept { return switches_; }

 private:
  DeterministicOptions options_;
  std::uint64_t trace_hash_ = 0;
  std::uint64_t steps_ = 0;
  std::uint64_t switches_ = 0;
};

// Runs `body` under the seeds first_seed, first_seed + 1, ...; what it throws comes out as an Error that
// names the seed: pass that seed to DeterministicScheduler to see the same interleaving again.
void explore(std::uint64_t first_seed, std::uint64_t count, const std::function<void()>& body);

}  // namespace headrace::sched
