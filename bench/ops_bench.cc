// Times every cpu tactic and choice on every problem line: headrace_bench [--benchmark_filter=...]
// [tests/ops/conv.txt ...] Without file names: all of tests/ops/*.txt below the current folder. Constant-like
// operands (weights) are packed as a build would pack them. Counters: GFLOP/s for products, GB/s of operand
// traffic for the rest.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <thread>

#include <benchmark/benchmark.h>

#include "backends/backend.h"
#include "ops/problem_line.h"

#ifndef HEADRACE_NO_OPENMP
#include <omp.h>
#endif

namespace headrace {
namespace {

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

/// Everything a kernel needs, on 64-byte aligned host memory with small values in it.
struct Setup {
  std::unique_ptr<Kernel> kernel;
  std::vector<BufferRef> buffers;
  std::vector<std::byte*> data;
  BufferRef workspace;
  double bytes = 0;
};

Setup prepare(Device& device, const Tactic& tactic, const Choice& choice, const Problem& given) {
  Setup setup;
  Problem problem = given;
  const auto add = [&](const void* from, std::size_t size) {
    BufferRef buffer = device.allocate(std::max<std::size_t>(64, size), MemoryKind::host, MemoryUse::io);
    std::memset(buffer->host_data(), 0, buffer->size_bytes());
    if (from) std::memcpy(buffer->host_data(), from, size);
    setup.data.push_back(buffer->host_data());
    setup.bytes += static_cast<double>(size);
    setup.buffers.push_back(std::move(buffer));
  };
  for (std::size_t i = 0; i < given.srcs.size(); ++i) {
    HostTensor values(given.srcs[i].dtype, given.srcs[i].shape);
    for (std::int64_t k = 0; k < values.elements(); ++k) {
      if (is_float(values.dtype()))
        values.set_double(k, static_cast<double>(k * 7919 % 1000) / 1000 - 0.5);
      else
        values.set_int(k, 0);
    }
    if (std::optional<Packed> packed = tactic.pack(given, choice, i, values)) {
      problem.srcs[i].layout = Layout::packed;
      problem.srcs[i].format = packed->format;
      add(packed->bytes.data(), packed->bytes.size());
    } else if (values.bytes().size() == given.srcs[i].span_bytes()) {
      add(values.bytes().data(), values.bytes().size());  // any order of values does
    } else {
      add(nullptr, given.srcs[i].span_bytes());
    }
  }
  for (const TensorDesc& dst : given.dsts) add(nullptr, dst.span_bytes());
  setup.kernel = tactic.make(problem, choice);
  setup.workspace = device.allocate(std::max<std::size_t>(64, setup.kernel->workspace_bytes()),
                                    MemoryKind::host, MemoryUse::workspace);
  return setup;
}

void measure(benchmark::State& state, Device& device, const Tactic& tactic, const Choice& choice,
             const Problem& problem) {
  try {
    const Setup setup = prepare(device, tactic, choice, problem);
    for (auto _ : state) setup.kernel->launch(nullptr, setup.data, setup.workspace->host_data());
    const double work = flops(problem), runs = static_cast<double>(state.iterations());
    if (work > 0)
      state.counters["GFLOP/s"] = benchmark::Counter(work * runs / 1e9, benchmark::Counter::kIsRate);
    else
      state.counters["GB/s"] = benchmark::Counter(setup.bytes * runs / 1e9, benchmark::Counter::kIsRate);
    state.SetLabel(std::string(setup.kernel->name()));
  } catch (const std::exception& e) {
    state.SkipWithError(e.what());
  }
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  std::vector<std::string> files(argv + 1, argv + argc);
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
  const Backend backend = make_cpu_backend();
  const DeviceRef device = backend.make_device("cpu");
  std::vector<test::ProblemLine> lines;
  for (const std::string& file : files) {
    for (test::ProblemLine& line : test::read_problem_lines(file)) lines.push_back(std::move(line));
  }
  for (test::ProblemLine& line : lines) {
    line.problem.threads = threads;
    for (const auto& tactic : backend.tactics) {
      if (tactic->refuses(line.problem)) continue;
      for (const Choice& choice : tactic->candidates(line.problem)) {
        const std::string label =
            line.text + " / " + std::string(tactic->id()) + (choice.empty() ? "" : " " + choice);
        benchmark::RegisterBenchmark(label.c_str(),
                                     [&device, &tactic, choice, &line](benchmark::State& state) {
                                       measure(state, *device, *tactic, choice, line.problem);
                                     })
            ->Unit(benchmark::kMicrosecond)
            ->UseRealTime()
            ->MinTime(0.1);
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
