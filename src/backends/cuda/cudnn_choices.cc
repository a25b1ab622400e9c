// Which of cuDNN's engines are worth trying for a convolution, in which order.
#ifdef HEADRACE_CUDNN
#include <algorithm>
#include <cmath>
#include <map>
#include <span>

#include "backends/cuda/cudnn_conv.h"

namespace headrace::cuda {
namespace {

constexpr std::size_t kWorkspaceCap = std::size_t{256} << 20;    ///< never more
constexpr std::size_t kModestWorkspace = std::size_t{32} << 20;  ///< the rule's choice takes less if it can
constexpr std::size_t kFirstCompiled = 3;  ///< configurations that cost seconds of compilation each

/// Settings that win often, for engines with exactly these knobs: heuristics leave many of them out.
struct Seeds {
  std::vector<std::int64_t> knobs;
  std::vector<std::vector<std::int64_t>> settings;
};
const std::vector<Seeds>& seeds() {
  static const std::vector<Seeds> all{
      // Kernels over clusters of thread blocks.
      {{CUDNN_KNOB_TYPE_TILE_SIZE, CUDNN_KNOB_TYPE_TILEK, CUDNN_KNOB_TYPE_IDX_MODE, CUDNN_KNOB_TYPE_WORKSPACE,
        CUDNN_KNOB_TYPE_TILE_CGA_M, CUDNN_KNOB_TYPE_TILE_CGA_N},
       {{0, 1, 0, 0, 1, 1},
        {0, 1, 0, 0, 1, 2},
        {5, 1, 0, 0, 1, 4},
        {5, 1, 0, 0, 4, 1},
        {5, 1, 0, 0, 7, 1},
        {7, 1, 0, 0, 14, 1},
        {7, 0, 0, 1, 7, 1},
        {4, 0, 0, 1, 8, 1},
        {4, 1, 0, 1, 1, 1},
        {6, 0, 0, 1, 1, 1},
        {3, 1, 0, 1, 1, 1},
        {1, 0, 0, 1, 7, 1}}},
      // Kernels with copies ahead in several stages.
      {{CUDNN_KNOB_TYPE_TILE_SIZE, CUDNN_KNOB_TYPE_TILEK, CUDNN_KNOB_TYPE_STAGES, CUDNN_KNOB_TYPE_IDX_MODE,
        CUDNN_KNOB_TYPE_SPECFILT},
       {{8, 1, 4, 0, 2},
        {8, 1, 4, 0, 0},
        {5, 1, 3, 0, 2},
        {5, 1, 3, 0, 0},
        {0, 1, 2, 0, 0},
        {1, 0, 4, 0, 0},
        {4, 0, 2, 1, 0},
        {7, 0, 4, 1, 0}}},
      // The same, with the sum over channels and taps split among thread blocks.
      {{CUDNN_KNOB_TYPE_TILE_SIZE, CUDNN_KNOB_TYPE_SPLIT_K_BUF, CUDNN_KNOB_TYPE_TILEK, CUDNN_KNOB_TYPE_STAGES,
        CUDNN_KNOB_TYPE_REDUCTION_MODE, CUDNN_KNOB_TYPE_SPLIT_K_SLC, CUDNN_KNOB_TYPE_IDX_MODE,
        CUDNN_KNOB_TYPE_SPECFILT},
       {{8, 2, 1, 4, 1, 64, 0, 2},
        {8, 4, 1, 4, 1, 64, 0, 2},
        {8, 8, 1, 4, 1, 64, 0, 2},
        {5, 4, 1, 3, 1, 64, 0, 0}}},
  };
  return all;
}

/// The same for engines compiled at run time, whose one useful knob numbers their kernels; by engine of the
/// pattern for any epilogue. Those beyond the first are tried where that came near the best.
struct CompiledSeeds {
  std::int64_t engine;
  std::vector<std::int64_t> kernels;
};
const std::vector<CompiledSeeds>& compiled_seeds() {
  static const std::vector<CompiledSeeds> all{{2, {14, 6, 15, 42, 2}}, {7, {34, 12, 21, 10, 28}}};
  return all;
}

/// f32 that is not to be rounded to tf32 either.
bool is_strict(const Problem& problem) {
  const auto* conv = std::get_if<Conv>(&problem.op);
  const auto* deconv = std::get_if<ConvTranspose>(&problem.op);
  return problem.srcs[0].dtype == DType::f32 && !(conv && conv->tf32) && !(deconv && deconv->tf32);
}

bool acceptable(const EngineTraits& traits, bool strict) {
  return traits.deterministic && !traits.reduced_sums && (!strict || traits.exact);
}

/// Engines of one graph, asked for once each.
class EngineNotes {
 public:
  EngineNotes(const OpGraph& graph, const CudnnTarget& target) : graph_(graph), target_(target) {}
  const std::optional<Engine>& operator[](std::int64_t id) {
    const auto [it, added] = known_.try_emplace(id);
    if (added) it->second = find_engine(graph_, target_, id);
    return it->second;
  }

 private:
  const OpGraph& graph_;
  const CudnnTarget& target_;
  std::map<std::int64_t, std::optional<Engine>> known_;
};

void add_unique(std::vector<EngineConfig>& list, EngineConfig config) {
  if (std::find(list.begin(), list.end(), config) == list.end()) list.push_back(std::move(config));
}

/// Modes A and B in their order, then the fallback's.
std::vector<EngineConfig> heuristic_list(const OpGraph& graph, const CudnnTarget& target) {
  std::vector<EngineConfig> result;
  for (auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK})
    for (EngineConfig& config : heuristic_configs(graph, target, mode)) add_unique(result, std::move(config));
  return result;
}

/// All settings of engines that have few, which the heuristics tend to leave out (1x1 kernels, small stems).
void add_small_engines(std::vector<EngineConfig>& list, std::span<const Engine> engines) {
  for (const Engine& engine : engines) {
    if (engine.traits.exact || engine.traits.runtime_compiled) continue;
    std::int64_t settings = 1;
    for (const KnobRange& k : engine.knobs)
      settings = std::min<std::int64_t>(
          1000, settings * ((k.maximum - k.minimum) / std::max<std::int64_t>(1, k.stride) + 1));
    if (settings > 8) continue;
    for (std::int64_t s = 0; s < settings; ++s) {
      EngineConfig config{.engine = engine.id, .knobs = {}};
      std::int64_t rest = s;
      for (const KnobRange& k : engine.knobs) {
        const std::int64_t stride = std::max<std::int64_t>(1, k.stride),
                           count = (k.maximum - k.minimum) / stride + 1;
        config.knobs.emplace_back(k.type, k.minimum + rest % count * stride);
        rest /= count;
      }
      add_unique(list, std::move(config));
    }
  }
}

bool has_knobs(const Engine& engine, std::span<const std::int64_t> types) {
  return std::equal(engine.knobs.begin(), engine.knobs.end(), types.begin(), types.end(),
                    [](const KnobRange& k, std::int64_t type) { return k.type == type; });
}

void add_seeds(std::vector<EngineConfig>& list, std::span<const Engine> engines) {
  for (const Engine& engine : engines) {
    if (engine.traits.exact || engine.traits.runtime_compiled) continue;
    for (const Seeds& s : seeds()) {
      if (!has_knobs(engine, s.knobs)) continue;
      for (const auto& setting : s.settings) {
        EngineConfig config{.engine = engine.id, .knobs = {}};
        for (std::size_t i = 0; i < setting.size(); ++i) config.knobs.emplace_back(s.knobs[i], setting[i]);
        add_unique(list, std::move(config));
      }
    }
  }
}

std::optional<std::size_t> knob_index(const EngineConfig& config, std::int64_t type) {
  for (std::size_t i = 0; i < config.knobs.size(); ++i)
    if (config.knobs[i].first == type) return i;
  return std::nullopt;
}

/// All configurations that differ from `config` in one knob, or in the shape of the cluster.
void add_neighbours(std::vector<EngineConfig>& list, const EngineConfig& config, const Engine& engine) {
  constexpr std::int64_t kCluster = 16, kFew = 32;
  const auto m = knob_index(config, CUDNN_KNOB_TYPE_TILE_CGA_M),
             n = knob_index(config, CUDNN_KNOB_TYPE_TILE_CGA_N);
  if (m && n)
    for (std::int64_t i = 1; i <= kCluster; ++i)
      for (std::int64_t j = 1; i * j <= kCluster; ++j) {
        EngineConfig other = config;
        other.knobs[*m].second = i;
        other.knobs[*n].second = j;
        add_unique(list, std::move(other));
      }
  for (const KnobRange& range : engine.knobs) {
    const auto at = knob_index(config, range.type);
    if (!at || (m && n && (*at == *m || *at == *n))) continue;
    const bool few = range.maximum - range.minimum < kFew;
    const std::int64_t stride = std::max<std::int64_t>(1, range.stride);
    for (std::int64_t v = range.minimum; v <= range.maximum; v = few ? v + stride : std::max(v + 1, v * 2)) {
      EngineConfig other = config;
      other.knobs[*at].second = v;
      add_unique(list, std::move(other));
    }
  }
}

EngineConfig compiled_config(std::int64_t engine, std::int64_t kernel) {
  return {.engine = engine, .knobs = {{CUDNN_KNOB_TYPE_KERNEL_CFG, kernel}}};
}

/// Graph and engines of one form, made when asked for.
class Form {
 public:
  Form(const Problem& problem, char form, const CudnnTarget& target) {
    lowered_ = lower_conv(problem, form);
    if (lowered_ && !lowered_->graph.finalize(target)) lowered_.reset();
    if (lowered_) notes_.emplace(lowered_->graph, target);
  }
  Form(const Form&) = delete;
  Form& operator=(const Form&) = delete;
  explicit operator bool() const { return lowered_.has_value(); }
  const OpGraph& graph() const { return lowered_->graph; }
  std::size_t posts() const { return lowered_->posts; }
  const std::optional<Engine>& engine(std::int64_t id) { return (*notes_)[id]; }

 private:
  std::optional<ConvGraph> lowered_;
  std::optional<EngineNotes> notes_;
};

/// The form whose epilogues are free is worth a look where the canonical one leaves something to be done.
bool wants_free_form(const Problem& problem, const Form& free, std::size_t canonical_posts) {
  return !is_strict(problem) && free && free.posts() > canonical_posts;
}

}  // namespace

std::optional<EngineConfig> first_config(const Problem& problem, const OpGraph& graph,
                                         const CudnnTarget& target) {
  EngineNotes notes(graph, target);
  const bool strict = is_strict(problem);
  std::optional<EngineConfig> second;  // takes too much memory, or does f16 or tf32 without tensor cores
  for (const EngineConfig& config : heuristic_list(graph, target)) {
    const auto& engine = notes[config.engine];
    if (!engine || !acceptable(engine->traits, strict)) continue;
    const bool slow = !strict && engine->traits.exact;
    if (slow && second) continue;
    const auto workspace = try_plan(graph, target, config);
    if (!workspace || *workspace > kWorkspaceCap) continue;
    if (*workspace <= kModestWorkspace && !slow) return config;
    if (!second) second = config;
  }
  return second;
}

std::optional<ConvChoice> rule_choice(const Problem& problem, const CudnnTarget& target,
                                      std::string_view forms) {
  for (const char form : forms) {
    auto lowered = lower_conv(problem, form);
    if (!lowered || !lowered->graph.finalize(target)) continue;
    if (auto config = first_config(problem, lowered->graph, target))
      return ConvChoice{form, cudnn().cudnnGetVersion(), std::move(*config)};
  }
  return std::nullopt;
}

std::vector<ConvChoice> conv_choices(const Problem& problem, const CudnnTarget& target) {
  const bool strict = is_strict(problem);
  const std::size_t version = cudnn().cudnnGetVersion();
  std::vector<ConvChoice> result, compiled;
  std::size_t canonical_posts = 0;
  for (const char name : {'c', 'n', 'g'}) {
    if (name == 'n' && !result.empty()) continue;  // the canonical form is never worse
    Form form(problem, name, target);
    if (!form) continue;
    if (name == 'c') canonical_posts = form.posts();
    if (name == 'g' && !wants_free_form(problem, form, canonical_posts)) continue;
    std::vector<EngineConfig> configs = heuristic_list(form.graph(), target);
    if (name == 'g') {
      std::vector<EngineConfig> first;
      for (const CompiledSeeds& s : compiled_seeds())
        add_unique(first, compiled_config(s.engine, s.kernels.front()));
      configs.insert(
          configs.begin() + std::min<std::ptrdiff_t>(1, static_cast<std::ptrdiff_t>(configs.size())),
          first.begin(), first.end());
    } else if (!strict) {
      const std::vector<Engine> all = engines(form.graph(), target);
      add_seeds(configs, all);
      add_small_engines(configs, all);
    }
    for (EngineConfig& config : configs) {
      const auto& engine = form.engine(config.engine);
      if (!engine || !acceptable(engine->traits, strict)) continue;
      if (engine->traits.runtime_compiled) {
        if (name == 'g' && !engine->traits.exact && compiled.size() < kFirstCompiled)
          compiled.push_back({name, version, std::move(config)});
        continue;
      }
      // Exact engines are slow: f16, bf16 and tf32 take them only where nothing else is left.
      if (!strict && engine->traits.exact && !result.empty()) continue;
      result.push_back({name, version, std::move(config)});
    }
  }
  result.insert(result.end(), compiled.begin(), compiled.end());  // what is slow to make comes last
  return result;
}

std::vector<ConvChoice> refined_choices(const Problem& problem, const CudnnTarget& target,
                                        std::span<const TriedChoice> tried, bool full) {
  const bool strict = is_strict(problem);
  const std::size_t version = cudnn().cudnnGetVersion();
  std::vector<ConvChoice> result;
  if (strict || tried.empty() || !std::isfinite(tried.front().us)) return result;
  const double best_us = tried.front().us;
  std::map<char, Form> forms;
  const auto form_of = [&](char name) -> Form& {
    return forms.try_emplace(name, problem, name, target).first->second;
  };
  const auto add_all = [&](char name, std::vector<EngineConfig>& configs) {
    for (EngineConfig& config : configs) result.push_back({name, version, std::move(config)});
  };
  // The best of each engine that is near the best of all, and the second best of all.
  std::map<std::pair<char, std::int64_t>, std::size_t> taken;
  std::size_t taken_in_all = 0;
  for (const TriedChoice& t : tried) {
    if (!(t.us <= (full ? 4 : 1.2) * best_us)) break;
    const auto choice = parse_conv_choice(t.choice);
    if (!choice || choice->version != version) continue;
    Form& form = form_of(choice->form);
    if (!form) continue;
    const auto& engine = form.engine(choice->config.engine);
    if (!engine) continue;
    std::size_t& of_engine = taken[{choice->form, engine->id}];
    if (of_engine >= (full ? 3u : taken_in_all < 2 ? 2u : 1u)) continue;
    ++of_engine;
    ++taken_in_all;
    std::vector<EngineConfig> configs;
    if (!engine->traits.runtime_compiled) {
      add_neighbours(configs, choice->config, *engine);
    } else if (choice->form == 'g') {
      for (const CompiledSeeds& s : compiled_seeds())
        for (std::int64_t kernel : s.kernels)
          if (s.engine == engine->id) configs.push_back(compiled_config(s.engine, kernel));
    }
    add_all(choice->form, configs);
  }
  if (full) {  // every kernel of every engine that compiles at run time
    if (Form& form = form_of('g'))
      for (const Engine& engine : engines(form.graph(), target))
        for (const KnobRange& range : engine.knobs) {
          if (range.type != CUDNN_KNOB_TYPE_KERNEL_CFG || !engine.traits.runtime_compiled ||
              engine.traits.exact || !acceptable(engine.traits, strict))
            continue;
          std::vector<EngineConfig> configs;
          for (std::int64_t k = range.minimum; k <= range.maximum; ++k)
            configs.push_back(compiled_config(engine.id, k));
          add_all('g', configs);
        }
  }
  return result;
}

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
