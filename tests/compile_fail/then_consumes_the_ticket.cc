// expect: discards qualifiers
#include <headrace/session.h>
#include <utility>
void f(headrace::Ticket ticket) {
#ifdef HEADRACE_CONTROL
  std::move(ticket).then([](headrace::Ticket) {});
#else
  ticket.then([](headrace::Ticket) {});
#endif
}
