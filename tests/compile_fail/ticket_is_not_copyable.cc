// expect: deleted function
#include <headrace/session.h>
#include <utility>
void f(headrace::Ticket ticket) {
#ifdef HEADRACE_CONTROL
  headrace::Ticket other = std::move(ticket);
#else
  headrace::Ticket other = ticket;
#endif
  (void)other;
}
