// Choices of the profiles after the first: the same steps, layouts and views, at other extents.
//
// The first profile's opt has decided what lies where, so a tactic is asked about the tensors as they lie
// now: what it refuses there is no candidate, and what does not work in place where the plan does falls back
// to the first profile's tactic, which does.
#include <algorithm>

#include <headrace/error.h>

#include "compiler/draft.h"

namespace headrace::compiler {
namespace {

bool works_in_place(const DraftStep& step, const Problem& problem, const Placement& placement) {
  for (std::size_t d = 0; d < step.outputs.size(); ++d)
    for (std::size_t s = 0; s < step.inputs.size(); ++s)
      if (overlap(placement, step.outputs[d], step.inputs[s]) && !step.tactic->in_place(problem, s, d))
        return false;
  return true;
}

void choose(Draft& draft, DraftStep& step, const Placement& placement) {
  const DraftStep first = step;
  const Problem problem = problem_of(draft, step, placement);
  std::vector<Constant> constants;
  for (std::int32_t t : step.inputs) constants.push_back(draft.constants[static_cast<std::size_t>(t)]);
  choose_tactic(draft, step, problem, constants);
  if (works_in_place(step, problem, placement)) return;
  step.tactic = first.tactic;
  const std::vector<Choice> choices = first.tactic->candidates(problem);
  step.choice = std::find(choices.begin(), choices.end(), first.choice) != choices.end()
                    ? first.choice
                    : first.tactic->by_rule(problem);
}

}  // namespace

AtProfile::AtProfile(Draft& draft, std::size_t profile)
    : draft_(draft), symbols_(draft.symbols), values_(draft.values) {
  if (profile == 0) return;
  draft.symbols = draft.profile_symbols[profile];
  draft.values = values_of(draft.plan.shapes, draft.symbols);
}

AtProfile::~AtProfile() {
  draft_.symbols = std::move(symbols_);
  draft_.values = std::move(values_);
}

void choose_for_profiles(Draft& draft) {
  const std::size_t profiles = draft.plan.profiles.size();
  if (profiles < 2) return;
  std::size_t done = 0;
  for (DraftStep& step : draft.steps) step.variants.assign(profiles - 1, step);
  for (std::size_t p = 1; p < profiles; ++p) {
    const AtProfile at(draft, p);
    Placement placement;
    try {
      placement = place(draft);
    } catch (const Error&) {
      continue;  // guessed extents that make no sense: as the first profile does it
    }
    for (DraftStep& step : draft.steps) {
      choose(draft, step.variants[p - 1], placement);
      if (draft.progress)
        draft.progress(
            "tactics of further profiles",
            static_cast<double>(++done) / static_cast<double>(draft.steps.size() * (profiles - 1)));
    }
  }
}

}  // namespace headrace::compiler
