// Latency: how long an item took until somebody held its result.
//
//   hr::Ticket ticket = session.submit(std::move(in));
//   hr::OutputLease out = ticket.get();
//   std::chrono::nanoseconds took = hr::Latency(out).value();
//
// Problem: the time until an asynchronous call has returned is the time of the call, not of the inference.
// Contract: only an awaited ticket gives an OutputLease, so that no Latency exists of what nobody has waited
// for; one cannot be made from a ticket in flight, nor from a number. It ends when it is made: make it at
// once.
#pragma once

#include <chrono>
#include <cstdint>

#include <headrace/session.h>

namespace headrace {

class Latency {
 public:
  /// From submit until now.
  explicit Latency(const OutputLease& awaited);
  /// From that moment of the session's clock until now: when a request came that could not be submitted at
  /// once. Error(misuse) when it lies after the submit.
  Latency(const OutputLease& awaited, std::int64_t since_ns);
  /// From submit until now, of a ticket whose result is ready. Error(misuse) when it is not, or has failed.
  static Latency of(const Ticket& ticket);
  std::chrono::nanoseconds value() const { return std::chrono::nanoseconds(end_ns_ - begin_ns_); }
  std::int64_t begin_ns() const { return begin_ns_; }
  std::int64_t end_ns() const { return end_ns_; }

 private:
  explicit Latency(std::int64_t begin_ns);
  std::int64_t begin_ns_ = 0, end_ns_ = 0;
};

}  // namespace headrace
