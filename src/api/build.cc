#include <cstring>

#include <fmt/format.h>

#include <headrace/build.h>

#include "api/registry.h"
#include "base/file.h"
#include "compiler/compiler.h"
#include "graph/graph.h"
#include "onnx/import.h"

namespace headrace {
namespace {

compiler::Options to_options(const BuildOptions& options) {
  compiler::Options result;
  result.device = options.device.empty() ? default_device().name : options.device;
  result.f16 = options.precision == Precision::fp16;
  for (const auto& profile : options.profiles) {
    auto& ranges = result.profiles.emplace_back();
    for (const ShapeRange& range : profile) ranges.push_back({range.input, range.min, range.opt, range.max});
  }
  if (options.opt_level < 0 || options.opt_level > 5)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("opt_level is {}; use 0 (by rule) to 5", options.opt_level));
  if (options.threads < 0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("threads is {}; use 0 (all cores) or more", options.threads));
  result.opt_level = options.opt_level;
  result.threads = options.threads;
  result.timing_cache = options.timing_cache;
  result.memory_budget_bytes = options.memory_budget_bytes;
  result.progress = options.progress;
  result.extra_outputs = options.extra_outputs;
  result.disabled_passes = options.disabled_passes;
  return result;
}

PlanFile compile_graph(Graph graph, const BuildOptions& options) {
  return PlanFile(std::make_shared<const Plan>(
      compiler::compile(std::move(graph), api::registry(), to_options(options))));
}

}  // namespace

PlanFile build(const std::string& onnx_path, const BuildOptions& options) {
  return compile_graph(onnx::import_file(onnx_path, {.extra_outputs = options.extra_outputs}), options);
}

PlanFile build(std::span<const std::byte> onnx_bytes, const BuildOptions& options) {
  auto copy = std::make_shared<std::vector<std::byte>>(onnx_bytes.begin(), onnx_bytes.end());
  return compile_graph(onnx::import_bytes(*copy, copy, {}, {.extra_outputs = options.extra_outputs}),
                       options);
}

std::string describe_onnx(const std::string& onnx_path) { return print(onnx::import_file(onnx_path)); }

NamedTensor load_tensor_proto(const std::string& path) {
  const MappedFile file(path);
  auto [name, host] = onnx::read_tensor_proto(file.bytes());
  NamedTensor result{name, Tensor(host.dtype(), host.shape())};
  std::memcpy(result.tensor.view().data(), host.bytes().data(), host.bytes().size());
  return result;
}

std::vector<std::string> supported_operators() {
  std::vector<std::string> names;
  for (const auto& [name, since] : onnx::supported_operators()) names.push_back(name);
  return names;
}

}  // namespace headrace
