#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/cpu.h"
#include "base/log.h"
#include "compiler/compiler.h"
#include "compiler/draft.h"
#include "compiler/precision.h"
#include "passes/pass.h"
#include "plan/profiles.h"

namespace headrace::compiler {
namespace {

void add_extra_outputs(Graph& graph, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const auto& outputs = graph.outputs();
    if (std::any_of(outputs.begin(), outputs.end(), [&](const GraphOutput& o) { return o.name == name; }))
      continue;
    ValueId found = kNoValue;
    for (std::size_t v = 0; v < graph.value_count() && found == kNoValue; ++v) {
      const Value& value = graph.value(static_cast<ValueId>(v));
      if (std::find(value.names.begin(), value.names.end(), name) != value.names.end()) found = value.id;
    }
    if (found == kNoValue)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the model has no tensor '{}' to expose as an output", name));
    graph.add_output(name, found);
  }
}

const Backend& find_backend(const Registry& registry, const std::string& device) {
  const std::string name = device.substr(0, device.find(':'));
  if (const Backend* backend = registry.find(name)) return *backend;
  std::string known;
  for (const auto& b : registry.backends()) known += (known.empty() ? "'" : ", '") + b->name + "'";
  throw Error(ErrorCode::invalid_argument,
              fmt::format("there is no device '{}'; this headrace has {}", device, known));
}

/// More weights than this do not stay in a GPU's caches from one inference to the next.
constexpr std::uint64_t kCachedWeights = std::uint64_t{40} << 20;

std::uint64_t weight_bytes(const Graph& graph) {
  std::uint64_t bytes = 0;
  for (std::size_t v = 0; v < graph.value_count(); ++v)
    if (const Constant& constant = graph.value(static_cast<ValueId>(v)).constant)
      bytes += constant->bytes().size();
  return bytes;
}

void check_precision(const Backend& backend, Precision precision) {
  if (precision == Precision::fp32 || backend.name == "cuda") return;
  if (backend.name == "cpu")
    throw Error(
        ErrorCode::unsupported,
        fmt::format(
            "the cpu backend has no kernels for {} yet and would run plain loops; build for 'cuda:0', "
            "{}or in fp32",
            to_string(precision),
            precision == Precision::tf32 ? "" : "for 'reference' if plain loops are what you want, "));
  if (backend.name == "reference" && precision == Precision::tf32)
    throw Error(ErrorCode::unsupported,
                "the reference computes f32 exactly and has no tf32; build for 'cuda:0', or in fp32");
}

void check_budget(std::uint64_t bytes, const Options& options) {
  if (bytes > options.memory_budget_bytes)
    throw Error(
        ErrorCode::out_of_memory,
        fmt::format("the plan's weights need {} bytes, but the memory budget is {} bytes; raise the budget",
                    bytes, options.memory_budget_bytes));
}

void report(const Options& options, std::string_view stage, double done) {
  if (options.progress && !options.progress(stage, done))
    throw Error(ErrorCode::cancelled, fmt::format("the build was cancelled during '{}'", stage));
}

}  // namespace

void check_device(const Registry& registry, const Options& options) {
  check_precision(find_backend(registry, options.device), options.precision);
}

Graph optimise(Graph graph, const Options& options) {
  if (graph.outputs().empty()) throw Error(ErrorCode::invalid_model, "the model has no output");
  add_extra_outputs(graph, options.extra_outputs);
  apply_input_formats(graph, options.input_formats);
  report(options, "passes", 0);
  passes::run_passes(graph, {.evaluate = evaluate_reference, .disabled = options.disabled_passes});
  report(options, "passes", 1);
  return graph;
}

Plan compile(Graph graph, const Registry& registry, const Options& options) {
  check_device(registry, options);
  return compile_optimised(optimise(std::move(graph), options), registry, options);
}

Plan compile_optimised(Graph graph, const Registry& registry, const Options& options) {
  check_device(registry, options);
  const Backend& backend = find_backend(registry, options.device);
  if (options.precision != Precision::fp32)
    graph = lower_precision(graph, options.precision, options.keep_f32);

  Draft draft;
  draft.registry = &registry;
  draft.backend = &backend;
  draft.reference = backend.name == "reference" ? nullptr : registry.find("reference");
  draft.device = backend.make_device(options.device);
  const std::shared_ptr<void> current_device = draft.device->enter();
  draft.threads = options.threads > 0 ? options.threads : usable_cores();
  draft.opt_level = options.opt_level;
  draft.progress = [&](std::string_view stage, double done) { report(options, stage, done); };
  if (!draft.device->unified_memory()) draft.reference = nullptr;
  draft.plan.device = backend.name;
  draft.plan.device_model = draft.device->model();
  draft.plan.threads = draft.threads;
  draft.plan.shapes = graph.shapes();
  draft.plan.profiles = make_profiles(graph, options.profiles);
  for (const Profile& profile : draft.plan.profiles) {
    draft.profile_symbols.push_back(opt_symbols(graph, profile));
    if (draft.profile_symbols.size() > 1) draft.probes.push_back(draft.profile_symbols.back());
    for (auto& probe : probe_symbols(graph, profile, draft.profile_symbols.back()))
      draft.probes.push_back(std::move(probe));
  }
  draft.symbols = draft.profile_symbols.front();
  draft.values = values_of(draft.plan.shapes, draft.symbols);
  for (const auto& [key, value] : graph.metadata) draft.plan.provenance["onnx." + key] = value;
  for (const auto& [name, format] : graph.input_formats)
    draft.plan.provenance[kInputFormatKey + name] = to_string(format);
  draft.plan.provenance["precision"] = to_string(options.precision);
  draft.plan.provenance["opt_level"] = fmt::format("{}", options.opt_level);

  tuner::TimingCache own;
  tuner::TimingCache& cache = options.timings ? *options.timings : own;
  std::optional<tuner::Tuner> tuner;
  if (options.opt_level > 0) {
    if (!options.timing_cache.empty()) cache.merge(tuner::TimingCache::load(options.timing_cache));
    tuner::TunerOptions how;
    how.full = options.opt_level >= 5;
    how.poll = [&] { report(options, "tactics", draft.chosen); };
    how.bench.cold_weights = weight_bytes(graph) > kCachedWeights;
    draft.tuner = &tuner.emplace(draft.device, draft.threads, cache, how);
  }
  split_posts(draft, graph);
  absorb(draft, graph);
  select(draft, graph);
  make_views(draft);
  choose_for_profiles(draft);
  finish(draft);
  check_budget(draft.plan.weights.size(), options);
  verify_plan(draft.plan);
  for (const std::string& gap : profile_gaps(draft.plan)) log(LogSeverity::warning, gap);
  if (tuner && !options.timing_cache.empty() &&
      (tuner->measured() > 0 || !std::filesystem::exists(options.timing_cache)))
    cache.save(options.timing_cache);
  report(options, "done", 1);
  return std::move(draft.plan);
}

}  // namespace headrace::compiler
