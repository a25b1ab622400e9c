// expect: ignoring return value
#include <headrace/runtime.h>
void f(headrace::Context& context, headrace::DeviceStream& stream) {
#ifdef HEADRACE_CONTROL
  context.enqueue(stream).wait();
#else
  context.enqueue(stream);
#endif
}
