#include "tuner/tuner.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/sched.h"

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

double median(std::vector<double>& v) {
  const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
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
    weights[i] =
        device_->allocate(std::max<std::size_t>(1, bytes.size()), MemoryKind::host, MemoryUse::weights);
    std::memcpy(weights[i]->host_data(), bytes.data(), bytes.size());
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
          device_->allocate(std::max<std::size_t>(1, size), MemoryKind::host, MemoryUse::activations));
      fill(buffers.back()->host_data(), size, desc.dtype);
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
  std::size_t turn = 0;
  // Very short kernels are run several times per sample: the clock itself costs tens of nanoseconds.
  const auto sample = [&](int runs) {
    const auto start = sched::Clock::now();
    for (int i = 0; i < runs; ++i) stream_->launch(*kernel, operands[turn++ % copies], scratch);
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
