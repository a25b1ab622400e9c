#include <algorithm>
#include <cstring>

#include "base/sched.h"
#include "device/timing.h"
#include "plan/profiles.h"
#include "runtime/context_state.h"

namespace headrace::runtime {
namespace {

/// Small positive numbers: no denormals, no infinities, and in-range as indices.
void fill(std::byte* data, const TensorDesc& desc) {
  HostTensor values(desc.dtype, desc.shape);
  std::uint32_t random = 12345;
  for (std::int64_t i = 0, n = desc.elements(); i < n; ++i) {
    random = random * 1664525u + 1013904223u;
    if (is_float(desc.dtype))
      values.set_double(i, static_cast<double>(random >> 8) / (1 << 24));
    else
      values.set_int(i, 0);
  }
  std::memcpy(data, values.bytes().data(), values.bytes().size());
}

}  // namespace

std::vector<StepTime> Context::profile_steps(Stream& stream, int repeats) {
  Busy busy(state_->busy, kContext);
  State& s = *state_;
  if (!s.current) throw Error(ErrorCode::misuse, "no shapes are prepared; call prepare before profiling");
  if (repeats < 1) throw Error(ErrorCode::invalid_argument, "profiling needs at least one repeat");
  s.drain();
  Entry& entry = *s.current;
  Device& device = *s.engine->state().device;
  const auto make = [&](const TensorDesc& desc, bool is_input) {
    const std::size_t bytes = std::max<std::size_t>(1, desc.span_bytes());
    Binding binding{device.allocate(bytes, MemoryKind::device, MemoryUse::io), 0};
    if (!is_input) return binding;
    const BufferRef host =
        device.unified_memory() ? binding.buffer : device.allocate(bytes, MemoryKind::pinned, MemoryUse::io);
    fill(host->host_data(), desc);
    if (host != binding.buffer) {
      stream.copy({binding.buffer.get(), 0, bytes, Access::write}, {host.get(), 0, bytes, Access::read});
      stream.synchronize();
    }
    return binding;
  };
  std::vector<Binding> inputs, outputs;
  for (const TensorDesc& desc : entry.prepared->inputs) inputs.push_back(make(desc, true));
  for (const TensorDesc& desc : entry.prepared->outputs) outputs.push_back(make(desc, false));
  s.patch(entry, inputs, outputs, nullptr);
  const Engine::State& owner = s.engine->state();
  const Placement placement = place_tensors(*owner.plan, entry.values);
  std::vector<StepTime> result;
  const auto add = [&](std::size_t step, double us) {
    const StepWay way = way_of(owner.plan->steps[step], entry.prepared->profile);
    Problem problem = make_problem(owner, step, way.inputs, placement, entry.values, s.threads);
    const LayerCost cost = cost_of(problem);
    result.push_back({step, us, std::move(problem.srcs), std::move(problem.dsts), cost});
  };
  if (device.can_record()) {
    for (const Launch& l : entry.launches)
      if (l.step != kNoStep) add(l.step, s.recorded_us(stream, entry, l, repeats));
    return result;
  }
  std::vector<std::vector<double>> times(entry.launches.size());
  for (int r = -1; r < repeats; ++r)  // the first round warms up
    for (std::size_t i = 0; i < entry.launches.size(); ++i) {
      const auto start = sched::Clock::now();
      s.launch(stream, entry, entry.launches[i]);
      stream.synchronize();
      const std::chrono::duration<double, std::micro> took = sched::Clock::now() - start;
      if (r >= 0) times[i].push_back(took.count());
    }
  for (std::size_t i = 0; i < times.size(); ++i)
    if (entry.launches[i].step != kNoStep) add(entry.launches[i].step, median(times[i]));
  return result;
}

/// One launch, over and over in a recording, by the device's clock: without what a submission costs.
double Context::State::recorded_us(Stream& stream, const Entry& entry, const Launch& l, int repeats) const {
  constexpr int kRuns = 10;
  Device& device = *engine->state().device;
  const EventRef begin = device.make_event({.timing = true}), end = device.make_event({.timing = true});
  const auto recording = stream.make_recording([&] {
    for (int i = 0; i < kRuns; ++i) launch(stream, entry, l);
  });
  std::vector<double> times;
  for (int r = -1; r < repeats; ++r) {
    const double us = measured_us(device, stream, *begin, *end, [&] { stream.replay(*recording); }) / kRuns;
    if (r >= 0) times.push_back(us);
  }
  return median(times);
}

std::vector<double> Context::device_times_us(Stream& stream, int repeats) {
  Busy busy(state_->busy, kContext);
  State& s = *state_;
  if (!s.current) throw Error(ErrorCode::misuse, "no shapes are prepared; call prepare before timing");
  Entry& entry = *s.current;
  std::vector<double> times;
  if (entry.recordings.empty()) return times;
  s.drain();
  Device& device = *s.engine->state().device;
  const EventRef begin = device.make_event({.timing = true}), end = device.make_event({.timing = true});
  for (int r = -3; r < repeats; ++r) {
    const double us =
        measured_us(device, stream, *begin, *end, [&] { stream.replay(*entry.recordings.front()); });
    if (r >= 0) times.push_back(us);
  }
  return times;
}

std::size_t Context::used_profile() const { return state_->current ? state_->current->prepared->profile : 0; }

std::vector<double> Context::enqueue_times_us(Stream& stream, int repeats) {
  Device& device = *state_->engine->state().device;
  if (device.unified_memory()) return {};
  if (!state_->current) throw Error(ErrorCode::misuse, "no shapes are prepared; call prepare before timing");
  struct Restore {  // the bindings
    State& state;
    std::vector<Binding> inputs = state.inputs, outputs = state.outputs;
    ~Restore() {
      state.drain();
      state.inputs = std::move(inputs);
      state.outputs = std::move(outputs);
    }
  } const restore{*state_};
  const Prepared& prepared = *state_->current->prepared;
  const auto pinned = [&](const TensorDesc& desc) {
    const std::size_t bytes = std::max<std::size_t>(1, desc.span_bytes());
    BufferRef buffer = device.allocate(bytes, MemoryKind::pinned, MemoryUse::io);
    std::memset(buffer->host_data(), 0, bytes);
    return buffer;
  };
  for (std::size_t i = 0; i < prepared.inputs.size(); ++i) bind_input(i, pinned(prepared.inputs[i]));
  for (std::size_t i = 0; i < prepared.outputs.size(); ++i) bind_output(i, pinned(prepared.outputs[i]));
  const EventRef done = device.make_event();
  std::vector<double> times;
  for (int r = -3; r < repeats; ++r) {
    const auto start = sched::Clock::now();
    enqueue(stream, *done);
    const std::chrono::duration<double, std::micro> took = sched::Clock::now() - start;
    done->wait();
    if (r >= 0) times.push_back(took.count());
  }
  return times;
}

std::vector<CopyTime> Context::copy_times_us(Stream& stream, int repeats) {
  Busy busy(state_->busy, kContext);
  State& s = *state_;
  if (!s.current) throw Error(ErrorCode::misuse, "no shapes are prepared; call prepare before timing");
  if (s.ring.empty()) return {};
  s.drain();
  Device& device = *s.engine->state().device;
  const std::size_t up = s.current->prepared->input_layout.size_bytes;
  const std::size_t down = s.current->prepared->output_layout.size_bytes;
  const BufferRef host =
      device.allocate(std::max({up, down, std::size_t{1}}), MemoryKind::pinned, MemoryUse::io);
  std::memset(host->host_data(), 0, host->size_bytes());
  const EventRef begin = device.make_event({.timing = true}), end = device.make_event({.timing = true});
  const RingSlot& slot = s.ring.front();
  std::vector<CopyTime> times;
  for (int r = -3; r < repeats; ++r) {
    CopyTime t;
    t.upload_us = measured_us(device, stream, *begin, *end, [&] {
      stream.copy({slot.inputs.get(), 0, up, Access::write}, {host.get(), 0, up, Access::read});
    });
    t.download_us = measured_us(device, stream, *begin, *end, [&] {
      stream.copy({host.get(), 0, down, Access::write}, {slot.outputs.get(), 0, down, Access::read});
    });
    if (r >= 0) times.push_back(t);
  }
  return times;
}

std::size_t Context::launches() const {
  const State& s = *state_;
  return !s.current ? 0 : !s.current->recordings.empty() ? 1 : s.current->launches.size();
}

}  // namespace headrace::runtime
