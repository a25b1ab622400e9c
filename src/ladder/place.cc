#include "ladder/place.h"

#include <algorithm>
#include <map>

#include "base/sched.h"

namespace headrace::ladder {
namespace {

/// Times of launches on the simulated machine: steps that read inputs take `consumed` together, the others
/// the rest of `compute`. A thread submits the launches of an inference one after the other, so its count
/// says which step comes next.
sim::LaunchMs launch_times(const Plan& plan, double compute, double consumed) {
  struct State {
    sched::Mutex mutex{"sim.launches"};
    std::map<std::uint64_t, std::size_t> by_thread;
    std::vector<double> full;  ///< by step: bytes of its largest results so far
  };
  std::vector<bool> reads;
  std::size_t readers = 0;
  for (const PlanStep& step : plan.steps) {
    reads.push_back(std::any_of(step.inputs.begin(), step.inputs.end(), [&](std::int32_t t) {
      return std::find(plan.inputs.begin(), plan.inputs.end(), t) != plan.inputs.end();
    }));
    readers += reads.back();
  }
  const std::size_t others = reads.size() - readers;
  if (readers == 0) consumed = 0;
  if (others == 0) consumed = compute;
  consumed = std::min(consumed, compute);
  const double reading = readers ? consumed / static_cast<double>(readers) : 0;
  const double working = others ? (compute - consumed) / static_cast<double>(others) : 0;
  auto state = std::make_shared<State>();
  state->full.assign(reads.size(), 0);
  return [=](const Kernel&, std::span<const Operand> operands) {
    double bytes = 0;
    for (const Operand& o : operands)
      if (o.access != Access::read) bytes += static_cast<double>(o.size);
    sched::LockGuard lock(state->mutex);
    const std::size_t step = state->by_thread[sched::this_thread_id()]++ % reads.size();
    double& full = state->full[step] = std::max(state->full[step], bytes);
    return (full > 0 ? bytes / full : 1) * (reads[step] ? reading : working);
  };
}

}  // namespace

Placed place(const std::shared_ptr<const Plan>& plan, const Registry& real,
             const runtime::EngineOptions& options, const std::optional<SimSpeeds>& simulated) {
  Placed placed;
  if (simulated) {
    placed.sim = sim::make_device(
        {.spec = simulated->spec,
         .model = plan->device_model,
         .upload_bytes = simulated->upload_bytes,
         .download_bytes = simulated->download_bytes,
         .launch_ms = launch_times(*plan, simulated->compute_ms, simulated->spec.consumed_ms)});
    placed.registry = std::make_unique<Registry>();
    placed.registry->add(sim::on_device(make_reference_backend(), placed.sim));
  }
  placed.engine = runtime::Engine::create(plan, simulated ? *placed.registry : real, options);
  return placed;
}

void in_virtual_time(std::uint64_t seed, const std::function<void()>& body) {
  sched::DeterministicScheduler(
      {.seed = seed, .watchdog = std::chrono::seconds(60), .max_steps = 1'000'000'000})
      .run(body);
}

}  // namespace headrace::ladder
