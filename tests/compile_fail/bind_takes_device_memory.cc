// expect: no matching function for call to
// T-KIND: pinned memory is no device memory.
#include <headrace/runtime.h>
void f(headrace::Context& context, headrace::DeviceBuffer<float>& device,
       headrace::PinnedBuffer<float>& pinned) {
#ifdef HEADRACE_CONTROL
  context.bind("x", device.span());
  (void)pinned;
#else
  context.bind("x", pinned.span());
  (void)device;
#endif
}
