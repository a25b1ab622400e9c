// expect: this destination is read-only
// T-DIRECTION: the direction follows from the types.
#include <headrace/device.h>
void f(headrace::DeviceStream& stream, headrace::DeviceBuffer<float>& device,
       const headrace::PinnedBuffer<float>& source) {
#ifdef HEADRACE_CONTROL
  copy(stream, device.span(), source.span());
#else
  copy(stream, source.span(), device.span());
#endif
}
