// Streams of the host device: inline, and with a worker thread. Contract: see host_device.h.
#pragma once

#include <memory>

#include "device/device.h"

namespace headrace::host {

std::unique_ptr<Stream> make_inline_stream(const StreamOptions& options, bool records);
std::unique_ptr<Stream> make_worker_stream(const StreamOptions& options, bool records);

}  // namespace headrace::host
