// A CUDA GPU as a Device: the primary context, streams, events, pooled memory, recordings (CUDA graphs).
//
// Contract: see device/device.h. Streams are non-blocking ones, the legacy stream is never used. Device and
// pinned memory come from bounded caching pools; device memory is 256-byte aligned. A copy between device and
// pinned memory is asynchronous; one that involves pageable memory, or host memory on both sides, waits on
// the host and is counted in MemoryStats::waiting_copies. A launch that fails poisons the stream as on the
// host device (device/poison.h). An error that CUDA does not recover from marks the device dead: every later
// call and every waiter gets the Error that says so. Buffers, events, streams and recordings may outlive the
// Device object: they share the context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "device/device.h"

namespace headrace::cuda {

struct DeviceOptions {
  int ordinal = 0;
  std::size_t budget_bytes = SIZE_MAX;  ///< of device memory that lives at the same time
  std::size_t device_cache_bytes = std::size_t{1}
                                   << 28;  ///< freed memory kept for the next allocation, at most
  std::size_t pinned_cache_bytes = std::size_t{1} << 28;
};

/// Error(device) when there is no driver or no such GPU, with the reason.
DeviceRef make_device(const DeviceOptions& options);
/// From "cuda" or "cuda:1"; Error(invalid_argument) for any other text.
DeviceRef make_device(std::string_view text);

}  // namespace headrace::cuda
