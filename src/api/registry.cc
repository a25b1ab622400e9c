#include "api/registry.h"

#include <headrace/headrace.h>

namespace headrace {

namespace api {

const Registry& registry() {
  static const Registry instance = [] {
    Registry r;
    r.add(make_cpu_backend());
    r.add(make_reference_backend());
#ifdef HEADRACE_CUDA
    r.add(make_cuda_backend());
#endif
    return r;
  }();
  return instance;
}

}  // namespace api

std::vector<DeviceInfo> devices() {
  std::vector<DeviceInfo> result;
  for (const auto& backend : api::registry().backends())
    for (DeviceListing& d : backend->list_devices())
      result.push_back({std::move(d.name), std::move(d.model), std::move(d.why_not), std::move(d.notes)});
  return result;
}

std::string_view version() { return "0.1.0"; }

}  // namespace headrace
