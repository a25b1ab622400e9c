// A machine whose device memory is not host memory, played on the host, that can record: the backend `apart`.
#pragma once

#include "device/host_device.h"
#include "plan/run_util.h"
#include "runtime/engine_state.h"

namespace headrace::test {

/// Reference kernels on such a device.
inline Registry make_apart_registry(std::size_t recording_limit_bytes = SIZE_MAX,
                                    std::size_t budget_bytes = SIZE_MAX) {
  Registry registry;
  Backend backend = make_reference_backend();
  backend.name = "apart";
  backend.make_device = [=](std::string_view) {
    return make_host_device({.kind = "apart",
                             .model = "",
                             .threads = 1,
                             .budget_bytes = budget_bytes,
                             .recordings = true,
                             .recording_limit_bytes = recording_limit_bytes,
                             .separate_memory = true});
  };
  registry.add(std::move(backend));
  return registry;
}
inline const Registry& apart_registry() {
  static const Registry registry = make_apart_registry();
  return registry;
}

/// small_graph() with a batch of up to 8.
inline runtime::EngineRef apart_engine(const Registry& registry, int opt_level = 0,
                                       const runtime::EngineOptions& engine_options = {.threads = 1}) {
  compiler::Options options;
  options.device = "apart";
  options.opt_level = opt_level;
  options.threads = 1;
  options.profiles = {{{"*", {0}, {1}, {8}}}};
  return runtime::Engine::create(
      std::make_shared<const Plan>(compiler::compile(small_graph(), registry, options)), registry,
      engine_options);
}

}  // namespace headrace::test
