#include "api/registry.h"

#include <fmt/format.h>

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
    for (DeviceListing& d : backend->list_devices(SIZE_MAX))
      result.push_back({std::move(d.name), std::move(d.model), std::move(d.why_not), std::move(d.notes)});
  return result;
}

DefaultDevice default_device() {
  const Backend* cuda = api::registry().find("cuda");
  if (!cuda) return {"cpu", "this build of headrace is without CUDA"};
  const DeviceListing gpu = cuda->list_devices(1).front();
  if (!gpu.why_not.empty()) return {"cpu", fmt::format("no usable GPU: {}", gpu.why_not)};
  if (!gpu.lacks.empty())
    return {"cpu", fmt::format("{} ({}) lacks {}; `headrace env` says where it is looked for", gpu.name,
                               gpu.model, gpu.lacks)};
  return {gpu.name, fmt::format("a usable GPU, {}", gpu.model)};
}

std::string_view version() { return "0.1.0"; }

}  // namespace headrace
