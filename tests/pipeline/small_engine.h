// A network small enough for ten thousand runs: y = relu(x) + 1 on [N, 4], with reference kernels, on host
// memory or on a device with memory of its own; and one whose kernel does what the input says.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include <headrace/headrace.h>

#include "api/registry.h"
#include "base/sched.h"
#include "compiler/compiler.h"
#include "device/host_device.h"
#include "graph/graph.h"
#include "runtime/engine.h"
#include "support/gate.h"

namespace headrace::testing {

using test::Gate;

inline PlanFile small_plan(const std::string& device = "reference",
                           const Registry& registry = api::registry()) {
  Graph graph;
  const Dim n = graph.shapes().symbol("N", {SymbolSource::dim, 0, 0});
  const ValueId x = graph.add_input("x", {DType::f32, {n, 4}});
  PwExpr expr;
  const auto loaded = expr.load(0, DType::f32);
  const auto relu = expr.op(PwOp::relu, DType::f32, loaded);
  const auto one = expr.constant(1.0, DType::f32);
  expr.op(PwOp::add, DType::f32, relu, one);
  graph.add_output("y", graph.add1(Pointwise{expr}, {x}));
  compiler::Options options{.device = device};
  options.profiles = {{{"x", {1, 4}, {2, 4}, {8, 4}}}};
  options.opt_level = 0;
  return PlanFile(std::make_shared<const Plan>(compiler::compile(std::move(graph), registry, options)));
}

inline Engine small_engine(bool check_hazards = false) {
  LoadOptions options;
  options.threads = 1;
  options.check_hazards = check_hazards;
  return Engine::load(small_plan(), options);
}

/// Called by kernels of a `moody` engine with the input's first value, before they compute; it may throw,
/// wait, or take (virtual) time.
using Mood = std::function<void(float)>;

class MoodyKernel final : public Kernel {
 public:
  MoodyKernel(std::unique_ptr<Kernel> inner, const Mood* mood) : inner_(std::move(inner)), mood_(mood) {}
  std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
  void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const override {
    if (*mood_) (*mood_)(*reinterpret_cast<const float*>(data[0]));
    inner_->launch(stream, data, workspace);
  }
  std::string_view name() const override { return inner_->name(); }

 private:
  std::unique_ptr<Kernel> inner_;
  const Mood* mood_;
};

class MoodyTactic final : public Tactic {
 public:
  MoodyTactic(std::unique_ptr<Tactic> inner, const Mood* mood) : inner_(std::move(inner)), mood_(mood) {}
  std::string_view id() const override { return inner_->id(); }
  std::optional<Refusal> refuses(const Problem& problem) const override { return inner_->refuses(problem); }
  std::unique_ptr<Kernel> make(const Problem& problem, const Choice& choice) const override {
    return std::make_unique<MoodyKernel>(inner_->make(problem, choice), mood_);
  }

 private:
  std::unique_ptr<Tactic> inner_;
  const Mood* mood_;
};

/// The small engine on a device with memory of its own that records, or on host memory. The registry and the
/// mood live as long as the object, which has to outlive its sessions.
class MoodyEngine {
 public:
  struct Options {
    bool separate_memory = true, recordings = true, check_hazards = false;
    Mood mood{};
  };
  explicit MoodyEngine(Options options) : mood_(std::move(options.mood)) {
    Backend backend = make_reference_backend();
    backend.name = "moody";
    backend.make_device = [options](std::string_view) {
      return make_host_device({.kind = "moody",
                               .model = "",
                               .threads = 1,
                               .recordings = options.recordings,
                               .separate_memory = options.separate_memory});
    };
    for (auto& tactic : backend.tactics)
      if (tactic->id() == "reference.pointwise")
        tactic = std::make_unique<MoodyTactic>(std::move(tactic), &mood_);
    registry_.add(std::move(backend));
    const Mood mood = std::exchange(mood_, nullptr);  // not while it is built and prepared
    engine_ = std::make_unique<Engine>(
        Engine::from(runtime::Engine::create(small_plan("moody", registry_).data(), registry_,
                                             {.threads = 1, .check_hazards = options.check_hazards})));
    mood_ = mood;
  }
  operator const Engine&() const { return *engine_; }
  const Engine& engine() const { return *engine_; }

 private:
  Registry registry_;
  Mood mood_;
  std::unique_ptr<Engine> engine_;
};

inline InputLease fill(InputLease lease, float value) {
  for (float& v : lease["x"].as<float>()) v = value;
  return lease;
}

}  // namespace headrace::testing
