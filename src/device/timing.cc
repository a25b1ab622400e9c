#include "device/timing.h"

#include <algorithm>

#include "base/sched.h"

namespace headrace {

double measured_us(Device& device, Stream& stream, Event& begin, Event& end,
                   const std::function<void()>& work) {
  const auto start = sched::Clock::now();
  stream.record(begin);
  work();
  stream.record(end);
  if (const auto us = device.elapsed_us(begin, end)) return *us;
  stream.synchronize();
  return std::chrono::duration<double, std::micro>(sched::Clock::now() - start).count();
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace headrace
