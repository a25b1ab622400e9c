// Streams of the host device: inline, and with a worker thread. Contract: see host_device.h.
#pragma once

#include <memory>

#include "device/device.h"
#include "device/ledger.h"

namespace headrace::host {

/// Whether and how a device records.
struct Recordings {
  std::shared_ptr<Ledger> ledger;  ///< counts them; null: the device does not record
  std::size_t limit_bytes = SIZE_MAX;
};

std::unique_ptr<Stream> make_inline_stream(const StreamOptions& options, Recordings recordings);
std::unique_ptr<Stream> make_worker_stream(const StreamOptions& options, Recordings recordings);

}  // namespace headrace::host
