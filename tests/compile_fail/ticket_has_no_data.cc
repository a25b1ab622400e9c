// expect: no match for
#include <headrace/session.h>
void f(headrace::Ticket& ticket) {
#ifdef HEADRACE_CONTROL
  auto v = ticket.get()["y"];
#else
  auto v = ticket["y"];
#endif
  (void)v;
}
