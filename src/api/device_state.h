// What is behind the handles of headrace/device.h.
#pragma once

#include <headrace/device.h>

#include "device/shared_stream.h"

namespace headrace::api {

DeviceRef device_of(const Engine& engine);
/// Error(misuse) when the memory was freed or belongs to another device. `what` names it.
detail::Held hold(const detail::Range& range, const DeviceRef& device, std::string_view what);

}  // namespace headrace::api
