#include <fmt/format.h>

#include <headrace/latency.h>

#include "pipeline/session_core.h"

namespace headrace {

Latency::Latency(std::int64_t begin_ns) : begin_ns_(begin_ns), end_ns_(pipeline::now_ns()) {}

Latency::Latency(const OutputLease& awaited) : Latency(awaited.times().submitted_ns) {}

Latency::Latency(const OutputLease& awaited, std::int64_t since_ns) : Latency(since_ns) {
  if (since_ns > awaited.times().submitted_ns)
    throw Error(ErrorCode::misuse,
                fmt::format("a latency cannot begin {} ns after its item was submitted; pass the moment at "
                            "which the request came",
                            since_ns - awaited.times().submitted_ns));
}

Latency Latency::of(const Ticket& ticket) {
  const TicketStatus status = ticket.status();
  if (status != TicketStatus::done)
    throw Error(ErrorCode::misuse, fmt::format("there is no latency of item {}: it is {}, and only a result "
                                               "that is there has one; wait for the ticket first",
                                               ticket.sequence(), to_string(status)));
  return Latency(ticket.times().submitted_ns);
}

}  // namespace headrace
