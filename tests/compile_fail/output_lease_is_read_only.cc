// expect: assignment of read-only location
#include <headrace/session.h>
void f(headrace::Ticket& ticket) {
  headrace::OutputLease out = ticket.get();
#ifdef HEADRACE_CONTROL
  const float v = out["y"].as<float>()[0];
  (void)v;
#else
  out["y"].as<float>()[0] = 1;
#endif
}
