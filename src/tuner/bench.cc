#include "tuner/bench.h"

#include <algorithm>
#include <cstring>

#include "base/sched.h"
#include "device/timing.h"

namespace headrace::tuner {
namespace {

constexpr std::size_t kPatternBytes = std::size_t{8} << 20;
constexpr std::size_t kColdBytes = std::size_t{96} << 20;  ///< more than the caches of today's GPUs

/// Numbers near one, of either sign: no denormals, and valid as indices where they are integers.
void fill(std::byte* data, std::size_t bytes, DType dtype) {
  const std::size_t n = bytes / size_bytes(dtype);
  const auto value = [](std::size_t i) {
    return static_cast<float>(static_cast<int>(i * 2654435761u % 255) - 127) / 128.f;
  };
  if (dtype == DType::f32) {
    auto* p = reinterpret_cast<float*>(data);
    for (std::size_t i = 0; i < n; ++i) p[i] = value(i);
  } else if (dtype == DType::f16) {
    auto* p = reinterpret_cast<Half*>(data);
    for (std::size_t i = 0; i < n; ++i) p[i] = to_half(value(i));
  } else if (dtype == DType::bf16) {
    auto* p = reinterpret_cast<BHalf*>(data);
    for (std::size_t i = 0; i < n; ++i) p[i] = to_bhalf(value(i));
  } else if (dtype == DType::f64) {
    auto* p = reinterpret_cast<double*>(data);
    for (std::size_t i = 0; i < n; ++i) p[i] = value(i);
  } else {
    std::memset(data, 0, bytes);
  }
}

}  // namespace

BufferRef Fillings::upload(std::size_t size, MemoryUse use, const std::function<void(std::byte*)>& write) {
  const std::size_t bytes = std::max<std::size_t>(1, size);
  if (device_.unified_memory()) {
    BufferRef buffer = device_.allocate(bytes, MemoryKind::host, use);
    write(buffer->host_data());
    return buffer;
  }
  const BufferRef host = device_.allocate(bytes, MemoryKind::pinned, use);
  BufferRef buffer = device_.allocate(bytes, MemoryKind::device, use);
  write(host->host_data());
  stream_.copy({buffer.get(), 0, bytes, Access::write}, {host.get(), 0, bytes, Access::read});
  stream_.synchronize();
  return buffer;
}

BufferRef Fillings::filled(std::size_t size, DType dtype, MemoryUse use) {
  if (device_.unified_memory()) return upload(size, use, [&](std::byte* p) { fill(p, size, dtype); });
  BufferRef& pattern = patterns_[dtype];
  if (!pattern) pattern = upload(kPatternBytes, use, [&](std::byte* p) { fill(p, kPatternBytes, dtype); });
  BufferRef buffer = device_.allocate(std::max<std::size_t>(1, size), MemoryKind::device, use);
  for (std::size_t done = 0; done < size; done += kPatternBytes) {
    const std::size_t part = std::min(kPatternBytes, size - done);
    stream_.copy({buffer.get(), done, part, Access::write}, {pattern.get(), 0, part, Access::read});
  }
  stream_.synchronize();
  return buffer;
}

BufferRef Fillings::holding(std::span<const std::byte> bytes, MemoryUse use) {
  return upload(bytes.size(), use, [&](std::byte* p) { std::memcpy(p, bytes.data(), bytes.size()); });
}

Bench::Bench(Device& device, Stream& stream, Fillings& fillings, const Problem& problem,
             std::span<const Constant> constants, const BenchOptions& options)
    : device_(device),
      stream_(stream),
      fillings_(fillings),
      options_(options),
      constants_(constants.begin(), constants.end()),
      sources_(problem.srcs.size()) {
  constants_.resize(sources_);
  std::vector<TensorDesc> descs = problem.srcs;
  descs.insert(descs.end(), problem.dsts.begin(), problem.dsts.end());
  std::size_t bytes_per_run = 0;
  for (std::size_t i = 0; i < descs.size(); ++i)
    if (i >= sources_ || !constants_[i]) bytes_per_run += descs[i].span_bytes();
  const std::size_t copies =
      std::clamp<std::size_t>(options_.rotate_bytes / std::max<std::size_t>(1, bytes_per_run), 1, 4);
  activations_.resize(descs.size());
  for (std::size_t i = 0; i < descs.size(); ++i)
    for (std::size_t c = 0; c < copies && (i >= sources_ || !constants_[i]); ++c)
      activations_[i].push_back(
          fillings_.filled(descs[i].span_bytes(), descs[i].dtype, MemoryUse::activations));
  begin_ = device_.make_event({.timing = true});
  end_ = device_.make_event({.timing = true});
}

Contestant Bench::contestant(std::shared_ptr<const Kernel> kernel, const std::string& packing,
                             const PackedSet& set) {
  auto [it, added] = weights_.try_emplace(packing);
  if (added) {
    it->second.resize(sources_);
    std::size_t total = 1;
    const auto bytes_of = [&](std::size_t i) {
      return set.packed[i] ? std::span<const std::byte>(set.packed[i]->bytes) : constants_[i]->bytes();
    };
    for (std::size_t i = 0; i < sources_; ++i)
      if (constants_[i]) total += bytes_of(i).size();
    const std::size_t copies = options_.cold_weights ? std::clamp<std::size_t>(kColdBytes / total, 1, 16) : 1;
    for (std::size_t i = 0; i < sources_; ++i)
      for (std::size_t c = 0; c < copies && constants_[i]; ++c)
        it->second[i].push_back(fillings_.holding(bytes_of(i), MemoryUse::weights));
  }
  std::size_t turns = 1;
  for (const auto& copies : activations_) turns = std::max(turns, copies.size());
  for (const auto& copies : it->second) turns = std::max(turns, copies.size());
  Contestant result{std::move(kernel), std::vector<std::vector<Operand>>(turns)};
  for (std::size_t t = 0; t < turns; ++t)
    for (std::size_t i = 0; i < activations_.size(); ++i) {
      const auto& copies = i < sources_ && constants_[i] ? it->second[i] : activations_[i];
      Buffer* buffer = copies[t % copies.size()].get();
      result.sets[t].push_back(
          {buffer, 0, buffer->size_bytes(), i < sources_ ? Access::read : Access::write});
    }
  return result;
}

Operand Bench::workspace(const Kernel& kernel) {
  const std::size_t bytes = kernel.workspace_bytes();
  if (bytes > 0 && (!workspace_ || workspace_->size_bytes() < bytes)) {
    workspace_ = nullptr;
    workspace_ = device_.allocate(bytes, MemoryKind::device, MemoryUse::workspace);
  }
  return {bytes > 0 ? workspace_.get() : nullptr, 0, bytes, Access::read_write};
}

double Bench::quick(const Contestant& contestant, double best_us) {
  return device_.can_record() ? quick_recorded(contestant, best_us) : quick_direct(contestant);
}

std::unique_ptr<Recording> Bench::record(const Contestant& c, int runs) {
  const Operand scratch = workspace(*c.kernel);
  return stream_.make_recording([&] {
    for (int i = 0; i < runs; ++i)
      stream_.launch(*c.kernel, c.sets[static_cast<std::size_t>(i) % c.sets.size()], scratch);
  });
}

double Bench::quick_recorded(const Contestant& c, double best_us) {
  const Operand scratch = workspace(*c.kernel);
  const auto measured = [&](const std::function<void()>& work) {
    return measured_us(device_, stream_, *begin_, *end_, work);
  };
  stream_.launch(*c.kernel, c.sets[0], scratch);  // loads what is loaded lazily
  stream_.synchronize();
  const double one = measured([&] { stream_.launch(*c.kernel, c.sets[0], scratch); });
  if (one > 3 * best_us + 40) return one;
  const int runs = std::clamp(static_cast<int>(300 / std::max(1.0, one)), 2, 32);
  const auto recording = record(c, runs);
  const auto replay = [&] { return measured([&] { stream_.replay(*recording); }) / runs; };
  double us = replay();  // it uploads the recording, too
  for (int i = 0; i < 3; ++i) us = std::min(us, replay());
  return us;
}

std::vector<double> Bench::careful(std::span<const Contestant> contestants) {
  constexpr int kRounds = 9;
  std::size_t largest = 0;  // so that no recording's workspace is replaced by a larger one
  for (std::size_t i = 0; i < contestants.size(); ++i)
    if (contestants[i].kernel->workspace_bytes() > contestants[largest].kernel->workspace_bytes())
      largest = i;
  if (!contestants.empty()) workspace(*contestants[largest].kernel);
  std::vector<std::unique_ptr<Recording>> recordings;
  std::vector<int> runs;
  const auto replay = [&](std::size_t i) {
    return measured_us(device_, stream_, *begin_, *end_, [&] { stream_.replay(*recordings[i]); }) / runs[i];
  };
  for (const Contestant& c : contestants) {
    runs.push_back(static_cast<int>(std::clamp<std::size_t>(2 * c.sets.size(), 4, 32)));
    recordings.push_back(record(c, runs.back()));
    const double us = replay(recordings.size() - 1);
    const int wanted = std::clamp(static_cast<int>(800 / std::max(1.0, us)), runs.back(), 64);
    if (wanted > runs.back()) {
      runs.back() = wanted;
      recordings.back() = record(c, wanted);
      replay(recordings.size() - 1);  // uploads it
    }
  }
  std::vector<std::vector<double>> times(contestants.size());
  for (int r = 0; r < kRounds; ++r)
    for (std::size_t i = 0; i < contestants.size(); ++i) times[i].push_back(replay(i));
  std::vector<double> result;
  for (auto& t : times) result.push_back(median(t));
  return result;
}

double Bench::quick_direct(const Contestant& c) {
  const Operand scratch = workspace(*c.kernel);
  std::size_t turn = 0;
  // Very short kernels are run several times per sample: the clock itself costs tens of nanoseconds.
  const auto sample = [&](int runs) {
    const auto start = sched::Clock::now();
    for (int i = 0; i < runs; ++i) stream_.launch(*c.kernel, c.sets[turn++ % c.sets.size()], scratch);
    stream_.synchronize();
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
