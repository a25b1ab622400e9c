// expect: has no member named
#include <headrace/device.h>
float f(headrace::DeviceBuffer<float>& device, headrace::PinnedBuffer<float>& pinned) {
#ifdef HEADRACE_CONTROL
  (void)device;
  return pinned.read()[0];
#else
  (void)pinned;
  return device.read()[0];
#endif
}
