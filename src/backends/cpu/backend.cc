#include "backends/backend.h"

#include "backends/cpu/isa.h"
#include "backends/cpu/tactics.h"
#include "device/host_device.h"

namespace headrace {

Backend make_cpu_backend() {
  Backend backend;
  backend.name = "cpu";
  backend.make_device = [](std::string_view) -> DeviceRef {
    return make_host_device({.kind = "cpu", .model = cpu::model_name()});
  };
  backend.list_devices = [](std::size_t) {
    return std::vector<DeviceListing>{
        {.name = "cpu", .model = cpu::model_name(), .why_not = "", .notes = {}, .lacks = ""}};
  };
#define X(factory) backend.tactics.push_back(cpu::make_##factory());
#include "backends/cpu/tactics.inc"
#undef X
  return backend;
}

}  // namespace headrace
