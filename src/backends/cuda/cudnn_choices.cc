// Which of cuDNN's engines are worth trying for a convolution, in which order.
#ifdef HEADRACE_CUDNN
#include <algorithm>
#include <map>

#include "backends/cuda/cudnn_conv.h"

namespace headrace::cuda {
namespace {

constexpr std::size_t kWorkspaceCap = std::size_t{256} << 20;    ///< never more
constexpr std::size_t kModestWorkspace = std::size_t{32} << 20;  ///< the rule's choice takes less if it can
constexpr std::size_t kMaxChoices = 72;
constexpr std::size_t kMaxCompiled = 3;  ///< configurations that cost seconds of compilation each

bool acceptable(const EngineTraits& traits, DType dtype) {
  return traits.deterministic && !traits.reduced_sums && (dtype != DType::f32 || traits.exact);
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
void add_small_engines(std::vector<EngineConfig>& list, const OpGraph& graph, const CudnnTarget& target) {
  for (const Engine& engine : engines(graph, target)) {
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

/// The tiles that the heuristics like best, on other clusters of thread blocks.
void add_clusters(std::vector<EngineConfig>& list) {
  constexpr std::pair<std::int64_t, std::int64_t> kClusters[] = {{1, 1}, {2, 1}, {1, 2}, {4, 1}, {2, 2}};
  std::vector<EngineConfig> tiles;
  for (const EngineConfig& config : list) {
    EngineConfig tile = config;
    int cluster_knobs = 0;
    for (auto& [type, value] : tile.knobs)
      if (type == CUDNN_KNOB_TYPE_TILE_CGA_M || type == CUDNN_KNOB_TYPE_TILE_CGA_N) {
        value = 0;
        ++cluster_knobs;
      }
    if (cluster_knobs == 2) add_unique(tiles, std::move(tile));
    if (tiles.size() == 5) break;
  }
  for (const EngineConfig& tile : tiles)
    for (const auto& [m, n] : kClusters) {
      EngineConfig config = tile;
      for (auto& [type, value] : config.knobs) {
        if (type == CUDNN_KNOB_TYPE_TILE_CGA_M) value = m;
        if (type == CUDNN_KNOB_TYPE_TILE_CGA_N) value = n;
      }
      add_unique(list, std::move(config));
    }
}

}  // namespace

std::optional<EngineConfig> first_config(const Problem& problem, const OpGraph& graph,
                                         const CudnnTarget& target) {
  EngineNotes notes(graph, target);
  for (const EngineConfig& config : heuristic_list(graph, target)) {
    const auto& engine = notes[config.engine];
    if (!engine || !acceptable(engine->traits, problem.srcs[0].dtype)) continue;
    const auto workspace = try_plan(graph, target, config);
    if (workspace && *workspace <= kWorkspaceCap) return config;
  }
  return std::nullopt;
}

std::vector<ConvChoice> conv_choices(const Problem& problem, const CudnnTarget& target) {
  const DType dtype = problem.srcs[0].dtype;
  const std::size_t version = cudnn().cudnnGetVersion();
  const auto canonical = lower_conv(problem, 'c');
  const std::size_t canonical_posts = canonical ? canonical->posts : 0;
  std::vector<ConvChoice> precompiled, large, compiled;
  for (const char form : {'c', 'n', 'g'}) {
    if (form == 'n' && !precompiled.empty()) continue;  // the canonical form is never worse
    auto lowered = lower_conv(problem, form);
    if (!lowered) continue;
    if (form == 'g' && (dtype == DType::f32 || lowered->posts == canonical_posts)) continue;
    if (!lowered->graph.finalize(target)) continue;
    std::vector<EngineConfig> configs = heuristic_list(lowered->graph, target);
    if (form != 'g' && dtype != DType::f32) {
      add_clusters(configs);
      add_small_engines(configs, lowered->graph, target);
    }
    EngineNotes notes(lowered->graph, target);
    for (EngineConfig& config : configs) {
      const auto& engine = notes[config.engine];
      if (!engine || !acceptable(engine->traits, dtype)) continue;
      if (engine->traits.runtime_compiled) {
        // Building one takes seconds, so it is not tried here.
        if (form == 'g' && !engine->traits.exact && compiled.size() < kMaxCompiled)
          compiled.push_back({form, version, std::move(config)});
        continue;
      }
      // Exact engines are slow: f16 takes them only where nothing else is left.
      if (dtype != DType::f32 && engine->traits.exact && !precompiled.empty()) continue;
      const auto workspace = try_plan(lowered->graph, target, config);
      if (!workspace || *workspace > kWorkspaceCap) continue;
      auto& list = *workspace > kModestWorkspace ? large : precompiled;
      list.push_back({form, version, std::move(config)});
    }
  }
  for (auto* list : {&large, &compiled})
    precompiled.insert(precompiled.end(), std::make_move_iterator(list->begin()),
                       std::make_move_iterator(list->end()));
  if (precompiled.size() > kMaxChoices)
    precompiled.erase(precompiled.begin() + (kMaxChoices - kMaxCompiled), precompiled.end() - kMaxCompiled);
  return precompiled;
}

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
