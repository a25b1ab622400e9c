// expect: destination and source hold different element types
#include <headrace/device.h>
void f(headrace::DeviceStream& stream, headrace::DeviceBuffer<float>& device,
       headrace::PinnedBuffer<std::int32_t>& integers, headrace::PinnedBuffer<float>& floats) {
#ifdef HEADRACE_CONTROL
  copy(stream, device.span(), floats.span());
  (void)integers;
#else
  copy(stream, device.span(), integers.span());
  (void)floats;
#endif
}
