// Factories of all tactics of this backend, one per line of tactics.inc.
//
// While a tactic is asked (candidates, pack, make) and while its kernel is launched, the device's context is
// current on the calling thread (Device::enter): cuCtxGetCurrent gives it. A NativeStream is a CUstream.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "backends/backend.h"

namespace headrace::cuda {

#define X(factory) std::unique_ptr<Tactic> make_##factory();
#include "backends/cuda/tactics.inc"
#undef X

}  // namespace headrace::cuda
