// Timing of queued work, for headrace/measure.h.
#pragma once

#include <algorithm>
#include <functional>
#include <vector>

#include "base/sched.h"
#include "device/device.h"
#include "device/timing.h"

namespace headrace::api {

inline Operand first_bytes(const BufferRef& buffer, std::size_t bytes, Access access) {
  return {buffer.get(), 0, bytes, access};
}

/// Median time of one `submit`, of batches that are long enough to be timed and are awaited by `wait`.
inline double queued_us(const std::function<void()>& submit, const std::function<void()>& wait, int repeats) {
  constexpr double kBatchUs = 2000;  // far more than a clock's step and a wait
  const auto batch_us = [&](int n) {
    const auto start = sched::Clock::now();
    for (int i = 0; i < n; ++i) submit();
    wait();
    return std::chrono::duration<double, std::micro>(sched::Clock::now() - start).count();
  };
  batch_us(1);  // pages and kernels are there afterwards
  const double once_us = batch_us(1);
  const int count = std::clamp(static_cast<int>(kBatchUs / std::max(once_us, 0.1)) + 1, 1, 500);
  if (once_us > 2e5) repeats = 1;
  std::vector<double> times;
  for (int r = 0; r < repeats; ++r) times.push_back(batch_us(count) / count);
  return median(times);
}

}  // namespace headrace::api
