#include <algorithm>
#include <cstring>
#include <optional>
#include <random>

#include <fmt/format.h>

#include <headrace/measure.h>

#include "api/measure_time.h"
#include "runtime/engine_state.h"

namespace headrace {
namespace {

using api::first_bytes;
using api::queued_us;

/// Numbers in [-1, 1), a few of them over and over: zeros would cost less power and run faster.
BufferRef filled(Device& device, Stream& stream, DType dtype, std::int64_t elements) {
  constexpr std::int64_t kFew = 65'537;
  HostTensor few(dtype, {std::min(kFew, elements)});
  std::mt19937 random(7);
  for (std::int64_t i = 0; i < few.elements(); ++i)
    few.set_double(i, static_cast<double>(random() % 4096) / 2048 - 1);
  const std::size_t bytes = static_cast<std::size_t>(elements) * size_bytes(dtype);
  BufferRef result = device.allocate(bytes, MemoryKind::device, MemoryUse::activations);
  const BufferRef host =
      device.unified_memory() ? result : device.allocate(bytes, MemoryKind::pinned, MemoryUse::io);
  for (std::size_t at = 0; at < bytes; at += few.bytes().size())
    std::memcpy(host->host_data() + at, few.bytes().data(), std::min(few.bytes().size(), bytes - at));
  if (host != result) {
    stream.copy(first_bytes(result, bytes, Access::write), first_bytes(host, bytes, Access::read));
    stream.synchronize();
  }
  return result;
}

/// The first kernel of a backend for a problem; none when all its tactics refuse.
struct Chosen {
  std::unique_ptr<Kernel> kernel;
  std::string tactic;
};
std::optional<Chosen> choose(const Backend& backend, const Problem& problem) {
  for (const auto& tactic : backend.tactics) {
    if (tactic->refuses(problem)) continue;
    try {
      return Chosen{tactic->make(problem, tactic->candidates(problem).front()), std::string(tactic->id())};
    } catch (const Error& e) {
      if (e.code() == ErrorCode::out_of_memory) throw;  // else: the next
    }
  }
  return std::nullopt;
}

/// Time of one run of the problem on memory of its own, and by which tactic.
std::optional<std::pair<double, std::string>> time_problem(const Backend& backend, Device& device,
                                                           Stream& stream, const Problem& problem) {
  const std::optional<Chosen> chosen = choose(backend, problem);
  if (!chosen) return std::nullopt;
  std::vector<BufferRef> buffers;
  std::vector<Operand> operands;
  const auto add = [&](const TensorDesc& desc, Access access) {
    buffers.push_back(filled(device, stream, desc.dtype, desc.elements()));
    operands.push_back(first_bytes(buffers.back(), desc.span_bytes(), access));
  };
  for (const TensorDesc& src : problem.srcs) add(src, Access::read);
  for (const TensorDesc& dst : problem.dsts) add(dst, Access::write);
  Operand workspace;
  if (const std::size_t bytes = chosen->kernel->workspace_bytes(); bytes > 0) {
    buffers.push_back(device.allocate(bytes, MemoryKind::device, MemoryUse::workspace));
    workspace = first_bytes(buffers.back(), bytes, Access::read_write);
  }
  const double us = queued_us([&] { stream.launch(*chosen->kernel, operands, workspace); },
                              [&] { stream.synchronize(); }, 5);
  return std::pair{us, chosen->tactic};
}

Problem product(DType dtype, std::int64_t n, int threads) {
  const TensorDesc square = TensorDesc::dense(dtype, {n, n});
  return {MatMul{}, {square, square}, {square}, threads};
}

/// dst = x * y + z
Problem triad(std::int64_t n, int threads) {
  PwExpr e;
  const auto x = e.load(0, DType::f32), y = e.load(1, DType::f32), z = e.load(2, DType::f32);
  e.op(PwOp::add, DType::f32, e.op(PwOp::mul, DType::f32, x, y), z);
  const TensorDesc row = TensorDesc::dense(DType::f32, {n});
  return {Pointwise{e}, {row, row, row}, {row}, threads};
}

}  // namespace

double Roofline::least_us(double bytes, double flops, DType dtype) const {
  const auto it =
      std::find_if(arithmetic.begin(), arithmetic.end(), [&](const auto& a) { return a.dtype == dtype; });
  if (bytes_per_s <= 0 || (flops > 0 && it == arithmetic.end())) return 0;
  return 1e6 * std::max(bytes / bytes_per_s, flops > 0 ? flops / it->flops_per_s : 0);
}

bool Roofline::impossible(double us, double bytes, double flops, DType dtype) const {
  return 1.2 * us < least_us(0, flops, dtype) || 20 * us < least_us(bytes, 0, dtype);
}

Roofline measure_roofline(const Engine& engine) {
  const runtime::Engine::State& state = engine.data()->state();
  const Backend& backend = *state.backend;
  Device& device = *state.device;
  const int threads = state.threads;
  const std::shared_ptr<void> inside = device.enter();
  const auto stream = device.make_stream({.name = "roofline", .inline_execution = true, .threads = threads});
  Roofline result;
  if (device.unified_memory()) {
    constexpr std::int64_t kElements = 12'000'000;  // four times 48 MB: more than the caches hold
    if (const auto t = time_problem(backend, device, *stream, triad(kElements, threads))) {
      result.bytes_per_s = 16e6 * kElements / t->first;
      result.bytes_how = fmt::format("x * y + z of 48 MB each, {}, {} threads", t->second, threads);
    }
  } else {
    constexpr std::size_t kBytes = std::size_t{1} << 30;
    const BufferRef from = device.allocate(kBytes, MemoryKind::device, MemoryUse::activations),
                    to = device.allocate(kBytes, MemoryKind::device, MemoryUse::activations);
    const double us = queued_us(
        [&] {
          stream->copy(first_bytes(to, kBytes, Access::write), first_bytes(from, kBytes, Access::read));
        },
        [&] { stream->synchronize(); }, 5);
    result.bytes_per_s = 2e6 * static_cast<double>(kBytes) / us;
    result.bytes_how = "copy of 1 GiB inside the device, bytes read and written";
  }
  constexpr double kLongUs = 5000;
  for (const DType dtype : {DType::f32, DType::f16})
    for (std::int64_t n = device.unified_memory() ? 256 : 8192;; n *= 2) {
      const auto t = time_problem(backend, device, *stream, product(dtype, n, threads));
      if (!t) break;
      if (device.unified_memory() && n < 1024 && t->first < kLongUs) continue;  // too small to be fast
      const auto extent = static_cast<double>(n);
      result.arithmetic.push_back(
          {dtype, 2e6 * extent * extent * extent / t->first, fmt::format("{} of {} x {}", t->second, n, n)});
      break;
    }
  return result;
}

}  // namespace headrace
