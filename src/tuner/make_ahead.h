// Slow things made ahead by several threads, handed out in order.
//
// Problem: some kernels take seconds to compile and most take none; the thread that times them must not wait
// for a compiler while there is something to time. Contract: `take(i)` gives what `make(i)` returned, and is
// asked for 0, 1, 2 ...; it makes it itself if nobody has begun it. Threads begin at the far end, where
// tactics list what is slow. `make` must not throw. The destructor waits for what has begun and begins
// nothing new.
//   MakeAhead<Made> ahead(n, threads, enter, make);
//   for (std::size_t i = 0; i < n; ++i) time(ahead.take(i));
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/sched.h"

namespace headrace::tuner {

template <class T>
class MakeAhead {
 public:
  /// `enter`: called by each thread, its result lives as long as the thread (Device::enter).
  MakeAhead(std::size_t count, int threads, std::function<std::shared_ptr<void>()> enter,
            std::function<T(std::size_t)> make)
      : make_(std::move(make)), slots_(count) {
    for (int i = 0; i < threads && static_cast<std::size_t>(i) + 1 < count; ++i)
      threads_.emplace_back("make ahead", [this, enter] {
        const std::shared_ptr<void> inside = enter();
        while (work()) {
        }
      });
  }
  ~MakeAhead() {
    {
      sched::LockGuard lock(mutex_);
      stopped_ = true;
    }
    for (sched::Thread& t : threads_) t.join();
  }
  MakeAhead(const MakeAhead&) = delete;
  MakeAhead& operator=(const MakeAhead&) = delete;

  T take(std::size_t i) {
    Slot& slot = slots_[i];
    {
      sched::UniqueLock lock(mutex_);
      if (slot.begun) {
        made_.wait(lock, [&] { return slot.value != nullptr; });
        return std::move(*std::exchange(slot.value, nullptr));
      }
      slot.begun = true;
    }
    return make_(i);
  }

 private:
  struct Slot {
    bool begun = false;
    std::unique_ptr<T> value;
  };
  /// Makes the last one that nobody has begun; false when there is none.
  bool work() {
    std::size_t i = slots_.size();
    {
      sched::LockGuard lock(mutex_);
      if (stopped_) return false;
      while (i > 0 && slots_[i - 1].begun) --i;
      if (i == 0) return false;
      slots_[--i].begun = true;
    }
    auto value = std::make_unique<T>(make_(i));
    {
      sched::LockGuard lock(mutex_);
      slots_[i].value = std::move(value);
    }
    made_.notify_all();
    return true;
  }

  std::function<T(std::size_t)> make_;
  sched::Mutex mutex_{"make ahead"};
  sched::CondVar made_{"made ahead"};
  std::vector<Slot> slots_;
  bool stopped_ = false;
  std::vector<sched::Thread> threads_;
};

}  // namespace headrace::tuner
