// expect: no matching function for call to
#include <headrace/session.h>
void f(headrace::Session& session, headrace::DeviceTensor device, headrace::ConstTensorView host) {
#ifdef HEADRACE_CONTROL
  (void)session.submit_device({{"x", device}});
  (void)host;
#else
  (void)session.submit_device({{"x", host}});
  (void)device;
#endif
}
