#include "runtime/engine.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/cpu.h"
#include "base/log.h"
#include "device/checker.h"
#include "plan/profiles.h"
#include "runtime/engine_state.h"

namespace headrace::runtime {
namespace {

/// Text from a plan, safe to print.
std::string printable(std::string text) {
  for (char& c : text)
    if (c < ' ' || c > '~') c = '?';
  return text;
}

std::string_view backend_of(std::string_view device) { return device.substr(0, device.find(':')); }

const Tactic* find_tactic(const Backend* backend, std::string_view id) {
  if (backend)
    for (const auto& tactic : backend->tactics)
      if (tactic->id() == id) return tactic.get();
  return nullptr;
}

IoInfo to_info(const PlanTensor& t) { return {.name = t.name, .dtype = t.dtype, .shape = t.shape}; }

BufferRef upload_weights(Device& device, const Plan& plan) {
  if (plan.weights.empty()) return nullptr;
  // Kernels only ever read weights: verify_plan refuses steps that write them.
  auto* data = const_cast<std::byte*>(plan.weights.data());
  BufferRef host = device.wrap(data, plan.weights.size(), plan.weights_owner);
  if (device.unified_memory()) return host;
  BufferRef buffer = device.allocate(plan.weights.size(), MemoryKind::device, MemoryUse::weights);
  const auto stream = device.make_stream({.name = "weights"});
  stream->copy({buffer.get(), 0, plan.weights.size(), Access::write},
               {host.get(), 0, plan.weights.size(), Access::read});
  stream->synchronize();
  return buffer;
}

DeviceRef open_device(const Backend& backend, const std::string& device, bool of_the_plan) {
  try {
    return backend.make_device(device);
  } catch (Error& e) {
    throw e.add_context(
        of_the_plan
            ? fmt::format("while opening '{}', for which the plan was built; a plan for this machine's "
                          "CPU is made with `--device cpu`",
                          device)
            : fmt::format("while opening the device '{}' that was asked for", device));
  }
}

}  // namespace

Engine::Engine() = default;
Engine::~Engine() = default;

std::shared_ptr<const Engine> Engine::create(std::shared_ptr<const Plan> plan, const Registry& registry,
                                             const EngineOptions& options) {
  verify_plan(*plan);
  const std::string device = options.device.empty() ? plan->device : options.device;
  if (backend_of(device) != backend_of(plan->device))
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format(
            "the plan was built for the device '{}', not for '{}'; build another plan for that device",
            plan->device, device));
  const Backend* backend = registry.find(backend_of(device));
  if (!backend)
    throw Error(
        ErrorCode::invalid_plan,
        fmt::format("the plan was built for the device '{}', which this build of headrace does not have",
                    device));
  if (options.threads < 0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("threads is {}; use 0 (all cores) or more", options.threads));

  std::shared_ptr<Engine> engine(new Engine());
  engine->state_ = std::make_unique<State>(options.kernel_cache_entries);
  State& state = *engine->state_;
  state.backend = backend;
  state.device = open_device(*backend, device, options.device.empty());
  state.device_name = device;
  if (options.trace) state.device = state.tracer = make_tracer(state.device);
  if (options.check_hazards)
    state.device = make_hazard_checker(
        state.device, [log = state.hazards](const Hazard& hazard) { log->add(to_string(hazard)); });
  if (state.device->unified_memory()) state.reference = registry.find("reference");
  state.threads = options.threads > 0 ? options.threads : usable_cores();
  state.memory_budget_bytes = options.memory_budget_bytes;
  state.max_recordings = options.max_recordings;
  if (plan->weights.size() > options.memory_budget_bytes)
    throw Error(
        ErrorCode::out_of_memory,
        fmt::format("the plan's weights need {} bytes, but the memory budget is {} bytes; raise the budget",
                    plan->weights.size(), options.memory_budget_bytes));
  for (std::int32_t i : plan->inputs)
    state.inputs.push_back(to_info(plan->tensors[static_cast<std::size_t>(i)]));
  for (std::int32_t i : plan->outputs)
    state.outputs.push_back(to_info(plan->tensors[static_cast<std::size_t>(i)]));
  for (const PlanStep& step : plan->steps) state.ops.push_back(from_record(step.op));
  for (std::size_t p = 0; p < plan->profiles.size(); ++p) {
    auto& tactics = state.tactics.emplace_back();
    for (const PlanStep& step : plan->steps) {
      const std::string& id = way_of(step, p).tactic;
      const Tactic* tactic = find_tactic(backend, id);
      if (!tactic) tactic = find_tactic(state.reference, id);
      if (!tactic)
        throw Error(
            ErrorCode::invalid_plan,
            fmt::format("the plan was built for '{}' with the tactic '{}', which this headrace does not "
                        "have; build the plan again",
                        plan->device_model, id));
      tactics.push_back(tactic);
    }
  }
  const auto& symbols = plan->shapes.symbols();
  for (std::size_t i = 0; i < symbols.size(); ++i)
    if (symbols[i].sources.front().reads_data()) state.value_symbols.push_back(i);
  if (plan->device_model != state.device->model()) {
    if (!state.device->unified_memory() && !options.foreign_plans)
      throw Error(ErrorCode::invalid_plan,
                  fmt::format("the plan was tuned on '{}', but {} is '{}', where its choices may be slow or "
                              "impossible; build the plan again here, or allow foreign plans",
                              printable(plan->device_model), device, state.device->model()));
    log(LogSeverity::warning, "the plan was tuned on '", printable(plan->device_model),
        "', this machine is '", state.device->model(),
        "': it runs, but may be slower than a plan built here");
  }
  state.weights = upload_weights(*state.device, *plan);
  state.plan = std::move(plan);
  return engine;
}

const Plan& Engine::plan() const { return *state_->plan; }
std::vector<std::string> Engine::hazards() const { return state_->hazards->lines(); }
Tracer* Engine::tracer() const { return state_->tracer.get(); }
Device& Engine::device() const { return *state_->device; }
int Engine::threads() const { return state_->threads; }
std::span<const IoInfo> Engine::inputs() const { return state_->inputs; }
std::span<const IoInfo> Engine::outputs() const { return state_->outputs; }

void Engine::check_shapes(const ShapeMap& shapes, std::size_t profile) const {
  static_cast<void>(state_->input_shapes(shapes, profile));
}

std::vector<std::int64_t> Engine::State::symbol_values(
    std::span<const Shape> shapes, const std::map<std::string, HostTensor, std::less<>>& host_values) const {
  const auto read = [&](const Symbol& symbol, const SymbolSource& source) {
    const auto input = static_cast<std::size_t>(source.input), index = static_cast<std::size_t>(source.index);
    if (source.kind == SymbolSource::dim) return shapes[input].at(index);
    const IoInfo& info = inputs[input];
    const auto it = host_values.find(info.name);
    if (it == host_values.end())
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format(
              "shapes inside the network depend on the values of input '{}'; pass them to prepare too "
              "(symbol '{}')",
              info.name, symbol.name));
    if (it->second.dtype() != info.dtype || it->second.shape() != shapes[input])
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the values given for input '{}' are {} {}, expected {} {}", info.name,
                              to_string(it->second.dtype()), to_string(it->second.shape()),
                              to_string(info.dtype), to_string(shapes[input])));
    if (source.index >= it->second.elements())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("input '{}' has {} elements, but the network reads element {}", info.name,
                              it->second.elements(), source.index));
    return read_symbol(it->second, source);
  };
  const auto describe = [&](const SymbolSource& s) {
    return fmt::format("input '{}' {} {}", inputs[static_cast<std::size_t>(s.input)].name,
                       s.kind == SymbolSource::dim ? "axis" : "element", s.index);
  };
  std::vector<std::int64_t> values;
  for (const Symbol& symbol : plan->shapes.symbols()) {
    const std::int64_t value = read(symbol, symbol.sources.front());
    for (const SymbolSource& source : symbol.sources)
      if (const std::int64_t other = read(symbol, source); other != value)
        throw Error(
            ErrorCode::invalid_argument,
            fmt::format("{} is {} and {} is {}, but both are '{}' and must be equal",
                        describe(symbol.sources.front()), value, describe(source), other, symbol.name));
    values.push_back(value);
  }
  return values;
}

}  // namespace headrace::runtime
