#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sched.h"
#include "plan/run_util.h"
#include "runtime/engine_state.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

runtime::EngineRef make_engine(Plan plan, runtime::EngineOptions options = {}) {
  options.threads = 1;
  return runtime::Engine::create(std::make_shared<const Plan>(std::move(plan)), test::reference_registry(),
                                 options);
}

test::Tensors small_inputs(std::int64_t n, std::uint32_t seed = 1) {
  test::Tensors t;
  t["x"] = test::random_tensor({n, 2, 4, 4}, seed);
  HostTensor i(DType::i64, {3});
  i.set_int(0, 5);
  i.set_int(1, 0);
  i.set_int(2, 47);
  t["i"] = std::move(i);
  return t;
}

template <class F>
std::string message(ErrorCode code, F f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(to_string(e.code()), to_string(code)) << e.what();
    return e.what();
  }
  return "no error";
}

Plan with_profile(std::int64_t min, std::int64_t max) {
  compiler::Options options;
  options.device = "reference";
  options.opt_level = 0;
  options.profiles = {{{"*", {min}, {min}, {max}}}};
  return compiler::compile(test::small_graph(), test::reference_registry(), options);
}

TEST(RuntimeContext, KernelsAreMadeForTheTeamOfTheContext) {
  const auto engine = make_engine(with_profile(0, 4));
  const auto made_by = [&](int threads) {
    const std::uint64_t before = engine->state().kernels.made();
    runtime::Context context(engine, 0, threads);
    static_cast<void>(test::run_context(context, small_inputs(2)));
    return engine->state().kernels.made() - before;
  };
  EXPECT_GT(made_by(1), 0u);
  EXPECT_EQ(made_by(0), 0u) << "0 is the engine's team: 1";
  EXPECT_GT(made_by(2), 0u);
  EXPECT_EQ(made_by(2), 0u);
}

TEST(RuntimeContext, ComputesWhatTheGraphSays) {
  const auto engine = make_engine(with_profile(0, 4));
  runtime::Context context(engine);
  const auto consumed = engine->device().make_event();
  for (std::int64_t n : {1, 3, 2, 0, 3}) {
    SCOPED_TRACE(n);
    const auto inputs = small_inputs(n, static_cast<std::uint32_t>(n) + 10);
    const auto expected = test::run_graph(test::small_graph(), inputs);
    const auto got = test::run_context(context, inputs, consumed.get());
    EXPECT_TRUE(consumed->ready());
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(test::close(got[i], expected[i])) << i;
  }
}

TEST(RuntimeContext, ShapesThatDoNotFitAreNamed) {
  const auto engine = make_engine(with_profile(1, 4));
  const auto check = [&](const ShapeMap& shapes) {
    return message(ErrorCode::invalid_argument, [&] { engine->check_shapes(shapes); });
  };
  EXPECT_THAT(check({{"x", {5, 2, 4, 4}}}), HasSubstr("axis 0 is 5, but the plan allows 1 to 4"));
  EXPECT_THAT(check({{"x", {1, 2, 4, 5}}}), HasSubstr("axis 3 is 5, but the plan allows 4"));
  EXPECT_THAT(check({{"x", {1, 2, 4}}}), HasSubstr("rank 4"));
  EXPECT_THAT(check({{"i", {3}}}), HasSubstr("needs a shape"));
  EXPECT_THAT(check({{"x", {1, 2, 4, 4}}, {"q", {1}}}),
              HasSubstr("there is no input 'q'; the inputs are 'x', 'i'"));
  EXPECT_EQ(check({{"x", {1, 2, 4, 4}}}), "no error");  // i has one possible shape
}

TEST(RuntimeContext, TheSameKeyGivesTheSameObjectAndKernelsAreShared) {
  const auto engine = make_engine(test::compile_small());
  runtime::Context a(engine), b(engine);
  const ShapeMap one{{"x", {1, 2, 4, 4}}}, two{{"x", {2, 2, 4, 4}}};
  const auto* first = &a.prepare(one);
  EXPECT_NE(first, &a.prepare(two));
  EXPECT_EQ(first, &a.prepare(one));
  const std::uint64_t made = engine->state().kernels.made();
  b.prepare(one);
  EXPECT_EQ(engine->state().kernels.made(), made);
  EXPECT_EQ(engine->state().stats.prepared.load(), 3u);
  for (std::int64_t n = 1; n < 100; ++n) a.prepare({{"x", {n, 2, 4, 4}}});  // more keys than are kept
  EXPECT_EQ(a.prepare(one).inputs[0].shape[0], 1);
}

TEST(RuntimeContext, MisuseIsRefused) {
  const auto engine = make_engine(test::compile_small());
  runtime::Context context(engine);
  const auto stream = engine->device().make_stream({.name = "test", .inline_execution = true});
  const auto done = engine->device().make_event();
  const auto enqueue = [&] { context.enqueue(*stream, *done); };
  EXPECT_THAT(message(ErrorCode::misuse, enqueue), HasSubstr("call prepare"));
  context.prepare({{"x", {1, 2, 4, 4}}});
  EXPECT_THAT(message(ErrorCode::misuse, enqueue), HasSubstr("input 0 is not bound"));
  context.bind_input(0, engine->device().allocate(16, MemoryKind::host, MemoryUse::io));
  EXPECT_THAT(message(ErrorCode::misuse, enqueue), HasSubstr("has 16 bytes from offset 0 on, but"));
  EXPECT_THAT(message(ErrorCode::invalid_argument, [&] { context.bind_output(7, nullptr); }),
              HasSubstr("there is no output 7"));
  EXPECT_THAT(message(ErrorCode::invalid_argument, [&] { runtime::Context(engine, 3); }),
              HasSubstr("there is no profile 3"));
}

/// A kernel that waits to be let go: while it runs, a second thread finds the context in use.
struct Gate {
  std::atomic<bool> inside{false}, open{false};
};

class GateStream final : public Stream {
 public:
  explicit GateStream(Gate& gate) : gate_(gate) {}
  void launch(const Kernel&, std::span<const Operand>, const Operand&) override {
    gate_.inside = true;
    while (!gate_.open) sched::sleep_for(std::chrono::milliseconds(1));
  }
  void copy(const Operand&, const Operand&) override {}
  void record(Event&) override {}
  void wait(Event&) override {}
  void start_item() override {}
  void synchronize() override {}
  NativeStream native() const override { return nullptr; }

 private:
  Gate& gate_;
};

TEST(RuntimeContext, ASecondThreadIsToldSo) {
  const auto engine = make_engine(test::compile_small());
  // A context whose last work was never recorded cannot be waited for: it is leaked with its gate.
  auto* context = new runtime::Context(engine);
  const auto& prepared = context->prepare({{"x", {1, 2, 4, 4}}});
  const auto make = [&](const TensorDesc& d) {
    return engine->device().allocate(d.span_bytes(), MemoryKind::host, MemoryUse::io);
  };
  for (std::size_t i = 0; i < 2; ++i) context->bind_input(i, make(prepared.inputs[i]));
  for (std::size_t i = 0; i < 2; ++i) context->bind_output(i, make(prepared.outputs[i]));
  Gate gate;
  GateStream stream(gate);
  const auto done = engine->device().make_event();
  sched::Thread other("other", [&] { context->enqueue(stream, *done); });
  while (!gate.inside) sched::sleep_for(std::chrono::milliseconds(1));
  EXPECT_THAT(message(ErrorCode::misuse,
                      [&] {
                        context->prepare({{"x", {1, 2, 4, 4}}});
                      }),
              HasSubstr("two threads at once"));
  gate.open = true;
  other.join();
  delete context;
}

TEST(RuntimeContext, SymbolsThatMustAgreeAreChecked) {
  Graph g;
  const Dim n = g.shapes().symbol("N", {SymbolSource::dim, 0, 0});
  g.shapes().symbol("N", {SymbolSource::dim, 1, 0});
  const ValueId a = g.add_input("a", {DType::f32, {n, 2}}), b = g.add_input("b", {DType::f32, {n, 2}});
  g.add_output("c", g.add1(Concat{1}, {a, b}));
  compiler::Options options;
  options.device = "reference";
  options.opt_level = 0;
  runtime::Context context(make_engine(compiler::compile(std::move(g), test::reference_registry(), options)));
  EXPECT_THAT(message(ErrorCode::invalid_argument,
                      [&] {
                        context.prepare({{"a", {3, 2}}, {"b", {4, 2}}});
                      }),
              HasSubstr("input 'a' axis 0 is 3 and input 'b' axis 0 is 4, but both are 'N'"));
}

TEST(RuntimeContext, ShapesMayDependOnInputValues) {
  Graph g;
  g.add_input("x", {DType::f32, {12}});
  g.add_input("s", {DType::i64, {2}});
  const Dim s0 = g.shapes().symbol("s0", {SymbolSource::value, 1, 0});
  const Dim s1 = g.shapes().symbol("s1", {SymbolSource::value, 1, 1});
  g.add_output("y", g.add1(Reshape{{s0, s1}}, {g.inputs()[0]}));
  compiler::Options options;
  options.device = "reference";
  options.opt_level = 0;
  runtime::Context context(make_engine(compiler::compile(std::move(g), test::reference_registry(), options)));
  test::Tensors inputs;
  inputs["x"] = test::random_tensor({12}, 3);
  for (std::int64_t rows : {3, 4, 3}) {
    HostTensor s(DType::i64, {2});
    s.set_int(0, rows);
    s.set_int(1, 12 / rows);
    inputs["s"] = s;
    const auto out = test::run_context(context, inputs);
    EXPECT_EQ(out[0].shape(), (Shape{rows, 12 / rows}));
    EXPECT_TRUE(std::ranges::equal(out[0].bytes(), inputs["x"].bytes()));
  }
  HostTensor wrong(DType::i64, {2});
  wrong.set_int(0, 5);
  wrong.set_int(1, 5);
  inputs["s"] = wrong;
  EXPECT_THROW(test::run_context(context, inputs), Error);
  EXPECT_THAT(message(ErrorCode::invalid_argument, [&] { context.prepare({}); }),
              HasSubstr("values of input 's'"));
}

TEST(RuntimeContext, TheMemoryBudgetHoldsForActivationsToo) {
  const auto engine = make_engine(test::compile_small(), {.memory_budget_bytes = 200'000});
  runtime::Context context(engine);
  context.prepare({{"x", {1, 2, 4, 4}}});
  EXPECT_THAT(message(ErrorCode::out_of_memory,
                      [&] {
                        context.prepare({{"x", {100000, 2, 4, 4}}});
                      }),
              HasSubstr("memory budget"));
}

TEST(RuntimeContext, StepsAreTimed) {
  const auto engine = make_engine(test::compile_small());
  runtime::Context context(engine);
  context.prepare({{"x", {1, 2, 4, 4}}});
  const auto stream = engine->device().make_stream({.name = "test", .inline_execution = true});
  const auto times = context.profile_steps(*stream, 3);
  EXPECT_EQ(times.size(), engine->plan().steps.size());
  for (const auto& t : times) EXPECT_GT(t.us, 0);
}

TEST(RuntimeEngine, PlansForOthersAreRefused) {
  Plan plan = test::compile_small();
  plan.steps[0].tactic = "cuda.cudnn.conv";
  EXPECT_THAT(message(ErrorCode::invalid_plan, [&] { make_engine(plan); }), HasSubstr("plan was built for"));
  plan = test::compile_small();
  plan.device = "cuda";
  EXPECT_THAT(message(ErrorCode::invalid_plan, [&] { make_engine(plan); }), HasSubstr("'cuda'"));
  EXPECT_THAT(
      message(ErrorCode::invalid_argument, [&] { make_engine(test::compile_small(), {.device = "cpu"}); }),
      HasSubstr("was built for the device 'reference'"));
  EXPECT_THAT(message(ErrorCode::out_of_memory,
                      [&] { make_engine(test::compile_small(), {.memory_budget_bytes = 10}); }),
              HasSubstr("budget"));
}

TEST(RuntimeEngine, ChecksHazards) {
  const auto engine = make_engine(test::compile_small(), {.check_hazards = true});
  runtime::Context context(engine);
  const auto inputs = small_inputs(2);
  const auto expected = test::run_graph(test::small_graph(), inputs);
  EXPECT_TRUE(test::close(test::run_context(context, inputs)[0], expected[0]));
}

TEST(RuntimeKernelCache, IsBoundedAndSharesKernels) {
  struct NoKernel final : Kernel {
    void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override {}
    std::string_view name() const override { return "none"; }
  };
  runtime::KernelCache cache(2);
  const auto make = [] { return std::unique_ptr<Kernel>(new NoKernel); };
  const auto a = cache.get("a", make);
  EXPECT_EQ(cache.get("a", make), a);
  cache.get("b", make);
  EXPECT_EQ(cache.get("a", make), a);
  cache.get("c", make);  // b goes: it was used longest ago
  EXPECT_EQ(cache.size(), 2u);
  EXPECT_EQ(cache.get("a", make), a);
  EXPECT_EQ(cache.made(), 3u);
  EXPECT_THROW(cache.get("d", []() -> std::unique_ptr<Kernel> { throw Error(ErrorCode::internal, "no"); }),
               Error);
  EXPECT_EQ(cache.size(), 2u);
}

}  // namespace
}  // namespace headrace
