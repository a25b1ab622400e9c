#include <algorithm>
#include <atomic>
#include <list>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/log.h"
#include "base/sched.h"
#include "plan/profiles.h"
#include "runtime/context_state.h"
#include "runtime/engine_state.h"
#include "runtime/nan_guard.h"

namespace headrace::runtime {

Context::Context(EngineRef engine, std::size_t profile, int threads, int ring)
    : state_(std::make_unique<State>(std::move(engine), profile, threads, ring)) {}
Context::~Context() {
  if (state_) state_->drain();
}
Context::Context(Context&&) noexcept = default;

const Engine& Context::engine() const { return *state_->engine; }

Context::State::State(EngineRef e, std::size_t p, int t, int r)
    : engine(std::move(e)), profile(p), threads(t > 0 ? t : engine->threads()) {
  const Engine::State& owner = engine->state();
  if (profile != kByShapes && profile >= owner.plan->profiles.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no profile {}: the plan has {}", profile, owner.plan->profiles.size()));
  inputs.resize(owner.inputs.size());
  outputs.resize(owner.outputs.size());
  finished = owner.device->make_event();
  if (r < 1 || r > 64) throw Error(ErrorCode::invalid_argument, fmt::format("a ring of {}; use 1 to 64", r));
  if (!owner.device->unified_memory()) ring.resize(static_cast<std::size_t>(r));
  for (RingSlot& slot : ring)
    for (EventRef* event : {&slot.filled, &slot.consumed, &slot.computed, &slot.emptied})
      *event = owner.device->make_event();
}

void Context::State::drain() noexcept {
  if (!in_flight) return;
  try {
    finished->wait();
  } catch (...) {  // the failure belongs to whoever holds the caller's event
  }
  in_flight = false;
  retired.clear();
}

// --- preparing

bool Context::State::matches(const Entry& entry, const ShapeMap& shapes, const HostValueMap& values) const {
  const auto& infos = engine->state().inputs;
  std::size_t named = 0;
  for (std::size_t i = 0; i < infos.size(); ++i) {
    const auto it = shapes.find(infos[i].name);
    if (it == shapes.end()) {
      if (!entry.implied[i]) return false;
      continue;
    }
    ++named;
    if (it->second != entry.shapes[i]) return false;
  }
  if (named != shapes.size()) return false;

  for (const ValueRead& read : entry.value_reads) {
    const auto it = values.find(infos[read.source_input()].name);
    if (it == values.end() || it->second.dtype() != infos[read.source_input()].dtype ||
        it->second.shape() != entry.shapes[read.source_input()] ||
        read_symbol(it->second, read.source) != read.value)
      return false;
  }
  return true;
}

const Prepared& Context::prepare(const ShapeMap& shapes, const HostValueMap& host_values) {
  Busy busy(state_->busy, kContext);
  State& s = *state_;
  s.current = nullptr;
  const std::uint64_t generation = s.generation;
  const auto known = std::find_if(s.entries.begin(), s.entries.end(),
                                  [&](const Entry& e) { return s.matches(e, shapes, host_values); });
  if (known != s.entries.end()) {
    if (known != s.entries.begin()) s.entries.splice(s.entries.begin(), s.entries, known);
    s.fit(*known);  // its memory is gone when larger shapes found no room
  } else {
    s.make_entry(shapes, host_values);
  }
  // Where memory has moved, the other keys are made ready here and now, not when their turn comes.
  for (auto it = s.entries.rbegin(); s.generation != generation && it != s.entries.rend(); ++it)
    s.activate(*it);
  s.activate(s.entries.front());
  ++s.entries.front().prepared->uses;
  return *s.entries.front().prepared;
}

void Context::State::make_entry(const ShapeMap& shapes, const HostValueMap& host_values) {
  const Engine::State& owner = engine->state();
  const Plan& plan = *owner.plan;
  Entry entry;
  InputShapes chosen = owner.input_shapes(shapes, profile);
  entry.shapes = std::move(chosen.shapes);
  for (std::size_t i = 0; i < entry.shapes.size(); ++i) entry.implied.push_back(owner.is_implied(i, profile));
  const std::vector<std::int64_t> symbols = owner.symbol_values(entry.shapes, host_values);
  const std::vector<std::int64_t> values = plan.shapes.evaluate(symbols);
  for (std::size_t i = 0; i < owner.inputs.size(); ++i)
    if (const Shape expected = resolve(owner.inputs[i].shape, values); expected != entry.shapes[i])
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("input '{}' must have the shape {} ({}), but {} was given",
                              owner.inputs[i].name, to_string(expected),
                              plan.shapes.to_string(owner.inputs[i].shape), to_string(entry.shapes[i])));
  for (std::size_t k = 0; k < plan.shapes.symbols().size(); ++k)
    for (const SymbolSource& source : plan.shapes.symbols()[k].sources)
      if (source.reads_data()) entry.value_reads.push_back({source, symbols[k]});

  entry.values = values;
  const std::shared_ptr<void> current_device = owner.device->enter();
  const ResolvedPlan resolved = resolve_plan(owner, chosen.profile, symbols, threads);
  owner.stats.prepared.fetch_add(1, std::memory_order_relaxed);
  entry.prepared = std::make_unique<Prepared>();
  for (std::int32_t t : plan.inputs)
    entry.prepared->inputs.push_back(resolved.placement.descs[static_cast<std::size_t>(t)]);
  for (std::int32_t t : plan.outputs)
    entry.prepared->outputs.push_back(resolved.placement.descs[static_cast<std::size_t>(t)]);
  entry.prepared->arena_bytes = resolved.arena_bytes;
  entry.prepared->workspace_bytes = resolved.workspace_bytes;
  entry.prepared->profile = chosen.profile;
  for (std::size_t i = 0; i < entry.prepared->inputs.size(); ++i)
    entry.input_bytes.push_back(entry.prepared->inputs[i].span_bytes());
  for (std::size_t i = 0; i < entry.prepared->outputs.size(); ++i)
    entry.output_bytes.push_back(entry.prepared->outputs[i].span_bytes());
  add_launches(entry, resolved, chosen.profile);
  entry.prepared->input_layout = make_layout(entry.input_bytes);
  entry.prepared->output_layout = make_layout(entry.output_bytes);
  fit(entry);
  if (entries.size() >= kMaxEntries) {
    drain();  // its kernels may still be running
    entries.pop_back();
  }
  entries.push_front(std::move(entry));
}

void Context::State::add_launches(Entry& entry, const ResolvedPlan& resolved, std::size_t used) const {
  const Plan& plan = *engine->state().plan;
  std::vector<std::int32_t> io_index(plan.tensors.size(), -1);
  for (std::size_t i = 0; i < plan.inputs.size(); ++i)
    io_index[static_cast<std::size_t>(plan.inputs[i])] = static_cast<std::int32_t>(i);
  for (std::size_t i = 0; i < plan.outputs.size(); ++i)
    io_index[static_cast<std::size_t>(plan.outputs[i])] = static_cast<std::int32_t>(i);
  const auto add = [&](std::int32_t tensor, Access access) {
    const auto t = static_cast<std::size_t>(tensor);
    const auto root = static_cast<std::size_t>(resolved.placement.roots[t]);
    const PlanTensor& owner = plan.tensors[root];
    Operand operand{nullptr, resolved.placement.offsets[t], resolved.placement.span_bytes[t], access};
    Patch patch{.operand = entry.operands.size(), .io = 0, .offset = operand.offset, .kind = Patch::input};
    switch (owner.role) {
      case TensorRole::weight:
        operand.buffer = engine->state().weights.get();
        operand.offset += owner.weight_offset;
        break;
      case TensorRole::activation:
        operand.offset += resolved.arena_offsets[root];
        entry.arena_operands.push_back(entry.operands.size());
        break;
      case TensorRole::input:
      case TensorRole::output:
        patch.kind = owner.role == TensorRole::input ? Patch::input : Patch::output;
        patch.io = static_cast<std::size_t>(io_index[root]);
        entry.patches.push_back(patch);
        if (owner.role == TensorRole::input)
          entry.last_input_launch = static_cast<std::ptrdiff_t>(entry.launches.size());
        break;
    }
    if (operand.size == 0) operand.offset = 0;
    entry.operands.push_back(operand);
  };
  NanFlag nan_flag;
  if (std::any_of(resolved.steps.begin(), resolved.steps.end(),
                  [](const ResolvedStep& s) { return s.problem; })) {
    nan_flag = std::make_shared<std::atomic<bool>>(false);
    std::vector<std::size_t> elements;
    for (std::int32_t t : plan.inputs)
      if (const auto i = static_cast<std::size_t>(t); plan.tensors[i].dtype == DType::f32) {
        elements.push_back(resolved.placement.span_bytes[i] / sizeof(float));
        add(t, Access::read);
      }
    const std::size_t count = elements.size();
    if (count > 0)
      entry.launches.push_back({make_nan_scan(std::move(elements), nan_flag), 0, count, 0, kNoStep});
  }
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    if (!resolved.steps[s].kernel) continue;
    const auto kernel = resolved.steps[s].problem
                            ? make_nan_guarded(engine->state(), resolved.steps[s], nan_flag)
                            : resolved.steps[s].kernel;
    const std::size_t first = entry.operands.size();
    for (std::int32_t t : way_of(plan.steps[s], used).inputs) add(t, Access::read);
    for (std::int32_t t : plan.steps[s].outputs) add(t, Access::write);
    entry.launches.push_back({kernel, first, entry.operands.size() - first, kernel->workspace_bytes(), s});
  }
}

void Context::State::fit(const Entry& entry) {
  grow(entry.prepared->arena_bytes, entry.prepared->workspace_bytes);
  grow_ring(entry);
}

void Context::State::grow(std::uint64_t arena_bytes, std::uint64_t workspace_bytes) {
  Device& device = *engine->state().device;
  // Zero-sized operands point into the arena as well, so there always is one.
  const std::uint64_t wanted = std::max<std::uint64_t>(arena_bytes, 64);
  if (!arena || arena->size_bytes() < wanted) {
    drain();
    arena.reset();
    ++generation;
    arena = device.allocate(wanted, MemoryKind::device, MemoryUse::activations);
  }
  if (workspace_bytes > 0 && (!workspace || workspace->size_bytes() < workspace_bytes)) {
    drain();
    workspace.reset();
    ++generation;
    workspace = device.allocate(workspace_bytes, MemoryKind::device, MemoryUse::workspace);
  }
}

/// Device memory for the inputs and outputs of as many inferences as overlap.
void Context::State::grow_ring(const Entry& entry) {
  Device& device = *engine->state().device;
  if (device.unified_memory()) return;
  const auto grow_one = [&](BufferRef& buffer, std::size_t bytes) {
    if (buffer && buffer->size_bytes() >= bytes) return;
    drain();
    buffer.reset();
    ++generation;
    buffer = device.allocate(std::max<std::size_t>(bytes, 1), MemoryKind::device, MemoryUse::io);
  };
  for (RingSlot& slot : ring) {
    grow_one(slot.inputs, entry.prepared->input_layout.size_bytes);
    grow_one(slot.outputs, entry.prepared->output_layout.size_bytes);
  }
}

void Context::State::activate(Entry& entry) {
  current = &entry;
  if (entry.arena != arena.get()) {
    for (std::size_t o : entry.arena_operands) entry.operands[o].buffer = arena.get();
    entry.arena = arena.get();
  }
  if (entry.generation == generation) return;
  entry.generation = generation;
  record(entry);
}

}  // namespace headrace::runtime
