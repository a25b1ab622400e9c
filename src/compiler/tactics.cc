// The choice of a tactic for one problem: by rule, or by timing.
#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>

#include "compiler/draft.h"

namespace headrace::compiler {
namespace {

bool is_empty(const TensorDesc& desc) {
  return std::find(desc.shape.begin(), desc.shape.end(), 0) != desc.shape.end();
}

/// True when the descriptions are what the operator makes of its inputs: only then can the problem be run.
/// (Extents that depend on input values are guessed and may contradict each other.)
bool is_consistent(const Problem& problem) {
  try {
    std::vector<ValueType> types;
    for (const TensorDesc& d : problem.srcs) types.push_back({d.dtype, to_dims(d.shape)});
    ShapeProgram scratch;
    const std::vector<ValueType> results = infer_types(problem.op, types, scratch);
    if (results.size() != problem.dsts.size()) return false;
    for (std::size_t i = 0; i < results.size(); ++i)
      if (results[i].shape != to_dims(problem.dsts[i].shape)) return false;
    return std::none_of(problem.srcs.begin(), problem.srcs.end(), is_empty) &&
           std::none_of(problem.dsts.begin(), problem.dsts.end(), is_empty);
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

Problem make_problem(const Op& op, std::vector<TensorDesc> srcs, std::vector<TensorDesc> dsts,
                     const Draft& draft) {
  return {.op = resolve(op, draft.values),
          .srcs = std::move(srcs),
          .dsts = std::move(dsts),
          .threads = draft.threads};
}

std::optional<std::string> refusal(const Tactic& tactic, const Problem& problem) {
  try {
    if (auto r = tactic.refuses(problem)) return r->reason;
  } catch (const Error& e) {
    return e.message();
  }
  return std::nullopt;
}

const Tactic* first_accepting(const Draft& draft, const Problem& problem, bool backend_only) {
  for (const Backend* backend : {draft.backend, backend_only ? nullptr : draft.reference}) {
    if (!backend) continue;
    for (const auto& tactic : backend->tactics)
      if (!refusal(*tactic, problem)) return tactic.get();
  }
  return nullptr;
}

void choose_tactic(Draft& draft, DraftStep& step, const Problem& problem,
                   std::span<const Constant> constants) {
  std::vector<const Tactic*> tactics;
  step.refused.clear();
  step.tried.clear();
  for (const Backend* backend : {draft.backend, draft.reference}) {
    if (!backend || !tactics.empty()) continue;  // the reference only where the backend has nothing
    for (const auto& tactic : backend->tactics) {
      const auto why = refusal(*tactic, problem);
      if (!why)
        tactics.push_back(tactic.get());
      else if (!why->starts_with("not a ") && !why->starts_with("another operator"))
        // Tactics of other operators have nothing to say about this one.
        step.refused.push_back({std::string(tactic->id()), *why});
    }
  }
  if (draft.tuner && !tactics.empty() && is_consistent(problem)) {
    const tuner::Verdict verdict = draft.tuner->choose(problem, tactics, constants);
    for (const tuner::Trial& t : verdict.trials)
      step.tried.push_back({std::string(t.tactic->id()), t.choice, t.us});
    for (const auto& [tactic, why] : verdict.failed) step.refused.push_back({std::string(tactic->id()), why});
    step.tactic = verdict.tactic;
    step.choice = verdict.choice;
    if (step.tactic) return;
  } else {
    for (const Tactic* tactic : tactics) {
      try {
        step.choice = tactic->by_rule(problem);
        step.tactic = tactic;
        return;
      } catch (const Error& e) {  // not this one, then
        step.refused.push_back({std::string(tactic->id()), e.message()});
      }
    }
  }
  std::string reasons;
  for (const RefusalRecord& r : step.refused) reasons += fmt::format("\n  {}: {}", r.tactic, r.reason);
  throw Error(ErrorCode::unsupported,
              fmt::format("no kernel can do {}{}:{}", tuner::problem_text(problem, constants),
                          step.origins.empty() ? "" : " (" + step.origins.front() + ")", reasons));
}

double fastest_us(Draft& draft, const Problem& problem, std::span<const Constant> constants) {
  DraftStep step{.op = problem.op, .inputs = {}, .outputs = {}, .origins = {}, .refused = {}, .tried = {}};
  try {
    choose_tactic(draft, step, problem, constants);
    if (step.tried.empty()) return draft.tuner->time(problem, *step.tactic, step.choice, constants);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::cancelled || e.code() == ErrorCode::device) throw;
    return INFINITY;
  }
  double best = INFINITY;
  for (const TimingRecord& record : step.tried) best = std::min(best, record.us);
  return best;
}

void choose_tactics(Draft& draft, std::span<const Undecided> undecided) {
  if (draft.tuner) {
    std::vector<tuner::Announced> announced;
    for (const Undecided& u : undecided) {
      if (!is_consistent(u.problem)) continue;
      std::vector<const Tactic*> tactics;
      for (const auto& tactic : draft.backend->tactics)
        if (!refusal(*tactic, u.problem)) tactics.push_back(tactic.get());
      std::string text = tuner::problem_text(u.problem, u.constants);
      announced.push_back({u.problem, std::move(tactics), std::move(text)});
    }
    draft.tuner->announce(std::move(announced));
  }
  std::size_t done = 0;
  for (const Undecided& u : undecided) {
    choose_tactic(draft, draft.steps[u.step], u.problem, u.constants);
    draft.chosen = static_cast<double>(++done) / static_cast<double>(undecided.size());
    if (draft.progress) draft.progress("tactics", draft.chosen);
  }
}

Problem problem_of(const Draft& draft, const DraftStep& step, const Placement& placement) {
  std::vector<TensorDesc> srcs, dsts;
  for (std::int32_t t : step.inputs) srcs.push_back(placement.descs[static_cast<std::size_t>(t)]);
  for (std::int32_t t : step.outputs) dsts.push_back(placement.descs[static_cast<std::size_t>(t)]);
  return make_problem(step.op, std::move(srcs), std::move(dsts), draft);
}

Placement place(const Draft& draft) { return place_tensors(draft.plan, draft.values); }

}  // namespace headrace::compiler
