// expect: cannot bind rvalue reference
#include <headrace/session.h>
void f(headrace::Session& session, headrace::InputLease& lease) {
#ifdef HEADRACE_CONTROL
  (void)session.submit(std::move(lease));
#else
  (void)session.submit(lease);
#endif
}
