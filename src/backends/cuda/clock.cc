#include "backends/cuda/clock.h"

#include "backends/cuda/library.h"

namespace headrace::cuda {
namespace {

// The part of NVML's interface that is needed; its functions return 0 for success.
constexpr unsigned kClockSm = 1;
using NvmlDevice = void*;

struct Nvml {
  int (*init)() = nullptr;
  int (*by_bus_id)(const char*, NvmlDevice*) = nullptr;
  int (*clock)(NvmlDevice, unsigned, unsigned*) = nullptr;
  bool usable = false;

  Nvml() {
    static const Library library({"libnvidia-ml.so.1"});
    if (!library.found()) return;
    std::string missing;
    library.bind(init, "nvmlInit_v2", missing);
    library.bind(by_bus_id, "nvmlDeviceGetHandleByPciBusId_v2", missing);
    library.bind(clock, "nvmlDeviceGetClockInfo", missing);
    usable = missing.empty() && init() == 0;
  }
};

}  // namespace

std::optional<double> sm_clock_mhz(const std::string& bus_id) {
  static const Nvml nvml;
  NvmlDevice device = nullptr;
  unsigned mhz = 0;
  if (!nvml.usable || nvml.by_bus_id(bus_id.c_str(), &device) != 0 || nvml.clock(device, kClockSm, &mhz) != 0)
    return std::nullopt;
  return mhz;
}

}  // namespace headrace::cuda
