#include "tuner/tuner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/sched.h"
#include "device/timing.h"

namespace headrace::tuner {
namespace {

/// Numbers near one, of either sign: no denormals, and valid as indices where they are integers.
void fill(std::byte* data, std::size_t bytes, DType dtype) {
  const std::size_t n = bytes / size_bytes(dtype);
  if (dtype == DType::f32) {
    auto* p = reinterpret_cast<float*>(data);
    for (std::size_t i = 0; i < n; ++i)
      p[i] = static_cast<float>(static_cast<int>(i * 2654435761u % 255) - 127) / 128.f;
  } else if (dtype == DType::f16) {
    auto* p = reinterpret_cast<Half*>(data);
    for (std::size_t i = 0; i < n; ++i)
      p[i] = to_half(static_cast<float>(static_cast<int>(i % 255) - 127) / 128.f);
  } else if (dtype == DType::f64) {
    auto* p = reinterpret_cast<double*>(data);
    for (std::size_t i = 0; i < n; ++i) p[i] = static_cast<double>(static_cast<int>(i % 255) - 127) / 128.;
  } else {
    std::memset(data, 0, bytes);
  }
}

}  // namespace

std::string problem_text(const Problem& problem, std::span<const Constant> constants) {
  std::string text = to_string(problem.op, ShapeProgram());
  for (std::size_t i = 0; i < problem.srcs.size(); ++i)
    text += (i < constants.size() && constants[i] ? " const " : " ") + to_string(problem.srcs[i]);
  text += " ->";
  for (const TensorDesc& d : problem.dsts) text += " " + to_string(d);
  return text;
}

Tuner::Tuner(DeviceRef device, int threads, TimingCache& cache, const TunerOptions& options)
    : device_(std::move(device)),
      threads_(threads),
      model_(device_->model()),
      cache_(cache),
      options_(options) {
  if (device_->can_record()) options_.rotate_bytes = std::size_t{256} << 20;  // a GPU's caches are larger
  stream_ = device_->make_stream({.name = "tuner", .inline_execution = true, .threads = threads});
}
Tuner::~Tuner() = default;

double Tuner::time(const Problem& problem, const Tactic& tactic, const Choice& choice,
                   std::span<const Constant> constants) {
  const TimingKey key{model_, problem_text(problem, constants), std::string(tactic.id()), choice, threads_};
  if (const auto known = cache_.find(key)) return *known;
  ++measured_;
  const double us = std::round(measure(problem, tactic, choice, constants) * 1000) / 1000;
  cache_.put(key, us);
  return us;
}

double Tuner::measure(Problem problem, const Tactic& tactic, const Choice& choice,
                      std::span<const Constant> constants) {
  std::vector<BufferRef> weights(problem.srcs.size());
  for (std::size_t i = 0; i < problem.srcs.size() && i < constants.size(); ++i) {
    if (!constants[i]) continue;
    std::span<const std::byte> bytes = constants[i]->bytes();
    auto packed = tactic.pack(problem, choice, i, *constants[i]);
    if (packed) {
      problem.srcs[i].layout = Layout::packed;
      problem.srcs[i].format = packed->format;
      bytes = packed->bytes;
    }
    weights[i] = buffer_of(bytes.size(), MemoryUse::weights,
                           [&](std::byte* p) { std::memcpy(p, bytes.data(), bytes.size()); });
  }
  const std::unique_ptr<Kernel> kernel = tactic.make(problem, choice);
  BufferRef workspace;
  if (kernel->workspace_bytes() > 0)
    workspace = device_->allocate(kernel->workspace_bytes(), MemoryKind::device, MemoryUse::workspace);

  std::size_t bytes_per_run = 0;
  for (std::size_t i = 0; i < problem.srcs.size(); ++i)
    if (!weights[i]) bytes_per_run += problem.srcs[i].span_bytes();
  for (const TensorDesc& d : problem.dsts) bytes_per_run += d.span_bytes();
  const std::size_t copies =
      std::clamp<std::size_t>(options_.rotate_bytes / std::max<std::size_t>(1, bytes_per_run), 1, 4);
  std::vector<BufferRef> buffers;
  std::vector<std::vector<Operand>> operands(copies);
  for (auto& set : operands) {
    const auto add = [&](const TensorDesc& desc, Access access) {
      const std::size_t size = desc.span_bytes();
      buffers.push_back(
          buffer_of(size, MemoryUse::activations, [&](std::byte* p) { fill(p, size, desc.dtype); }));
      set.push_back({buffers.back().get(), 0, size, access});
    };
    for (std::size_t i = 0; i < problem.srcs.size(); ++i) {
      if (weights[i])
        set.push_back({weights[i].get(), 0, weights[i]->size_bytes(), Access::read});
      else
        add(problem.srcs[i], Access::read);
    }
    for (const TensorDesc& d : problem.dsts) add(d, Access::write);
  }
  const Operand scratch{workspace.get(), 0, kernel->workspace_bytes(), Access::read_write};
  return device_->can_record() ? time_recorded(*kernel, operands, scratch)
                               : time_directly(*kernel, operands, scratch);
}

BufferRef Tuner::buffer_of(std::size_t size, MemoryUse use, const std::function<void(std::byte*)>& write) {
  const std::size_t bytes = std::max<std::size_t>(1, size);
  if (device_->unified_memory()) {
    BufferRef buffer = device_->allocate(bytes, MemoryKind::host, use);
    write(buffer->host_data());
    return buffer;
  }
  const BufferRef host = device_->allocate(bytes, MemoryKind::pinned, use);
  BufferRef buffer = device_->allocate(bytes, MemoryKind::device, use);
  write(host->host_data());
  stream_->copy({buffer.get(), 0, bytes, Access::write}, {host.get(), 0, bytes, Access::read});
  stream_->synchronize();
  return buffer;
}

/// As in use: in a recording, with the device's own clock.
double Tuner::time_recorded(const Kernel& kernel, const std::vector<std::vector<Operand>>& operands,
                            const Operand& scratch) {
  const EventRef begin = device_->make_event({.timing = true}), end = device_->make_event({.timing = true});
  for (int i = 0; i < 2; ++i) stream_->launch(kernel, operands[0], scratch);  // loads what is loaded lazily
  stream_->synchronize();
  const auto measured = [&](const std::function<void()>& work) {
    return measured_us(*device_, *stream_, *begin, *end, work);
  };
  const double one = measured([&] { stream_->launch(kernel, operands[0], scratch); });
  const int runs = std::clamp(static_cast<int>(400 / std::max(1.0, one)), 2, 40);
  const auto recording = stream_->make_recording([&] {
    for (int i = 0; i < runs; ++i)
      stream_->launch(kernel, operands[static_cast<std::size_t>(i) % operands.size()], scratch);
  });
  std::vector<double> times;
  for (int i = 0; i < 8; ++i) {
    const double us = measured([&] { stream_->replay(*recording); }) / runs;
    if (i > 0) times.push_back(us);  // the first uploads the recording
  }
  return median(times);
}

double Tuner::time_directly(const Kernel& kernel, const std::vector<std::vector<Operand>>& operands,
                            const Operand& scratch) {
  const std::size_t copies = operands.size();
  std::size_t turn = 0;
  // Very short kernels are run several times per sample: the clock itself costs tens of nanoseconds.
  const auto sample = [&](int runs) {
    const auto start = sched::Clock::now();
    for (int i = 0; i < runs; ++i) stream_->launch(kernel, operands[turn++ % copies], scratch);
    stream_->synchronize();
    return std::chrono::duration<double, std::micro>(sched::Clock::now() - start).count() / runs;
  };
  sample(1);
  const int runs = std::clamp(static_cast<int>(20 / std::max(0.1, sample(1))), 1, 64);
  std::vector<double> times;
  const auto deadline = sched::Clock::now() + options_.budget;
  while (static_cast<int>(times.size()) < options_.max_samples &&
         (static_cast<int>(times.size()) < options_.min_samples || sched::Clock::now() < deadline))
    times.push_back(sample(runs));
  const double limit = 1.5 * median(times);
  std::erase_if(times, [&](double t) { return t > limit; });
  return median(times);
}

}  // namespace headrace::tuner
