#include "api/build_accuracy.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <random>

#include <fmt/format.h>

#include "api/build_layers.h"
#include "base/log.h"
#include "core/tensor.h"

namespace headrace::api {
namespace {

using Tensors = std::vector<NamedTensor>;

constexpr std::int64_t kEnoughElements = 1 << 20;  ///< of random inputs: the batch is smaller than opt for it

class Checker {
 public:
  Checker(const Graph& graph, const Registry& registry, compiler::Options options, const BuildOptions& wanted)
      : graph_(graph), registry_(registry), options_(std::move(options)), wanted_(wanted) {
    options_.timings = &timings_;
  }

  Plan run() {
    Plan plan = build(options_.keep_f32);
    AccuracyReport report;
    if (wanted_.check || wanted_.accuracy_budget > 0 || wanted_.check_layers ||
        !wanted_.check_inputs.empty()) {
      try {
        prepare(plan);
      } catch (const Error& e) {
        if (is_asked_for()) throw;
        log(LogSeverity::warning, "the plan was not checked against f32: ", e.message());
        return plan;
      }
      report.reference = reference_device_;
      report.outputs = deviations(plan);
      if (wanted_.accuracy_budget > 0 && worst(report.outputs) > wanted_.accuracy_budget)
        plan = hold_budget(std::move(plan), report);
      if (wanted_.check_layers) report.layers = layers().deviations();
    }
    report.builds = builds_;
    if (wanted_.accuracy) *wanted_.accuracy = std::move(report);
    return plan;
  }

 private:
  bool is_asked_for() const {
    return wanted_.accuracy_budget > 0 || wanted_.check_layers || !wanted_.check_inputs.empty();
  }

  Plan build(const std::set<NodeId>& keep_f32) {
    compiler::Options options = options_;
    options.keep_f32 = keep_f32;
    Plan plan = compiler::compile_optimised(graph_, registry_, options);
    if (!keep_f32.empty()) {
      std::string names;
      for (NodeId n : keep_f32) names += (names.empty() ? "" : "\n") + layer_name(graph_, n);
      plan.provenance["kept_f32"] = names;
    }
    ++builds_;
    return plan;
  }

  /// The f32 plan of `graph` on the CPU, or where that has no kernels on the plan's own device.
  Plan reference_plan(const Graph& graph) {
    compiler::Options options = options_;
    options.precision = Precision::fp32;
    options.opt_level = 0;
    options.timing_cache.clear();
    options.keep_f32.clear();
    for (const std::string& device : {std::string("cpu"), options_.device}) {
      if (!registry_.find(device.substr(0, device.find(':')))) continue;
      options.device = reference_device_ = device;
      try {
        return compiler::compile_optimised(graph, registry_, options);
      } catch (const Error& e) {
        if (device == options_.device || e.code() != ErrorCode::unsupported) throw;
      }
    }
    throw Error(ErrorCode::unsupported, "no device can compute the f32 reference");
  }

  /// Inputs, and what the reference makes of them.
  void prepare(const Plan& plan) {
    const Engine engine = Engine::load(PlanFile(std::make_shared<const Plan>(reference_plan(graph_))));
    if (!wanted_.check_inputs.empty())
      inputs_.push_back(read_inputs(engine));
    else
      for (std::size_t p = 0; p < plan.profiles.size(); ++p)
        inputs_.push_back(random_inputs(engine, plan.profiles[p], p));
    for (const Tensors& inputs : inputs_) expected_.push_back(infer(engine, inputs));
  }

  Tensors read_inputs(const Engine& engine) const {
    Tensors inputs;
    for (const TensorInfo& info : engine.inputs()) {
      std::string file = info.name;
      std::replace(file.begin(), file.end(), '/', '_');
      inputs.push_back(
          {info.name, load_npy((std::filesystem::path(wanted_.check_inputs) / (file + ".npy")).string())});
    }
    return inputs;
  }

  /// At the profile's opt, with a smaller batch where that is allowed and the inputs are large.
  Tensors random_inputs(const Engine& engine, const Profile& profile, std::size_t number) const {
    std::int64_t per_item = 0;
    for (const ProfileRange& r : profile) {
      std::int64_t n = 1;
      for (std::size_t a = 1; a < r.opt.size(); ++a) n *= std::max<std::int64_t>(r.opt[a], 1);
      per_item += n;
    }
    const std::int64_t enough =
        std::max<std::int64_t>(1, kEnoughElements / std::max<std::int64_t>(per_item, 1));
    Tensors inputs;
    for (std::size_t i = 0; i < profile.size(); ++i) {
      Shape shape = profile[i].opt;
      if (!shape.empty()) shape[0] = std::max(std::min(shape[0], enough), profile[i].min[0]);
      const DType dtype = engine.inputs()[i].dtype;
      Tensor tensor(dtype, shape);
      HostTensor values(dtype, shape);
      std::mt19937_64 random(wanted_.check_seed + 1000 * number + i);
      for (std::int64_t k = 0, n = values.elements(); k < n; ++k) {
        const double unit = static_cast<double>(random() >> 11) * 0x1p-53;
        if (const auto& format = engine.inputs()[i].format)
          values.set_double(k, sample(*format, unit));
        else if (is_float(dtype))
          values.set_double(k, 2 * unit - 1);
        else
          values.set_int(k, static_cast<std::int64_t>(unit * 10));
      }
      std::copy(values.bytes().begin(), values.bytes().end(), tensor.view().data());
      inputs.push_back({profile[i].input, std::move(tensor)});
    }
    return inputs;
  }

  static Tensors infer(const Engine& engine, const Tensors& inputs) {
    std::vector<NamedView> views;
    for (const NamedTensor& t : inputs) views.push_back({t.name, t.tensor.view()});
    Context context(engine);
    return context.infer(views);
  }
  Engine load(const Plan& plan) const {
    return Engine::load(PlanFile(std::make_shared<const Plan>(plan)),
                        {.device = options_.device, .memory_budget_bytes = options_.memory_budget_bytes});
  }

  /// Of the floating-point outputs, over all inputs; worst first.
  std::vector<Deviation> deviations(const Plan& plan) {
    const Engine engine = load(plan);
    std::map<std::string, double> found;
    for (std::size_t set = 0; set < inputs_.size(); ++set) {
      const Tensors got = infer(engine, inputs_[set]);
      for (std::size_t o = 0; o < got.size(); ++o) {
        if (!is_float(got[o].tensor.dtype())) continue;
        double& worst = found[got[o].name];
        worst = std::max(
            worst,
            deviation(as_host(got[o].tensor.view()), as_host(expected_[set][o].tensor.view())).largest);
      }
    }
    return sorted(found);
  }

  static double worst(const std::vector<Deviation>& list) { return list.empty() ? 0 : list.front().relative; }

  const Layers& layers() {
    if (layers_) return *layers_;
    layers_.emplace(graph_, options_.precision);
    compiler::Options options = options_;
    options.opt_level = 0;
    options.memory_budget_bytes = UINT64_MAX;
    const Engine reference =
        Engine::load(PlanFile(std::make_shared<const Plan>(reference_plan(layers_->exposed()))));
    const Engine lowered = Engine::load(PlanFile(std::make_shared<const Plan>(compiler::compile_optimised(
                                            layers_->exposed(), registry_, options))),
                                        {.device = options_.device});
    ++builds_;
    layers_->measure(inputs_.front(), infer(lowered, inputs_.front()), infer(reference, inputs_.front()));
    return *layers_;
  }

  /// The least number of moves (of those that pay most) that holds: by doubling, then by halving what is
  /// left.
  Plan hold_budget(Plan first, AccuracyReport& report) {
    std::set<std::string> offending;
    for (const Deviation& d : report.outputs)
      if (!(d.relative <= wanted_.accuracy_budget)) offending.insert(d.name);
    const std::vector<Move> moves = layers().moves(offending);
    report.layers = layers().deviations();
    double best = worst(report.outputs);
    std::string best_output = report.outputs.front().name;
    std::size_t best_kept = 0;
    std::size_t fails = 0, holds = moves.size() + 1, count = std::min<std::size_t>(1, moves.size());
    Plan result = std::move(first);
    while (count > fails && count < holds && builds_ < kMaxBuilds) {
      std::set<NodeId> kept;
      for (std::size_t m = 0; m < count; ++m) kept.insert(moves[m].nodes.begin(), moves[m].nodes.end());
      Plan plan = build(kept);
      std::vector<Deviation> found = deviations(plan);
      if (worst(found) < best) best = worst(found), best_output = found.front().name, best_kept = kept.size();
      if (worst(found) <= wanted_.accuracy_budget) {
        holds = count;
        result = std::move(plan);
        report.outputs = std::move(found);
        report.kept_f32.clear();
        for (NodeId n : kept) report.kept_f32.push_back(layer_name(graph_, n));
        if (holds - fails <= std::max<std::size_t>(1, holds / 8)) break;  // close enough to the least
      } else {
        fails = count;
      }
      const bool last_doubling = builds_ + 1 >= kMaxBuilds && holds > moves.size();
      count = holds <= moves.size() ? (fails + holds) / 2
              : last_doubling       ? moves.size()
                                    : std::min(moves.size(), 2 * std::max<std::size_t>(fails, 1));
    }
    if (holds > moves.size())
      throw Error(
          ErrorCode::unsupported,
          fmt::format("the accuracy budget {} cannot be held in {}: the best that was reached is {:.3g}, of "
                      "output '{}', with {} of {} layers in f32; raise the budget, or build in fp32",
                      wanted_.accuracy_budget, to_string(options_.precision), best, best_output, best_kept,
                      graph_.nodes().size()));
    return result;
  }

  const Graph& graph_;
  const Registry& registry_;
  compiler::Options options_;
  const BuildOptions& wanted_;
  tuner::TimingCache timings_;
  std::string reference_device_;
  std::vector<Tensors> inputs_, expected_;  ///< one of each per profile, or one of the folder
  std::optional<Layers> layers_;
  int builds_ = 0;
};

}  // namespace

Plan build_checked(const Graph& graph, const Registry& registry, compiler::Options options,
                   const BuildOptions& wanted) {
  if (!(wanted.accuracy_budget >= 0))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the accuracy budget is {}; use a number above 0", wanted.accuracy_budget));
  const bool exact = options.precision == Precision::fp32;
  if (exact && (wanted.accuracy_budget > 0 || wanted.check_layers || !wanted.check_inputs.empty()))
    throw Error(ErrorCode::invalid_argument,
                "an accuracy check compares a plan with fp32, but this one is built in fp32; choose another "
                "precision, or use `headrace verify`");
  if (exact) return compiler::compile_optimised(graph, registry, options);
  return Checker(graph, registry, std::move(options), wanted).run();
}

}  // namespace headrace::api
