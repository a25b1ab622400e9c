#include <algorithm>
#include <cstring>

#include "base/sched.h"
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
  Busy busy(state_->busy);
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
  s.patch(entry, inputs, outputs);
  std::vector<std::vector<double>> times(entry.launches.size());
  for (int r = -1; r < repeats; ++r)  // the first round warms up
    for (std::size_t i = 0; i < entry.launches.size(); ++i) {
      const auto start = sched::Clock::now();
      s.launch(stream, entry, entry.launches[i]);
      stream.synchronize();
      const std::chrono::duration<double, std::micro> took = sched::Clock::now() - start;
      if (r >= 0) times[i].push_back(took.count());
    }
  std::vector<StepTime> result;
  for (std::size_t i = 0; i < times.size(); ++i) {
    auto middle = times[i].begin() + static_cast<std::ptrdiff_t>(times[i].size() / 2);
    std::nth_element(times[i].begin(), middle, times[i].end());
    result.push_back({entry.launches[i].step, *middle});
  }
  return result;
}

}  // namespace headrace::runtime
