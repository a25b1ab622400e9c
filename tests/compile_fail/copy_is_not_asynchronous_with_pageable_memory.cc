// expect: pageable memory is not copied asynchronously
// T-PINNED-ONLY
#include <vector>

#include <headrace/device.h>
void f(headrace::DeviceStream& stream, headrace::DeviceBuffer<float>& buffer, std::vector<float>& values) {
#ifdef HEADRACE_CONTROL
  copy_and_wait(stream, buffer.span(), headrace::HostSpan(values));
#else
  copy(stream, buffer.span(), headrace::HostSpan(values));
#endif
}
