// From symbol values to kernels: what Context::prepare does for a new shape key.
#include <algorithm>
#include <atomic>
#include <map>
#include <new>
#include <stdexcept>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/cpu.h"
#include "base/log.h"
#include "base/sched.h"
#include "plan/profiles.h"
#include "runtime/engine_state.h"

namespace headrace::runtime {
namespace {

constexpr int kMakeThreads = 8;

bool is_packed(const TensorDesc& desc) { return desc.layout == Layout::packed; }
bool is_empty(const TensorDesc& desc) {
  return std::find(desc.shape.begin(), desc.shape.end(), 0) != desc.shape.end();
}

/// Exact, unlike the text forms: everything a kernel may depend on.
std::string kernel_key(const Tactic& tactic, const std::string& choice, const Problem& problem) {
  std::string key(tactic.id());
  const auto text = [&](std::string_view s) { key.append(s).push_back('\0'); };
  const auto bytes = [&](const auto& v) {
    const std::uint64_t n = v.size();
    key.append(reinterpret_cast<const char*>(&n), sizeof n);
    key.append(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(v[0]));
  };
  key.push_back('\0');
  text(choice);
  text(std::to_string(problem.threads));
  const OpRecord record = to_record(problem.op);
  text(record.id);
  bytes(record.ints);
  bytes(record.reals);
  for (const std::string& s : record.strings) bytes(s);
  for (const auto* descs : {&problem.srcs, &problem.dsts}) {
    key.push_back('|');
    for (const TensorDesc& d : *descs) {
      key.push_back(static_cast<char>(d.dtype));
      key.push_back(static_cast<char>(d.layout));
      text(d.format);
      bytes(d.shape);
      bytes(d.strides);
    }
  }
  return key;
}

/// Tries tactics in the order: the plan's, the backend's, the reference's.
class StepResolver {
 public:
  StepResolver(const Engine::State& engine, std::size_t profile, const Placement& placement,
               std::span<const std::int64_t> values, int threads)
      : engine_(engine), profile_(profile), placement_(placement), values_(values), threads_(threads) {}

  /// Makes the kernels that run() will ask for by several threads: on a GPU each may have to be read, loaded,
  /// even compiled, one library started beside the other. What goes wrong is left for run() to meet.
  void make_ahead() {
    Device& device = *engine_.device;
    const int threads = std::min(kMakeThreads, usable_cores());
    if (device.unified_memory() || threads < 2) return;
    std::map<std::string, std::pair<std::size_t, Problem>> wanted;
    for (std::size_t s = 0; s < engine_.plan->steps.size(); ++s) {
      Problem problem;
      try {
        problem = make_problem(engine_, s, way_of(engine_.plan->steps[s], profile_).inputs, placement_,
                               values_, threads_);
      } catch (const Error&) {
        return;
      }
      if (std::all_of(problem.dsts.begin(), problem.dsts.end(), is_empty)) continue;
      std::string key = kernel_key(*engine_.tactics[profile_][s], choice_of(s), problem);
      wanted.try_emplace(std::move(key), s, std::move(problem));
    }
    std::atomic<std::size_t> next{0};
    std::vector<decltype(wanted)::const_iterator> jobs;
    for (auto it = wanted.cbegin(); it != wanted.cend(); ++it) jobs.push_back(it);
    const auto work = [&] {
      const std::shared_ptr<void> inside = device.enter();
      for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < jobs.size();) {
        const auto& [key, job] = *jobs[i];
        const Tactic& tactic = *engine_.tactics[profile_][job.first];
        try {
          if (!tactic.refuses(job.second))
            engine_.kernels.get(key, [&] { return tactic.make(job.second, choice_of(job.first)); });
        } catch (const std::exception&) {  // run() will say so, with the step's name
        }
      }
    };
    std::vector<sched::Thread> workers;
    for (int t = 1; t < threads && static_cast<std::size_t>(t) < jobs.size(); ++t)
      workers.emplace_back("kernels", work);
    work();
    for (sched::Thread& worker : workers) worker.join();
  }

  ResolvedStep run(std::size_t index) {
    const PlanStep& step = engine_.plan->steps[index];
    const StepWay way = way_of(step, profile_);
    const Problem problem = make_problem(engine_, index, way.inputs, placement_, values_, threads_);
    check_overlaps(step);
    if (std::all_of(problem.dsts.begin(), problem.dsts.end(), is_empty)) return {};
    std::string reasons;
    const auto attempt = [&](const Tactic& tactic,
                             const std::string& choice) -> std::shared_ptr<const Kernel> {
      if (const auto why = refuses(tactic, choice, way.inputs, step.outputs, problem)) {
        reasons += fmt::format("\n  {}: {}", tactic.id(), *why);
        return nullptr;
      }
      return engine_.kernels.get(kernel_key(tactic, choice, problem),
                                 [&] { return tactic.make(problem, choice); });
    };
    const Tactic* named = engine_.tactics[profile_][index];
    if (auto kernel = attempt(*named, way.choice)) return result(std::move(kernel), *named, problem);
    for (const Backend* backend : {engine_.backend, engine_.reference}) {
      if (!backend) continue;
      for (const auto& tactic : backend->tactics) {
        if (tactic.get() == named || tactic->refuses(problem)) continue;
        if (auto kernel = attempt(*tactic, tactic->by_rule(problem))) {
          engine_.stats.fallbacks.fetch_add(1, std::memory_order_relaxed);
          log(LogSeverity::info, "step ", index, " (", step.op.id, ") runs with ", tactic->id(),
              " instead of ", way.tactic);
          return result(std::move(kernel), *tactic, problem);
        }
      }
    }
    const bool packed = std::any_of(problem.srcs.begin(), problem.srcs.end(), is_packed);
    throw Error(
        ErrorCode::invalid_plan,
        packed ? fmt::format("the plan's weights were packed for '{}' by {}; this machine ('{}') cannot use "
                             "them; build the plan again here:{}",
                             engine_.plan->device_model, way.tactic, engine_.device->model(), reasons)
               : fmt::format("no tactic can do this step:{}", reasons));
  }

 private:
  const std::string& choice_of(std::size_t step) const {
    return way_of(engine_.plan->steps[step], profile_).choice;
  }

  ResolvedStep result(std::shared_ptr<const Kernel> kernel, const Tactic& tactic,
                      const Problem& problem) const {
    ResolvedStep step{std::move(kernel), &tactic, std::nullopt};
    if (engine_.reference && !tactic.keeps_nan(problem)) step.problem = problem;
    return step;
  }

  static std::optional<std::string> no(std::string why) { return why; }

  std::optional<std::string> refuses(const Tactic& tactic, const std::string& choice,
                                     std::span<const std::int32_t> inputs,
                                     std::span<const std::int32_t> outputs, const Problem& problem) const {
    if (const auto refusal = tactic.refuses(problem)) return refusal->reason;
    for (std::size_t s = 0; s < problem.srcs.size(); ++s)
      if (is_packed(problem.srcs[s])) {
        const auto& weight = engine_.plan->tensors[static_cast<std::size_t>(inputs[s])];
        const std::size_t needed = tactic.packed_bytes(problem, choice, s);
        if (needed > weight.weight_bytes)
          return no(fmt::format("packed weights of {} bytes are too small", weight.weight_bytes));
      }
    for (std::size_t d = 0; d < outputs.size(); ++d)
      for (std::size_t s = 0; s < inputs.size(); ++s)
        if (overlap(placement_, outputs[d], inputs[s]) && !tactic.in_place(problem, s, d))
          return no("it does not work in place");
    return std::nullopt;
  }

  /// Kernels may assume that operands are apart, or one and the same.
  void check_overlaps(const PlanStep& step) const {
    for (std::size_t d = 0; d < step.outputs.size(); ++d) {
      const std::int32_t dst = step.outputs[d];
      const auto i = static_cast<std::size_t>(dst);
      for (std::size_t e = 0; e < d; ++e)
        if (overlap(placement_, dst, step.outputs[e]))
          throw Error(ErrorCode::invalid_plan, "two outputs of the step share memory");
      for (std::int32_t src : step.inputs) {
        const auto j = static_cast<std::size_t>(src);
        if (overlap(placement_, dst, src) &&
            (placement_.offsets[i] != placement_.offsets[j] || placement_.descs[i] != placement_.descs[j]))
          throw Error(ErrorCode::invalid_plan, "an input and an output of the step overlap");
      }
    }
  }

  const Engine::State& engine_;
  std::size_t profile_;
  const Placement& placement_;
  std::span<const std::int64_t> values_;
  int threads_;
};

void place_arena(const Engine::State& engine, ResolvedPlan& resolved) {
  const Plan& plan = *engine.plan;
  const std::vector<Life> lives = root_lives(plan, resolved.placement);
  std::vector<MemoryRequest> requests;
  std::vector<std::size_t> owners;
  for (std::size_t t = 0; t < plan.tensors.size(); ++t) {
    if (plan.tensors[t].role != TensorRole::activation || plan.tensors[t].view != ViewKind::none) continue;
    if (lives[t].first < 0) continue;
    owners.push_back(t);
    requests.push_back({resolved.placement.span_bytes[t], lives[t].first, lives[t].last});
  }
  const MemoryPlan memory = plan_memory(requests);
  resolved.arena_offsets.assign(plan.tensors.size(), 0);
  for (std::size_t i = 0; i < owners.size(); ++i) resolved.arena_offsets[owners[i]] = memory.offsets[i];
  resolved.arena_bytes = memory.arena_bytes;
}

void check_budget(const Engine::State& engine, const ResolvedPlan& resolved) {
  std::uint64_t total = engine.plan->weights.size();
  for (std::uint64_t part : {resolved.arena_bytes, resolved.workspace_bytes})
    if (__builtin_add_overflow(total, part, &total)) total = UINT64_MAX;
  if (total > engine.memory_budget_bytes)
    throw Error(
        ErrorCode::out_of_memory,
        fmt::format("these shapes need {} bytes (weights {}, activations {}, workspace {}), but the memory "
                    "budget is {} bytes; raise the budget or use smaller shapes",
                    total, engine.plan->weights.size(), resolved.arena_bytes, resolved.workspace_bytes,
                    engine.memory_budget_bytes));
}

}  // namespace

Problem make_problem(const Engine::State& engine, std::size_t index, std::span<const std::int32_t> inputs,
                     const Placement& placement, std::span<const std::int64_t> values, int threads) {
  const PlanStep& step = engine.plan->steps[index];
  Problem problem{.op = resolve(engine.ops[index], values), .srcs = {}, .dsts = {}, .threads = threads};
  std::vector<ValueType> types;
  for (std::int32_t t : inputs) {
    problem.srcs.push_back(placement.descs[static_cast<std::size_t>(t)]);
    types.push_back({problem.srcs.back().dtype, to_dims(problem.srcs.back().shape)});
  }
  for (std::int32_t t : step.outputs) problem.dsts.push_back(placement.descs[static_cast<std::size_t>(t)]);
  ShapeProgram scratch;
  const std::vector<ValueType> results = infer_types(problem.op, types, scratch);
  // Trailing outputs that nobody reads (a pool's indices, a norm's statistics) are left out of a step.
  if (problem.dsts.empty() || problem.dsts.size() > results.size())
    throw Error(ErrorCode::invalid_plan, fmt::format("the operator has {} outputs, but the step names {}",
                                                     results.size(), problem.dsts.size()));
  for (std::size_t i = 0; i < problem.dsts.size(); ++i)
    if (results[i].dtype != problem.dsts[i].dtype || results[i].shape != to_dims(problem.dsts[i].shape))
      throw Error(
          ErrorCode::invalid_plan,
          fmt::format("output {} should be {}[{}], but the plan has {}", i, to_string(results[i].dtype),
                      scratch.to_string(results[i].shape), to_string(problem.dsts[i])));
  return problem;
}

ResolvedPlan resolve_plan(const Engine::State& engine, std::size_t profile,
                          std::span<const std::int64_t> symbol_values, int threads) {
  const Plan& plan = *engine.plan;
  // Where extents come from the caller, a contradiction is the caller's; where all are fixed, it is the
  // plan's.
  const ErrorCode blame =
      plan.shapes.symbols().empty() ? ErrorCode::invalid_plan : ErrorCode::invalid_argument;
  ResolvedPlan resolved;
  try {
    const std::vector<std::int64_t> values = plan.shapes.evaluate(symbol_values);
    resolved.placement = place_tensors(plan, values);
    place_arena(engine, resolved);
    check_budget(engine, resolved);
    StepResolver resolver(engine, profile, resolved.placement, values, threads);
    resolver.make_ahead();
    for (std::size_t s = 0; s < plan.steps.size(); ++s) {
      try {
        resolved.steps.push_back(resolver.run(s));
      } catch (Error& e) {
        const auto& origins = plan.steps[s].origins;
        throw e.add_context(fmt::format("in step {} ({}{})", s, plan.steps[s].op.id,
                                        origins.empty() ? "" : ", " + origins.front()));
      }
      if (const auto& kernel = resolved.steps.back().kernel)
        resolved.workspace_bytes =
            std::max<std::uint64_t>(resolved.workspace_bytes, kernel->workspace_bytes());
    }
    check_budget(engine, resolved);
  } catch (const Error& e) {
    if (e.code() != ErrorCode::invalid_model) throw;
    Error translated(blame,
                     e.message());  // what infer_types says about a model is here about shapes or a plan
    for (const std::string& frame : e.context()) translated.add_context(frame);
    throw translated;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, "there is not enough memory to prepare these shapes");
  } catch (const std::length_error&) {
    throw Error(ErrorCode::out_of_memory, "there is not enough memory to prepare these shapes");
  }
  return resolved;
}

}  // namespace headrace::runtime
