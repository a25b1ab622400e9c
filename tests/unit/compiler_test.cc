#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "plan/placement.h"
#include "plan/run_util.h"
#include "tuner/timing_cache.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// --- a backend for tests: reference kernels behind tactics with a will of their own

/// "mirrored" weights: the bytes of the tensor in reverse.
class PickyKernel final : public Kernel {
 public:
  PickyKernel(std::unique_ptr<Kernel> inner, std::size_t packed_index, std::size_t packed_bytes)
      : inner_(std::move(inner)), index_(packed_index), bytes_(packed_bytes) {}
  std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
  void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const override {
    std::vector<std::byte*> operands(data.begin(), data.end());
    std::vector<std::byte> weights;
    if (bytes_ > 0) {
      weights.assign(data[index_], data[index_] + bytes_);
      std::reverse(weights.begin(), weights.end());
      operands[index_] = weights.data();
    }
    inner_->launch(stream, operands, workspace);
  }
  std::string_view name() const override { return "picky"; }

 private:
  std::unique_ptr<Kernel> inner_;
  std::size_t index_, bytes_;
};

template <class OpT>
class PickyTactic final : public Tactic {
 public:
  explicit PickyTactic(const Tactic& inner) : inner_(inner), id_("picky." + std::string(inner.id())) {}
  std::string_view id() const override { return id_; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!std::holds_alternative<OpT>(p.op)) return Refusal{"not a thing of mine"};
    if (kIsConv && p.srcs[1].layout == Layout::packed && p.srcs[1].format != "mirrored")
      return Refusal{"foreign"};
    if (kIsConv && !p.dsts[0].is_dense()) return Refusal{"a window"};
    return inner_.refuses(unpacked(p));
  }
  std::vector<Choice> candidates(const Problem&) const override {
    if (kIsConv) return {"slow", "fast"};
    return {""};
  }
  Layout preferred_layout(const Problem&) const override {
    return kIsConv ? Layout::channels_last : Layout::plain;
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const bool packed = kIsConv && p.srcs[1].layout == Layout::packed;
    return std::make_unique<PickyKernel>(inner_.make(unpacked(p), ""), 1,
                                         packed ? unpacked(p).srcs[1].span_bytes() : 0);
  }
  std::optional<Packed> pack(const Problem&, const Choice&, std::size_t index,
                             const HostTensor& t) const override {
    if (!kIsConv || index != 1) return std::nullopt;
    Packed packed{"mirrored", {t.bytes().begin(), t.bytes().end()}};
    std::reverse(packed.bytes.begin(), packed.bytes.end());
    return packed;
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t index) const override {
    return unpacked(p).srcs[index].span_bytes();
  }
  bool in_place(const Problem&, std::size_t, std::size_t) const override { return kIsPointwise; }

 private:
  static constexpr bool kIsConv = std::is_same_v<OpT, Conv>;
  static constexpr bool kIsPointwise = std::is_same_v<OpT, Pointwise>;
  static Problem unpacked(Problem p) {
    for (TensorDesc& d : p.srcs)
      if (d.layout == Layout::packed) d = TensorDesc::dense(d.dtype, d.shape);
    return p;
  }
  const Tactic& inner_;
  std::string id_;
};

const Registry& picky_registry() {
  static const Registry* registry = [] {
    auto* r = new Registry;
    r->add(make_reference_backend());
    Backend picky{.name = "picky", .make_device = r->find("reference")->make_device, .tactics = {}};
    const auto add = [&]<class OpT>(std::type_identity<OpT>, const char* inner) {
      picky.tactics.push_back(std::make_unique<PickyTactic<OpT>>(*r->find_tactic(inner)));
    };
    add(std::type_identity<Conv>{}, "reference.conv");
    add(std::type_identity<Pointwise>{}, "reference.pointwise");
    add(std::type_identity<Reorder>{}, "reference.reorder");
    r->add(std::move(picky));
    return r;
  }();
  return *registry;
}

compiler::Options options(const char* device = "picky", int opt_level = 0) {
  compiler::Options o;
  o.device = device;
  o.opt_level = opt_level;
  o.threads = 1;
  return o;
}

std::vector<HostTensor> run(const Plan& plan, const test::Tensors& inputs,
                            const Registry& registry = picky_registry()) {
  runtime::Context context(
      runtime::Engine::create(std::make_shared<const Plan>(plan), registry, {.threads = 1}));
  return test::run_context(context, inputs);
}

std::vector<std::string> clobbering(const Plan& plan, const ShapeMap& shapes) {
  std::vector<std::int64_t> symbols;
  for (const Symbol& s : plan.shapes.symbols()) {
    const auto& t =
        plan.tensors[static_cast<std::size_t>(plan.inputs[static_cast<std::size_t>(s.sources[0].input)])];
    symbols.push_back(shapes.find(t.name)->second[static_cast<std::size_t>(s.sources[0].index)]);
  }
  return find_clobbering(plan, place_tensors(plan, plan.shapes.evaluate(symbols)));
}

std::size_t count_steps(const Plan& plan, std::string_view op) {
  return static_cast<std::size_t>(
      std::count_if(plan.steps.begin(), plan.steps.end(), [&](const PlanStep& s) { return s.op.id == op; }));
}

/// Random networks of everything that layouts and views care about.
Graph random_graph(std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  Graph g;
  const Dim n = g.shapes().symbol("N", {SymbolSource::dim, 0, 0});
  std::vector<ValueId> values{g.add_input("x", {DType::f32, {n, 4, 3, 5}})};
  const auto channels = [&](ValueId v) { return g.value(v).type.shape[1].value; };
  for (int i = 0; i < 12; ++i) {
    const ValueId a = values[below(values.size())], b = values[below(values.size())];
    PwExpr e;
    switch (below(8)) {
      case 0: {
        HostTensor w = test::random_tensor({3, channels(a), 1, 1}, seed + static_cast<std::uint32_t>(i));
        values.push_back(
            g.add1(Conv{.strides = {1, 1}, .dilations = {1, 1}, .pads_begin = {0, 0}, .pads_end = {0, 0}},
                   {a, g.add_constant(std::move(w))}));
        break;
      }
      case 1:
      case 2:
        e.op(PwOp::tanh, DType::f32, e.load(0, DType::f32));
        values.push_back(g.add1(Pointwise{e}, {a}));
        break;
      case 3:
        if (channels(a) != channels(b)) break;
        e.op(PwOp::add, DType::f32, e.load(0, DType::f32), e.load(1, DType::f32));
        values.push_back(g.add1(Pointwise{e}, {a, b}));
        break;
      case 4:
      case 5: values.push_back(g.add1(Concat{1}, {a, b, values[below(values.size())]})); break;
      case 6: {
        const std::int64_t c = channels(a),
                           size = 1 + static_cast<std::int64_t>(below(static_cast<std::size_t>(c)));
        values.push_back(g.add1(
            Slice{
                .starts = {0, static_cast<std::int64_t>(below(static_cast<std::size_t>(c - size + 1))), 0, 0},
                .steps = {1, 1, 1, 1},
                .sizes = {n, size, 3, 5}},
            {a}));
        break;
      }
      case 7: {
        const std::int64_t c = channels(a);
        const ValueId flat = g.add1(Reshape{{n, c * 15}}, {a});
        e.op(PwOp::sin, DType::f32, e.load(0, DType::f32));
        values.push_back(g.add1(Reshape{{n, c, 3, 5}}, {below(2) ? flat : g.add1(Pointwise{e}, {flat})}));
        break;
      }
    }
    if (channels(values.back()) > 40) values.pop_back();
  }
  g.add_output("last", values.back());
  g.add_output("any", values[below(values.size())]);
  g.add_output("again", values.back());
  g.add_output("early", values[below(3) % values.size()]);
  return g;
}

TEST(Compiler, RandomGraphsComputeTheSameWithLayoutsAndViews) {
  std::size_t views = 0, reorders = 0, packed = 0;
  for (std::uint32_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    const Plan plan = compiler::compile(random_graph(seed), picky_registry(), options());
    for (std::int64_t n : {1, 3}) {
      test::Tensors inputs;
      inputs["x"] = test::random_tensor({n, 4, 3, 5}, seed);
      EXPECT_THAT(clobbering(plan, {{"x", {n, 4, 3, 5}}}), ::testing::IsEmpty());
      const auto expected = test::run_graph(random_graph(seed), inputs);
      const auto got = run(plan, inputs);
      ASSERT_EQ(got.size(), expected.size());
      for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(test::close(got[i], expected[i])) << i;
    }
    for (const PlanTensor& t : plan.tensors) {
      views += t.view != ViewKind::none;
      packed += t.format == "mirrored";
    }
    reorders += count_steps(plan, "Reorder");
  }
  EXPECT_GT(views, 300u);  // the test is about these
  EXPECT_GT(reorders, 50u);
  EXPECT_GT(packed, 50u);
}

TEST(Compiler, EqualInputsGiveEqualBytes) {
  for (std::uint32_t seed = 0; seed < 10; ++seed)
    EXPECT_EQ(write_plan(compiler::compile(random_graph(seed), picky_registry(), options())),
              write_plan(compiler::compile(random_graph(seed), picky_registry(), options())));
}

TEST(Compiler, TimingIsKeptInTheCacheAndDecidesTheSameAgain) {
  const auto path = std::filesystem::temp_directory_path() / "headrace_compiler_test.timing";
  std::filesystem::remove(path);
  auto o = options("picky", 1);
  o.timing_cache = path;
  const Plan first = compiler::compile(test::small_graph(), picky_registry(), o);
  const std::string text = read_text_file(path);
  EXPECT_THAT(text, HasSubstr("picky.reference.conv\tfast"));
  const Plan second = compiler::compile(test::small_graph(), picky_registry(), o);
  EXPECT_EQ(read_text_file(path), text);
  EXPECT_EQ(write_plan(first), write_plan(second));
  const auto conv =
      std::find_if(first.steps.begin(), first.steps.end(), [](const auto& s) { return s.op.id == "Conv"; });
  ASSERT_NE(conv, first.steps.end());
  EXPECT_EQ(conv->tried.size(), 2u);
  write_file_atomic(path, std::string_view("something else\n"));
  EXPECT_THROW(static_cast<void>(compiler::compile(test::small_graph(), picky_registry(), o)), Error);
  std::filesystem::remove(path);
}

TEST(Compiler, ReshapeConcatAndSliceNeedNoStep) {
  Graph g;
  const ValueId x = g.add_input("x", {DType::f32, {2, 3, 4}});
  PwExpr e;
  e.op(PwOp::exp, DType::f32, e.load(0, DType::f32));
  const ValueId a = g.add1(Pointwise{e}, {x});
  const ValueId part = g.add1(Slice{.starts = {0, 1, 0}, .steps = {1, 1, 1}, .sizes = {2, 2, 4}}, {x});
  PwExpr f;
  f.op(PwOp::sin, DType::f32, f.load(0, DType::f32));
  const ValueId b = g.add1(Pointwise{f}, {part});
  const ValueId joined = g.add1(Concat{1}, {a, b});
  g.add_output("y", g.add1(Reshape{{40}}, {joined}));
  auto o = options("reference");
  o.disabled_passes = {"fuse_pointwise"};
  const Plan plan = compiler::compile(std::move(g), picky_registry(), o);
  EXPECT_EQ(plan.steps.size(), 2u);
  for (const PlanStep& s : plan.steps) EXPECT_EQ(s.op.id, "Pointwise");
}

TEST(Compiler, OutputsMayBeInputsConstantsAndTheSameTwice) {
  Graph g;
  const ValueId x = g.add_input("x", {DType::f32, {2}});
  const ValueId c = g.add_constant(test::random_tensor({3}, 5), "c");
  PwExpr e;
  e.op(PwOp::exp, DType::f32, e.load(0, DType::f32));
  const ValueId y = g.add1(Pointwise{e}, {x});
  for (const auto& [name, v] : {std::pair{"x2", x}, {"c", c}, {"y", y}, {"y2", y}, {"x3", x}})
    g.add_output(name, v);
  test::Tensors inputs;
  inputs["x"] = test::random_tensor({2}, 6);
  const auto expected = test::run_graph(g, inputs);
  const auto got = run(compiler::compile(std::move(g), picky_registry(), options("reference")), inputs);
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(test::close(got[i], expected[i])) << i;
}

std::string profile_error(std::vector<compiler::InputRange> ranges) {
  auto o = options("reference");
  o.profiles = {std::move(ranges)};
  try {
    static_cast<void>(compiler::compile(test::small_graph(), picky_registry(), o));
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.what();
  }
  return "accepted";
}

TEST(Compiler, ProfilesThatContradictTheModelAreRefused) {
  EXPECT_EQ(profile_error({{"*", {1}, {2}, {3}}}), "accepted");
  EXPECT_EQ(profile_error({{"x", {1, 2, 4, 4}, {2, 2, 4, 4}, {3, 2, 4, 4}}}), "accepted");
  EXPECT_THAT(profile_error({{"*", {3}, {2}, {1}}}), HasSubstr("not in order"));
  EXPECT_THAT(profile_error({{"*", {1, 1}, {2, 2}, {3, 3}}}), HasSubstr("one extent"));
  EXPECT_THAT(profile_error({{"q", {1}, {2}, {3}}}), HasSubstr("no input 'q'; the inputs are 'x', 'i'"));
  EXPECT_THAT(profile_error({{"x", {1}, {2}, {3}}}), HasSubstr("rank 4"));
  EXPECT_THAT(profile_error({{"x", {1, 2, 4, 4}, {2, 2, 4, 4}, {3, 9, 4, 4}}}),
              HasSubstr("axis 1: the model says 2"));
  EXPECT_THAT(profile_error({{"x", {1, 2, 4, 4}, {2, 2, 4, 4}, {3, 2, 4, 4}}, {"*", {1}, {1}, {1}}}),
              HasSubstr("elsewhere in the same profile"));
}

TEST(Compiler, CancelUnknownDeviceAndUnknownOutputAreErrors) {
  auto o = options("reference");
  o.progress = [](std::string_view stage, double) { return stage != "tactics"; };
  try {
    static_cast<void>(compiler::compile(test::small_graph(), picky_registry(), o));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::cancelled);
  }
  EXPECT_THROW(static_cast<void>(compiler::compile(test::small_graph(), picky_registry(), options("cuda"))),
               Error);
  o = options("reference");
  o.extra_outputs = {"nothing"};
  EXPECT_THROW(static_cast<void>(compiler::compile(test::small_graph(), picky_registry(), o)), Error);
  o = options("reference");
  o.memory_budget_bytes = 10;
  EXPECT_THROW(static_cast<void>(compiler::compile(test::small_graph(), picky_registry(), o)), Error);
}

TEST(Compiler, TimingCachesMergeAndKeepTheirOrder) {
  tuner::TimingCache a, b;
  a.put({"m", "p1", "t", "c", 1}, 2.5);
  b.put({"m", "p0", "t", "c\twith\ttabs", 1}, 1.25);
  b.put({"m", "p1", "t", "c", 1}, 99);
  a.merge(b);
  EXPECT_EQ(a.find({"m", "p1", "t", "c", 1}), 2.5);
  EXPECT_EQ(a.find({"m", "p0", "t", "c\twith\ttabs", 1}), 1.25);
  EXPECT_EQ(a.find({"m", "p0", "t", "c", 2}), std::nullopt);
  EXPECT_EQ(tuner::TimingCache::parse(a.print()).print(), a.print());
  EXPECT_THROW(static_cast<void>(tuner::TimingCache::parse("headrace timing cache 1\nx\ty\n")), Error);
}

}  // namespace
}  // namespace headrace
