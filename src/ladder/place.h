// A plan on its machine: a real device, or the simulated one in virtual time.
//
//   const SimSpeeds speeds{spec, spec.compute_fp32_ms, upload_bytes, download_bytes};
//   in_virtual_time(seed, [&] { Placed placed = place(plan, registry, {.threads = 1}, speeds); ... });
//
// On the simulated machine the reference kernels compute, so the plan has to be one of "reference". What is
// placed inside of virtual time is used and given up there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "backends/sim/device.h"
#include "runtime/engine.h"

namespace headrace::ladder {

/// How long the simulated machine takes for a batch of the largest shapes that are prepared: those first.
/// Smaller ones take their share of the bytes, of the copies and, layer by layer, of the results.
struct SimSpeeds {
  sim::Spec spec;
  double compute_ms = 0;                             ///< all kernels of an inference
  std::size_t upload_bytes = 0, download_bytes = 0;  ///< to which the spec's copies belong
};

/// Destroyed in the order engine, registry, device.
struct Placed {
  std::shared_ptr<sim::SimDevice> sim;  ///< null on a real machine
  std::unique_ptr<Registry> registry;   ///< the simulated machine's
  runtime::EngineRef engine;
};
Placed place(const std::shared_ptr<const Plan>& plan, const Registry& real,
             const runtime::EngineOptions& options, const std::optional<SimSpeeds>& simulated);

void in_virtual_time(std::uint64_t seed, const std::function<void()>& body);

}  // namespace headrace::ladder
