// How long work on a stream takes.
#pragma once

#include <functional>
#include <vector>

#include "device/device.h"

namespace headrace {

/// Microseconds of what `work` submits to the stream, by the device's clock; where the device has none, by
/// the host's, the submission included. `begin` and `end` were made with `timing`.
double measured_us(Device& device, Stream& stream, Event& begin, Event& end,
                   const std::function<void()>& work);

/// Reorders `values`, which are not empty.
double median(std::vector<double>& values);

}  // namespace headrace
