// Counts the bytes that live, by use, and holds a budget. Shared by a device and its buffers, which may
// outlive it. Thread-safe.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include "base/sched.h"
#include "device/device.h"

namespace headrace {

class Ledger {
 public:
  explicit Ledger(std::size_t budget) : budget_(budget) {}
  /// Error(out_of_memory) when the budget has no room for it. Memory that is not `budgeted` is counted only.
  void take(std::size_t size, MemoryUse use, bool budgeted = true) {
    sched::LockGuard lock(mutex_);
    if (budgeted && size > budget_ - total_)
      throw Error(ErrorCode::out_of_memory,
                  std::to_string(size) + " bytes for " + std::string(to_string(use)) + " do not fit: " +
                      std::to_string(total_) + " of a budget of " + std::to_string(budget_) + " are in use");
    const auto i = static_cast<std::size_t>(use);
    if (budgeted) total_ += size;
    stats_.current[i] += size;
    stats_.high_water[i] = std::max(stats_.high_water[i], stats_.current[i]);
    ++stats_.allocations;
  }
  void give_back(std::size_t size, MemoryUse use, bool budgeted = true) {
    sched::LockGuard lock(mutex_);
    if (budgeted) total_ -= size;
    stats_.current[static_cast<std::size_t>(use)] -= size;
  }
  void count_waiting_copy() {
    sched::LockGuard lock(mutex_);
    ++stats_.waiting_copies;
  }
  MemoryStats stats() const {
    sched::LockGuard lock(mutex_);
    return stats_;
  }

 private:
  mutable sched::Mutex mutex_{"device.memory"};
  std::size_t budget_, total_ = 0;
  MemoryStats stats_;
};

}  // namespace headrace
