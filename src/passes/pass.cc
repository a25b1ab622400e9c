#include "passes/pass.h"

#include <algorithm>
#include <string>

#include <headrace/error.h>

namespace headrace::passes {

#define PASS(name) bool name(Graph& graph, const PassContext& context);
#include "passes/passes.inc"
#undef PASS

namespace {

constexpr Pass kPasses[] = {
#define PASS(name) {#name, name},
#include "passes/passes.inc"
#undef PASS
};
constexpr int kMaxRounds = 12;

bool run_one(const Pass& pass, Graph& graph, const PassContext& context) {
  try {
    const bool changed = pass.run(graph, context);
    if (context.verify_each) verify(graph);
    return changed;
  } catch (Error& e) {
    throw e.add_context("in pass '" + std::string(pass.name) + "' (--disable-pass " + std::string(pass.name) +
                        " skips it)");
  }
}

}  // namespace

std::span<const Pass> all_passes() { return kPasses; }

void run_passes(Graph& graph, const PassContext& context) {
  for (const std::string& name : context.disabled)
    if (std::none_of(std::begin(kPasses), std::end(kPasses), [&](const Pass& p) { return p.name == name; }))
      throw Error(ErrorCode::invalid_argument,
                  "there is no pass '" + name + "' to disable; see docs/architecture.md for the list");
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = false;
    for (const Pass& pass : kPasses)
      if (std::find(context.disabled.begin(), context.disabled.end(), pass.name) == context.disabled.end())
        changed |= run_one(pass, graph, context);
    if (!changed) return;
  }
}

bool run_pass(std::string_view name, Graph& graph, const PassContext& context) {
  for (const Pass& pass : kPasses)
    if (pass.name == name) return run_one(pass, graph, context);
  throw Error(ErrorCode::invalid_argument, "there is no pass '" + std::string(name) + "'");
}

}  // namespace headrace::passes
