// expect: discards qualifiers
#include <utility>

#include <headrace/session.h>
void f(headrace::Ticket ticket) {
#ifdef HEADRACE_CONTROL
  std::move(ticket).then([](headrace::Ticket) {});
#else
  ticket.then([](headrace::Ticket) {});
#endif
}
