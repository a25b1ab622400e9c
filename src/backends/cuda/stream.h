// Streams of a CUDA device: non-blocking ones, never the legacy stream. Contract: device/device.h.
#pragma once

#include <memory>

#include "backends/cuda/memory.h"
#include "device/device.h"

namespace headrace::cuda {

std::unique_ptr<Stream> make_stream(MemoryRef memory, const StreamOptions& options);
/// Somebody else's, of this GPU; no default stream.
std::unique_ptr<Stream> wrap_stream(MemoryRef memory, CUstream stream, const StreamOptions& options);

}  // namespace headrace::cuda
