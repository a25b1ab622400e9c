// expect: deleted function
#include <headrace/session.h>
void f(headrace::Session& session, headrace::InputLease& lease) {
#ifdef HEADRACE_CONTROL
  (void)session.submit(std::move(lease));
#else
  (void)session.submit(headrace::InputLease(lease));
#endif
}
