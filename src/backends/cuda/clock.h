// The clock of a GPU's processors, by the driver's management library (libnvidia-ml.so.1) where it is found.
#pragma once

#include <optional>
#include <string>

namespace headrace::cuda {

/// MHz at this moment of the GPU with this PCI bus id; nothing where it cannot be read. Thread-safe; some
/// milliseconds the first time.
std::optional<double> sm_clock_mhz(const std::string& bus_id);

}  // namespace headrace::cuda
