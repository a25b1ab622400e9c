// expect: deleted function
#include <utility>

#include <headrace/session.h>
void f(headrace::Ticket ticket) {
#ifdef HEADRACE_CONTROL
  headrace::Ticket other = std::move(ticket);
#else
  headrace::Ticket other = ticket;
#endif
  (void)other;
}
