// expect: no matching function for call to .*Latency
#include <headrace/latency.h>

using namespace headrace;

std::chrono::nanoseconds measure(Session& session, InputLease in) {
  Ticket ticket = session.submit(std::move(in));
#ifdef HEADRACE_CONTROL
  const OutputLease out = ticket.get();
  return Latency(out).value();
#else
  return Latency(ticket).value();  // the call has returned, nothing has been waited for
#endif
}
