// Times every tactic and choice of a backend on every problem line:
//   headrace_bench [--backend=cuda] [--benchmark_filter=...] [tests/ops/conv.txt ...]
// Without file names: all of tests/ops/*.txt below the current folder. Constant-like operands (weights) are
// packed as a build would pack them. Counters: GFLOP/s (0 where there are
// no products), GB/s of operand traffic; on a device
// with memory of its own also `of_copy`, the ratio of that to a large copy inside the device's memory,
// measured in the same run. There kernels run in a recording, over as many sets of operands as it takes to
// leave the caches cold (--sets=N sets it), timed by the device's clock.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>

#include <benchmark/benchmark.h>

#include "backends/backend.h"
#include "ops/problem_line.h"

#ifndef HEADRACE_NO_OPENMP
#include <omp.h>
#endif

namespace headrace {
namespace {

constexpr std::size_t kColdBytes = std::size_t{256} << 20;  // several times any GPU's second-level cache
constexpr std::size_t kMaxSets = 64;

double flops(const Problem& p) {
  const double dst = static_cast<double>(p.dsts[0].elements());
  double kernel = 2;
  if (std::holds_alternative<Conv>(p.op) || std::holds_alternative<ConvTranspose>(p.op)) {
    const Shape& w = p.srcs[1].shape;
    for (std::size_t i = 1; i < w.size(); ++i) kernel *= static_cast<double>(w[i]);
    return kernel * (std::holds_alternative<Conv>(p.op) ? dst : static_cast<double>(p.srcs[0].elements()));
  }
  if (const auto* op = std::get_if<MatMul>(&p.op)) {
    const Shape& a = p.srcs[0].shape;
    return 2 * dst * static_cast<double>(a[a.size() - (op->transpose_a ? 2 : 1)]);
  }
  return 0;
}

/// Bytes that must be read and written.
double traffic(const Problem& p) {
  const auto bytes = [](const TensorDesc& d) {
    return static_cast<double>(d.elements()) * static_cast<double>(size_bytes(d.dtype));
  };
  double sum = 0;
  for (const TensorDesc& d : p.dsts) sum += bytes(d);
  if (std::holds_alternative<Slice>(p.op) || std::holds_alternative<Gather>(p.op)) return 2 * sum;
  for (const TensorDesc& d : p.srcs) sum += bytes(d);
  return sum;
}

struct Machine {
  Backend backend;
  DeviceRef device;
  std::unique_ptr<Stream> stream;
  std::size_t sets = 0;  ///< 0: as many as leave the caches cold
  double copy_gb_s = 0;  ///< 0: not a device with memory of its own
};

/// Everything a kernel needs, several times over, with small values in it.
struct Setup {
  std::unique_ptr<Kernel> kernel;
  std::vector<BufferRef> buffers;
  std::vector<std::vector<Operand>> sets;
  Operand workspace;
};

/// A buffer that begins with these bytes and repeats them.
BufferRef upload(Machine& machine, std::span<const std::byte> bytes, std::size_t size) {
  const std::size_t room = std::max<std::size_t>(64, size), begin = std::min(bytes.size(), room);
  BufferRef buffer = machine.device->allocate(room, MemoryKind::device, MemoryUse::io);
  BufferRef host =
      machine.device->unified_memory()
          ? buffer
          : machine.device->allocate(std::max<std::size_t>(64, begin), MemoryKind::pinned, MemoryUse::io);
  const auto copy = [&](std::size_t to, Buffer& from, std::size_t count) {
    if (buffer.get() != &from || to > 0)
      machine.stream->copy({buffer.get(), to, count, Access::write}, {&from, 0, count, Access::read});
  };
  if (begin > 0) std::memcpy(host->host_data(), bytes.data(), begin);
  copy(0, *host, begin);
  for (std::size_t have = begin; have > 0 && have < room; have *= 2)
    copy(have, *buffer, std::min(have, room - have));
  machine.stream->synchronize();
  return buffer;
}

/// Small values; the pattern repeats after at most kPattern elements.
HostTensor pattern(const TensorDesc& desc) {
  constexpr std::int64_t kPattern = 1 << 20;
  HostTensor values(desc.dtype, desc.elements() <= kPattern ? desc.shape : Shape{kPattern});
  for (std::int64_t k = 0; k < values.elements(); ++k) {
    if (is_float(values.dtype()))
      values.set_double(k, static_cast<double>(k * 7919 % 1000) / 1000 - 0.5);
    else
      values.set_int(k, 0);
  }
  return values;
}

Setup prepare(Machine& machine, const Tactic& tactic, const Choice& choice, const Problem& given) {
  Setup setup;
  Problem problem = given;
  setup.sets.resize(1);
  std::size_t bytes = 0;
  const auto add = [&](std::span<const std::byte> from, std::size_t size, Access access) {
    setup.buffers.push_back(upload(machine, from, size));
    setup.sets[0].push_back({setup.buffers.back().get(), 0, size, access});
    bytes += size;
  };
  for (std::size_t i = 0; i < given.srcs.size(); ++i) {
    const HostTensor values = pattern(given.srcs[i]);
    std::optional<Packed> packed;
    if (values.shape() == given.srcs[i].shape) packed = tactic.pack(given, choice, i, values);
    if (packed) {
      problem.srcs[i].layout = Layout::packed;
      problem.srcs[i].format = packed->format;
      add(packed->bytes, packed->bytes.size(), Access::read);
    } else {
      add(values.bytes(), given.srcs[i].span_bytes(), Access::read);
    }
  }
  for (const TensorDesc& dst : given.dsts) add({}, dst.span_bytes(), Access::write);
  setup.kernel = tactic.make(problem, choice);
  const std::size_t work = setup.kernel->workspace_bytes();
  setup.buffers.push_back(
      machine.device->allocate(std::max<std::size_t>(64, work), MemoryKind::device, MemoryUse::workspace));
  setup.workspace = {setup.buffers.back().get(), 0, work, Access::write};
  if (machine.device->unified_memory()) return setup;
  const std::size_t want = machine.sets ? machine.sets : kColdBytes / std::max<std::size_t>(1, bytes) + 1;
  while (setup.sets.size() < std::min(want, kMaxSets)) {
    std::vector<Operand> copies;
    for (const Operand& first : setup.sets[0]) {
      setup.buffers.push_back(
          machine.device->allocate(std::max<std::size_t>(64, first.size), MemoryKind::device, MemoryUse::io));
      copies.push_back({setup.buffers.back().get(), 0, first.size, first.access});
      Operand to = copies.back(), from = first;
      to.access = Access::write;
      from.access = Access::read;
      if (first.size > 0) machine.stream->copy(to, from);
    }
    setup.sets.push_back(std::move(copies));
  }
  machine.stream->synchronize();
  return setup;
}

/// Seconds per run of `work`, by the device's clock; `runs` of them are in the recording.
void time_recording(benchmark::State& state, Machine& machine, Recording& recording, std::size_t runs) {
  const EventRef begin = machine.device->make_event({.timing = true}),
                 end = machine.device->make_event({.timing = true});
  machine.stream->replay(recording);
  machine.stream->synchronize();
  for (auto _ : state) {
    machine.stream->record(*begin);
    machine.stream->replay(recording);
    machine.stream->record(*end);
    state.SetIterationTime(*machine.device->elapsed_us(*begin, *end) * 1e-6 / static_cast<double>(runs));
  }
}

void measure(benchmark::State& state, Machine& machine, const Tactic& tactic, const Choice& choice,
             const Problem& problem) {
  const auto inside = machine.device->enter();
  try {
    const Setup setup = prepare(machine, tactic, choice, problem);
    if (machine.device->unified_memory()) {
      std::vector<std::byte*> data;
      for (const Operand& o : setup.sets[0]) data.push_back(o.buffer->device_data());
      for (auto _ : state) setup.kernel->launch(nullptr, data, setup.workspace.buffer->device_data());
    } else {
      const auto recording = machine.stream->make_recording([&] {
        for (const auto& set : setup.sets) machine.stream->launch(*setup.kernel, set, setup.workspace);
      });
      time_recording(state, machine, *recording, setup.sets.size());
    }
    using benchmark::Counter;
    const double work = flops(problem), runs = static_cast<double>(state.iterations()),
                 bytes = traffic(problem);
    state.counters["GFLOP/s"] = Counter(work * runs / 1e9, Counter::kIsRate);
    state.counters["GB/s"] = Counter(bytes * runs / 1e9, Counter::kIsRate);
    if (machine.copy_gb_s > 0)
      state.counters["of_copy"] = Counter(bytes * runs / 1e9 / machine.copy_gb_s, Counter::kIsRate);
    state.SetLabel(std::string(setup.kernel->name()));
  } catch (const std::exception& e) {
    state.SkipWithError(e.what());
  }
}

/// Bytes read plus bytes written per second, best of five.
double copy_gb_per_s(Machine& machine) {
  constexpr std::size_t kSize = std::size_t{512} << 20;
  const BufferRef a = machine.device->allocate(kSize, MemoryKind::device, MemoryUse::io),
                  b = machine.device->allocate(kSize, MemoryKind::device, MemoryUse::io);
  const EventRef begin = machine.device->make_event({.timing = true}),
                 end = machine.device->make_event({.timing = true});
  double best = 1e30;
  for (int i = 0; i < 6; ++i) {
    machine.stream->record(*begin);
    machine.stream->copy({b.get(), 0, kSize, Access::write}, {a.get(), 0, kSize, Access::read});
    machine.stream->record(*end);
    const double us = *machine.device->elapsed_us(*begin, *end);
    if (i > 0) best = std::min(best, us);
  }
  return 2 * static_cast<double>(kSize) / best / 1e3;
}

Machine make_machine(const std::string& name) {
  Machine machine;
  if (name == "cpu") machine.backend = make_cpu_backend();
#ifdef HEADRACE_CUDA
  else if (name == "cuda")
    machine.backend = make_cuda_backend();
#endif
  else
    throw Error(ErrorCode::invalid_argument, "no backend '" + name + "' in this build");
  machine.device = machine.backend.make_device(name);
  machine.stream = machine.device->make_stream({.name = "bench", .inline_execution = true});
  if (!machine.device->unified_memory()) {
    machine.copy_gb_s = copy_gb_per_s(machine);
    std::fprintf(stderr, "a copy inside the device's memory: %.0f GB/s\n", machine.copy_gb_s);
  }
  return machine;
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::string backend = "cpu";
  std::size_t sets = 0;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("--backend="))
      backend = argument.substr(10);
    else if (argument.starts_with("--sets="))
      sets = std::stoul(argument.substr(7));
    else
      files.push_back(argument);
  }
  if (files.empty()) {
    for (const auto& entry : std::filesystem::directory_iterator("tests/ops")) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".txt") && name != "golden.txt") files.push_back(entry.path().string());
    }
    std::sort(files.begin(), files.end());
  }
  int threads = 1;
#ifndef HEADRACE_NO_OPENMP
  threads = omp_get_max_threads();
#endif
  Machine machine = make_machine(backend);
  machine.sets = sets;
  const bool on_device = !machine.device->unified_memory();
  std::vector<test::ProblemLine> lines;
  for (const std::string& file : files) {
    for (test::ProblemLine& line : test::read_problem_lines(file)) lines.push_back(std::move(line));
  }
  for (test::ProblemLine& line : lines) {
    line.problem.threads = threads;
    const auto inside = machine.device->enter();
    for (const auto& tactic : machine.backend.tactics) {
      if (tactic->refuses(line.problem)) continue;
      for (const Choice& choice : tactic->candidates(line.problem)) {
        const std::string label =
            line.text + " / " + std::string(tactic->id()) + (choice.empty() ? "" : " " + choice);
        auto* bench = benchmark::RegisterBenchmark(
            label.c_str(), [&machine, &tactic, choice, &line](benchmark::State& state) {
              measure(state, machine, *tactic, choice, line.problem);
            });
        bench->Unit(benchmark::kMicrosecond);
        if (on_device)
          bench->UseManualTime()->Iterations(20);
        else
          bench->UseRealTime()->MinTime(0.1);
      }
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace headrace

int main(int argc, char** argv) {
  try {
    return headrace::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "headrace_bench: %s\n", e.what());
    return 1;
  }
}
