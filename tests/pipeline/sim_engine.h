// The small network of small_engine.h on the simulated machine.
#pragma once

#include "backends/sim/device.h"
#include "pipeline/small_engine.h"
#include "runtime/engine.h"

namespace headrace::testing {

/// Compiled once, outside of virtual time.
inline const PlanFile& sim_plan() {
  static const PlanFile plan = small_plan("reference");
  return plan;
}

struct SimEngine {
  explicit SimEngine(sim::Options options = {.spec = sim::Spec::instant()}, bool check_hazards = false,
                     const std::shared_ptr<const Plan>& plan = sim_plan().data(), bool trace = false) {
    static const std::string host = make_reference_backend().make_device("reference")->model();
    options.model = host;  // that of the plan
    device = sim::make_device(options);
    registry.add(sim::on_device(make_reference_backend(), device));
    engine = Engine::from(runtime::Engine::create(
        plan, registry, {.threads = 1, .check_hazards = check_hazards, .trace = trace}));
  }
  std::shared_ptr<sim::SimDevice> device;
  Registry registry;
  Engine engine;
};

}  // namespace headrace::testing
