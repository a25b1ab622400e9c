// A plan in the making: the Plan's own tensors and steps, with what only the build knows about them.
//
// Stages, in order: select.cc (steps, layouts, tactics), views.cc (memory shared), profile_choices.cc
// (tactics of further profiles), weights.cc (packing, blob). Each leaves a draft that would already be a
// sound plan.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "compiler/compiler.h"
#include "graph/graph.h"
#include "plan/placement.h"
#include "plan/plan.h"
#include "tuner/tuner.h"

namespace headrace::compiler {

struct DraftStep {
  Op op;  ///< symbolic
  const Tactic* tactic = nullptr;
  Choice choice;
  std::vector<std::int32_t> inputs, outputs;
  std::vector<std::string> origins;
  std::vector<RefusalRecord> refused;
  std::vector<TimingRecord> tried;
  /// How the profiles 1, 2, ... do it: the same operator and outputs, inputs that differ in packing only.
  std::vector<DraftStep> variants;
};

struct Draft {
  const Registry* registry = nullptr;
  const Backend* backend = nullptr;
  const Backend* reference = nullptr;  ///< null when the backend is the reference itself
  DeviceRef device;
  int threads = 1, opt_level = 1;
  tuner::Tuner* tuner = nullptr;                           ///< null: by rule
  std::function<void(std::string_view, double)> progress;  ///< throws Error(cancelled)
  double chosen = 0;                                       ///< share of the steps that have a tactic

  Plan plan;  ///< steps stay empty until weights.cc
  std::vector<DraftStep> steps;
  std::vector<Constant> constants;            ///< by tensor: data of weights, in the tensor's layout
  std::vector<std::int64_t> symbols, values;  ///< of the shape program, at the first profile's opt
  /// Symbols of other shape keys that the profiles allow: what holds at opt may hold there alone (a batch of
  /// 1).
  std::vector<std::vector<std::int64_t>> probes;
  std::vector<std::vector<std::int64_t>> profile_symbols;  ///< at each profile's opt
};

/// While it lives, `draft` stands at a profile's opt: problems and placements are those of its extents.
class AtProfile {
 public:
  AtProfile(Draft& draft, std::size_t profile);
  ~AtProfile();
  AtProfile(const AtProfile&) = delete;
  AtProfile& operator=(const AtProfile&) = delete;

 private:
  Draft& draft_;
  std::vector<std::int64_t> symbols_, values_;
};

/// plan.profiles for the options; Error(invalid_argument) when a profile contradicts the model.
std::vector<Profile> make_profiles(const Graph& graph, const std::vector<std::vector<InputRange>>& profiles);
/// Values of all symbols at opt of a profile. Extents that depend on input values are guessed.
std::vector<std::int64_t> opt_symbols(const Graph& graph, const Profile& profile);
/// Further symbol values within the profile, none of them 1 where the range allows it.
std::vector<std::vector<std::int64_t>> probe_symbols(const Graph& graph, const Profile& profile,
                                                     const std::vector<std::int64_t>& opt);
/// Values of all expressions; all 1 where they cannot be evaluated (only with guessed symbols).
std::vector<std::int64_t> values_of(const ShapeProgram& program, const std::vector<std::int64_t>& symbols);

/// One resolved operator with these descriptions.
Problem make_problem(const Op& op, std::vector<TensorDesc> srcs, std::vector<TensorDesc> dsts,
                     const Draft& draft);
/// Refusal of a tactic; an exception counts as one.
std::optional<std::string> refusal(const Tactic& tactic, const Problem& problem);
/// The first tactic that takes the problem: of the backend, then of the reference unless `backend_only`;
/// null: none.
const Tactic* first_accepting(const Draft& draft, const Problem& problem, bool backend_only = false);
/// Chooses tactic and choice for `step` and fills refused and tried. Error(unsupported) with all reasons.
void choose_tactic(Draft& draft, DraftStep& step, const Problem& problem,
                   std::span<const Constant> constants);
/// Time in us of the fastest way to do the problem, with a tuner; infinity where there is none.
double fastest_us(Draft& draft, const Problem& problem, std::span<const Constant> constants);
/// A step for which tactic and choice are still to be chosen.
struct Undecided {
  std::size_t step = 0;
  Problem problem;
  std::vector<Constant> constants;
};
/// Chooses for all of them, in order; the tuner hears of all beforehand.
void choose_tactics(Draft& draft, std::span<const Undecided> undecided);
/// Problem of a step as the tensors lie now.
Problem problem_of(const Draft& draft, const DraftStep& step, const Placement& placement);
/// Placement of draft.plan.tensors at opt.
Placement place(const Draft& draft);

/// NHWC -> NCHW, of any number of axes from 3 on.
bool is_to_channels_first(const Transpose& transpose);

/// Rewrites operators whose post steps no tactic of the backend takes.
void split_posts(const Draft& draft, Graph& graph);
/// Lets convolutions take in the rounding of their input and the max-pool of their result, where that pays.
void absorb(Draft& draft, Graph& graph);
void select(Draft& draft, const Graph& graph);
void make_views(Draft& draft);
/// Tactics and choices for the profiles after the first, which has decided layouts and views.
void choose_for_profiles(Draft& draft);
/// Packs weights, drops unused tensors, and fills plan.steps and plan.weights.
void finish(Draft& draft);

}  // namespace headrace::compiler
