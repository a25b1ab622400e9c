#include <cstring>
#include <optional>

#include <fmt/format.h>

#include <headrace/build.h>

#include "api/build_accuracy.h"
#include "api/registry.h"
#include "base/file.h"
#include "base/log.h"
#include "compiler/compiler.h"
#include "graph/graph.h"
#include "onnx/import.h"

namespace headrace {
namespace {

compiler::Options to_options(const BuildOptions& options) {
  compiler::Options result;
  result.device = options.device.empty() ? default_device().name : options.device;
  result.precision = options.precision;
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
  result.input_formats = options.input_formats;
  result.disabled_passes = options.disabled_passes;
  return result;
}

/// Weights, activations and workspace at the largest shapes that the given profiles allow (without any: at
/// opt), by preparing them as a run would.
void check_memory(const PlanFile& plan, const BuildOptions& options) {
  if (options.memory_budget_bytes == UINT64_MAX) return;
  const Engine engine = Engine::load(plan, {.device = options.device,
                                            .threads = options.threads,
                                            .memory_budget_bytes = options.memory_budget_bytes});
  for (std::size_t p = 0; p < plan.data()->profiles.size(); ++p) {
    ShapeMap shapes;
    for (const ProfileRange& r : plan.data()->profiles[p])
      shapes[r.input] = options.profiles.empty() ? r.opt : r.max;
    try {
      Context(engine).prepare(shapes);
    } catch (Error& e) {
      if (e.code() == ErrorCode::out_of_memory)
        throw e.add_context(fmt::format("while preparing the largest shapes of profile {}", p));
      log(LogSeverity::warning, "the memory budget was only checked for weights: ", e.message());
    }
  }
}

/// Into the options' list while it lives.
class Warnings {
 public:
  explicit Warnings(const BuildOptions& options) {
    if (!options.warnings) return;
    options.warnings->clear();
    kept_.emplace(*options.warnings);
  }

 private:
  std::optional<KeptWarnings> kept_;
};

PlanFile compile_graph(Graph graph, const BuildOptions& options) {
  const compiler::Options wanted = to_options(options);
  compiler::check_device(api::registry(), wanted);
  graph = compiler::optimise(std::move(graph), wanted);
  PlanFile plan(std::make_shared<const Plan>(api::build_checked(graph, api::registry(), wanted, options)));
  check_memory(plan, options);
  return plan;
}

}  // namespace

PlanFile build(const std::string& onnx_path, const BuildOptions& options) {
  const Warnings warnings(options);
  return compile_graph(onnx::import_file(onnx_path, {.extra_outputs = options.extra_outputs}), options);
}

PlanFile build(std::span<const std::byte> onnx_bytes, const BuildOptions& options) {
  const Warnings warnings(options);
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
