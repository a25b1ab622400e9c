#pragma once

#include <vector>

#include "backends/backend.h"

namespace headrace::cuda {

/// The first `at_most` GPUs; where there is none, one entry that says why.
std::vector<DeviceListing> list_devices(std::size_t at_most);

}  // namespace headrace::cuda
