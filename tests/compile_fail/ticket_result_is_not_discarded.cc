// expect: ignoring return value
#include <headrace/session.h>
void f(headrace::Ticket& ticket) {
#ifdef HEADRACE_CONTROL
  (void)ticket.get();
#else
  ticket.get();
#endif
}
