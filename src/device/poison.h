// Errors of failed work on their way to whoever waits: shared by the streams of all devices.
//
// Contract: work that is submitted to a stream after failed work is skipped, and every event recorded after
// it carries the error, until a host thread has met the error (Event::wait, wait_for or Stream::synchronize
// threw it). What is submitted after that runs again. A stream that waits for a poisoned event is poisoned
// too. "After" is counted in epochs: the number of errors that hosts have met when work is submitted.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>

namespace headrace {

/// Work submitted in an epoch of `observed_at` or later runs.
struct Poison {
  explicit Poison(std::exception_ptr e) : error(std::move(e)) {}
  std::exception_ptr error;
  std::atomic<std::uint64_t> observed_at{UINT64_MAX};
  [[noreturn]] void observe_and_throw();
};
using PoisonRef = std::shared_ptr<Poison>;

/// Number of errors that hosts have met so far.
std::uint64_t current_epoch() noexcept;

/// The error that a stream carries at the moment; null when work runs.
class Failure {
 public:
  /// Whether work of this epoch is to be skipped.
  bool skips(std::uint64_t epoch) {
    if (poison_ && epoch >= poison_->observed_at.load(std::memory_order_acquire)) poison_.reset();
    return poison_ != nullptr;
  }
  void fail(std::exception_ptr error) { join(std::make_shared<Poison>(std::move(error)), current_epoch()); }
  /// The stream waited, in that epoch, for an event that carries `poison` (or null).
  void join(PoisonRef poison, std::uint64_t epoch) {
    if (!poison || poison_) return;
    if (epoch >= poison->observed_at.load(std::memory_order_acquire))
      poison = std::make_shared<Poison>(poison->error);  // met elsewhere, not by our waiters
    poison_ = std::move(poison);
  }
  /// What follows does not depend on what failed.
  void clear() { poison_.reset(); }
  const PoisonRef& poison() const { return poison_; }

 private:
  PoisonRef poison_;
};

}  // namespace headrace
