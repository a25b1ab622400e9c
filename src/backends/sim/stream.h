// Streams of the simulated machine. Contract: see device.h.
#pragma once

#include <memory>

#include "backends/sim/machine.h"

namespace headrace::sim {

std::unique_ptr<Stream> make_stream(std::weak_ptr<Device> device, MachineRef machine,
                                    const StreamOptions& options);

}  // namespace headrace::sim
