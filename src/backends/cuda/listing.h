#pragma once

#include <vector>

#include "backends/backend.h"

namespace headrace::cuda {

/// All GPUs; where there is none, one entry that says why.
std::vector<DeviceListing> list_devices();

}  // namespace headrace::cuda
