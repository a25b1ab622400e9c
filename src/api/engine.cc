#include <algorithm>

#include <fmt/format.h>

#include <headrace/runtime.h>

#include "api/registry.h"
#include "plan/plan.h"
#include "runtime/engine_state.h"

namespace headrace {

PlanFile PlanFile::load(const std::string& path, std::uint64_t memory_budget_bytes) {
  return PlanFile(std::make_shared<const Plan>(load_plan(path, {memory_budget_bytes})));
}

PlanFile PlanFile::from_bytes(std::span<const std::byte> bytes, std::uint64_t memory_budget_bytes) {
  auto copy = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
  return PlanFile(std::make_shared<const Plan>(read_plan(*copy, copy, {memory_budget_bytes})));
}

void PlanFile::save(const std::string& path) const { save_plan(*plan_, path); }

std::vector<std::byte> PlanFile::bytes() const { return write_plan(*plan_); }

struct Engine::State {
  runtime::EngineRef engine;
  std::vector<TensorInfo> inputs, outputs;
};

namespace {

Shape fixed_or_minus_one(const Dims& dims) {
  Shape shape;
  for (const Dim& d : dims) shape.push_back(d.is_constant() ? d.value : -1);
  return shape;
}

TensorInfo to_info(const Plan& plan, const runtime::IoInfo& io) {
  TensorInfo info{.name = io.name,
                  .dtype = io.dtype,
                  .shape_text = plan.shapes.to_string(io.shape),
                  .shape = fixed_or_minus_one(io.shape),
                  .min = {},
                  .opt = {},
                  .max = {}};
  for (const Profile& profile : plan.profiles)
    for (const ProfileRange& range : profile) {
      if (range.input != io.name) continue;
      if (info.opt.empty()) {
        info.min = range.min;
        info.opt = range.opt;
        info.max = range.max;
      }
      for (std::size_t a = 0; a < range.min.size(); ++a) {
        info.min[a] = std::min(info.min[a], range.min[a]);
        info.max[a] = std::max(info.max[a], range.max[a]);
      }
    }
  return info;
}

Precision precision_of(const Plan& plan) {
  const auto noted = plan.provenance.find("precision");
  return noted == plan.provenance.end() ? Precision::fp32
                                        : try_precision(noted->second).value_or(Precision::fp32);
}

std::optional<InputFormat> format_of(const Plan& plan, const runtime::IoInfo& input) {
  const auto noted = plan.provenance.find(kInputFormatKey + input.name);
  if (noted == plan.provenance.end()) return std::nullopt;
  try {
    InputFormat format = parse_input_format(noted->second);
    if (format.dtype == input.dtype) return format;
  } catch (const Error&) {  // told below
  }
  throw Error(
      ErrorCode::invalid_plan,
      fmt::format("input '{}' is {}, which does not fit the format that the plan notes of it, '{}'; build "
                  "the plan again",
                  input.name, to_string(input.dtype), noted->second));
}

}  // namespace

Engine Engine::load(const std::string& path, const LoadOptions& options) {
  try {
    return load(PlanFile::load(path, options.memory_budget_bytes), options);
  } catch (Error& e) {
    throw e.add_context(fmt::format("while loading plan '{}'", path));
  }
}

Engine Engine::load(const PlanFile& plan, const LoadOptions& options) {
  if (const Precision built = precision_of(*plan.data()); options.expect.value_or(built) != built)
    throw Error(
        ErrorCode::invalid_plan,
        fmt::format("the plan was built in {}, but {} is expected; is it the right file? `headrace build "
                    "--precision {}` makes the other",
                    to_string(built), to_string(*options.expect), to_string(*options.expect)));
  if (options.max_recordings < 0)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("max_recordings is {}; use 0 (launch by launch) or more", options.max_recordings));
  return from(runtime::Engine::create(plan.data(), api::registry(),
                                      {.device = options.device,
                                       .threads = options.threads,
                                       .memory_budget_bytes = options.memory_budget_bytes,
                                       .check_hazards = options.check_hazards,
                                       .trace = options.trace,
                                       .max_recordings = static_cast<std::size_t>(options.max_recordings),
                                       .foreign_plans = options.foreign_plans}));
}

Engine Engine::from(std::shared_ptr<const runtime::Engine> data) {
  auto state = std::make_shared<State>();
  state->engine = std::move(data);
  const Plan& plan = state->engine->plan();
  for (const runtime::IoInfo& io : state->engine->inputs()) {
    state->inputs.push_back(to_info(plan, io));
    state->inputs.back().format = format_of(plan, io);
  }
  for (const runtime::IoInfo& io : state->engine->outputs()) state->outputs.push_back(to_info(plan, io));
  Engine engine;
  engine.state_ = std::move(state);
  return engine;
}

const std::vector<TensorInfo>& Engine::inputs() const { return state_->inputs; }
const std::vector<TensorInfo>& Engine::outputs() const { return state_->outputs; }
std::string Engine::metadata(const std::string& key) const {
  const auto& provenance = state_->engine->plan().provenance;
  const auto it = provenance.find("onnx." + key);
  return it == provenance.end() ? std::string() : it->second;
}
std::string Engine::device() const { return state_->engine->state().device_name; }
std::string Engine::device_model() const { return state_->engine->device().model(); }
std::optional<double> Engine::clock_mhz() const { return state_->engine->device().clock_mhz(); }

EngineStatistics Engine::statistics() const {
  const runtime::Engine::State& state = state_->engine->state();
  const MemoryStats memory = state.device->memory();
  const auto figure = [&](MemoryUse use) {
    const auto i = static_cast<std::size_t>(use);
    return MemoryFigure{memory.current[i], memory.high_water[i]};
  };
  const auto pool = [](const MemoryStats::Pool& p) {
    return PoolFigure{p.in_use, p.cached, p.limit, p.high_water, p.system_allocations};
  };
  EngineStatistics result{.weights = figure(MemoryUse::weights),
                          .activations = figure(MemoryUse::activations),
                          .io = figure(MemoryUse::io),
                          .workspace = figure(MemoryUse::workspace),
                          .recordings = figure(MemoryUse::recordings),
                          .device_pool = pool(memory.device_pool),
                          .pinned_pool = pool(memory.pinned_pool),
                          .allocations = memory.allocations,
                          .waiting_copies = memory.waiting_copies,
                          .prepared = state.stats.prepared,
                          .fallbacks = state.stats.fallbacks,
                          .recordings_made = state.stats.recorded,
                          .recordings_dropped = state.stats.dropped,
                          .recordings_failed = state.stats.unrecorded,
                          .recordings_failed_why = state.stats.unrecorded_why()};
  if (state.device->unified_memory())  // the mapped plan itself
    result.weights = {state.plan->weights.size(), state.plan->weights.size()};
  return result;
}
int Engine::threads() const { return state_->engine->threads(); }
Precision Engine::precision() const { return precision_of(state_->engine->plan()); }
std::vector<std::string> Engine::hazards() const { return state_->engine->hazards(); }
const std::shared_ptr<const runtime::Engine>& Engine::data() const { return state_->engine; }

}  // namespace headrace
