// Several profiles in one plan: each with kernels of its own, chosen by the shapes.
#include "plan/profiles.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/run_util.h"
#include "runtime/engine_state.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

/// A convolution that packs its weights in one way for few images, and in another for many.
class BatchConv final : public Tactic {
 public:
  explicit BatchConv(const Tactic& inner) : inner_(inner) {}
  std::string_view id() const override { return "batchy.conv"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<Conv>(p)) return refuse("not a convolution");
    return inner_.refuses(unpacked(p));
  }
  std::vector<Choice> candidates(const Problem& p) const override {
    return {p.dsts[0].shape[0] <= 4 ? "few" : "many"};
  }
  std::optional<Packed> pack(const Problem&, const Choice& choice, std::size_t index,
                             const HostTensor& t) const override {
    if (index != 1) return std::nullopt;
    Packed packed{choice, {t.bytes().begin(), t.bytes().end()}};
    if (choice == "few") std::reverse(packed.bytes.begin(), packed.bytes.end());
    return packed;
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t index) const override {
    return unpacked(p).srcs[index].span_bytes();
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice& choice) const override {
    EXPECT_EQ(p.srcs[1].format, choice) << "weights of another profile";
    return std::make_unique<BatchKernel>(inner_.make(unpacked(p), ""), choice == "few",
                                         unpacked(p).srcs[1].span_bytes());
  }

 private:
  class BatchKernel final : public Kernel {
   public:
    BatchKernel(std::unique_ptr<Kernel> inner, bool reversed, std::size_t bytes)
        : inner_(std::move(inner)), reversed_(reversed), bytes_(bytes) {}
    std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
    std::string_view name() const override { return "batchy"; }
    void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const override {
      std::vector<std::byte*> operands(data.begin(), data.end());
      std::vector<std::byte> weights(data[1], data[1] + bytes_);
      if (reversed_) std::reverse(weights.begin(), weights.end());
      operands[1] = weights.data();
      inner_->launch(stream, operands, workspace);
    }

   private:
    std::unique_ptr<Kernel> inner_;
    bool reversed_;
    std::size_t bytes_;
  };
  static Problem unpacked(Problem p) {
    for (TensorDesc& d : p.srcs)
      if (d.layout == Layout::packed) d = TensorDesc::dense(d.dtype, d.shape);
    return p;
  }
  const Tactic& inner_;
};

const Registry& batchy_registry() {
  static const Registry* registry = [] {
    auto* r = new Registry;
    r->add(make_reference_backend());
    Backend batchy{.name = "batchy", .make_device = r->find("reference")->make_device, .tactics = {}};
    batchy.tactics.push_back(std::make_unique<BatchConv>(*r->find_tactic("reference.conv")));
    r->add(std::move(batchy));
    return r;
  }();
  return *registry;
}

Plan three_profiles() {
  compiler::Options options;
  options.device = "batchy";
  options.opt_level = 0;
  options.threads = 1;
  options.profiles = {{{"*", {1}, {1}, {1}}}, {{"*", {2}, {8}, {16}}}, {{"*", {127}, {128}, {256}}}};
  return compiler::compile(test::small_graph(), batchy_registry(), options);
}

runtime::EngineRef engine_of(Plan plan) {
  return runtime::Engine::create(std::make_shared<const Plan>(std::move(plan)), batchy_registry(),
                                 {.threads = 1});
}

test::Tensors batch_of(std::int64_t n) {
  test::Tensors t;
  t["x"] = test::random_tensor({n, 2, 4, 4}, static_cast<std::uint32_t>(n));
  t["i"] = HostTensor(DType::i64, {3});
  return t;
}

TEST(Profiles, EachHasItsOwnChoicesAndWeightsAreStoredOncePerPacking) {
  const Plan plan = three_profiles();
  for (const PlanStep& step : plan.steps) {
    if (step.op.id != "Conv") {
      EXPECT_TRUE(step.variants.empty()) << step.op.id << " is done in one way";
      continue;
    }
    ASSERT_EQ(step.variants.size(), 2u);
    EXPECT_EQ(step.choice, "few");
    for (std::size_t p : {1, 2}) EXPECT_EQ(way_of(step, p).choice, "many");
    EXPECT_NE(step.inputs[1], way_of(step, 1).inputs[1]);
    EXPECT_EQ(way_of(step, 2).inputs, way_of(step, 1).inputs);
    EXPECT_EQ(step.inputs[0], way_of(step, 1).inputs[0]);
  }
  const auto packed = [&](const char* format) {
    return std::count_if(plan.tensors.begin(), plan.tensors.end(),
                         [&](const PlanTensor& t) { return t.format == format; });
  };
  EXPECT_GT(packed("few"), 0);
  EXPECT_EQ(packed("few"), packed("many"));
}

TEST(Profiles, TheContextTakesTheOneForTheShapes) {
  const auto engine = engine_of(three_profiles());
  runtime::Context context(engine);
  for (const auto& [n, profile] :
       {std::pair{1, 0u}, {2, 1u}, {16, 1u}, {127, 2u}, {128, 2u}, {129, 2u}, {256, 2u}, {1, 0u}}) {
    SCOPED_TRACE(n);
    const auto inputs = batch_of(n);
    const auto got = test::run_context(context, inputs);
    EXPECT_EQ(context.used_profile(), profile);
    const auto expected = test::run_graph(test::small_graph(), inputs);
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(test::close(got[i], expected[i])) << i;
  }
  EXPECT_EQ(engine->state().stats.fallbacks, 0u);
}

TEST(Profiles, ShapesOutsideAllOfThemAreRefusedWithTheRanges) {
  const auto engine = engine_of(three_profiles());
  const auto why = [&](std::int64_t n, std::size_t profile = runtime::kByShapes) {
    try {
      engine->check_shapes({{"x", {n, 2, 4, 4}}}, profile);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      return e.message();
    }
    return std::string("accepted");
  };
  for (std::int64_t n : {0, 17, 126, 257})
    EXPECT_THAT(why(n),
                HasSubstr("axis 0 is " + std::to_string(n) + ", but the plan allows 1 to 16 or 127 to 256"));
  EXPECT_EQ(why(16), "accepted");
  EXPECT_THAT(why(16, 2), HasSubstr("the plan allows 127 to 256"));
  EXPECT_THAT(why(16, 3), HasSubstr("there is no profile 3: the plan has 3"));
}

Plan with_ranges(std::vector<Profile> profiles) {
  Plan plan;
  plan.profiles = std::move(profiles);
  return plan;
}

TEST(Profiles, TheNearestOptServes) {
  const Plan plan = with_ranges({{{"x", {1, 8}, {1, 64}, {16, 512}}},
                                 {{"x", {1, 8}, {8, 64}, {16, 512}}},
                                 {{"x", {1, 8}, {8, 64}, {16, 256}}},
                                 {{"x", {1, 8}, {8, 512}, {16, 512}}}});
  const auto find = [&](Shape shape) { return find_profile(plan, std::span(&shape, 1)); };
  EXPECT_EQ(find({1, 64}), 0u);
  EXPECT_EQ(find({2, 64}), 0u) << "2 / 1 is less than 8 / 2";
  EXPECT_EQ(find({3, 64}), 1u);
  EXPECT_EQ(find({16, 64}), 1u) << "the first of two equally near ones";
  EXPECT_EQ(find({8, 400}), 3u);
  EXPECT_EQ(find({0, 64}), std::nullopt);
  EXPECT_EQ(find({16, 513}), std::nullopt);
}

TEST(Profiles, GapsAreNamed) {
  EXPECT_EQ(profile_gaps(three_profiles()),
            std::vector<std::string>{"input 'x', axis 0: no profile allows 17 to 126"});
  EXPECT_TRUE(profile_gaps(with_ranges({{{"x", {1}, {1}, {4}}}, {{"x", {5}, {5}, {9}}}})).empty());
  const Plan plan = with_ranges({{{"x", {9}, {9}, {9}}}, {{"x", {1}, {1}, {1}}}, {{"x", {3}, {5}, {7}}}});
  EXPECT_EQ(profile_gaps(plan), std::vector<std::string>{"input 'x', axis 0: no profile allows 2, 8"});
  EXPECT_EQ(allowed_text(plan, 0, 0), "1, 3 to 7 or 9");
}

TEST(Profiles, ExtentsThatNoProfileAllowsTogetherAreRefused) {
  compiler::Options options;
  options.device = "reference";
  options.opt_level = 0;
  options.profiles = {{{"x", {1, 8}, {1, 8}, {4, 8}}}, {{"x", {5, 8}, {5, 9}, {9, 9}}}};
  Graph g;
  const Dim n = g.shapes().symbol("N", {SymbolSource::dim, 0, 0}),
            m = g.shapes().symbol("M", {SymbolSource::dim, 0, 1});
  PwExpr e;
  e.op(PwOp::exp, DType::f32, e.load(0, DType::f32));
  g.add_output("y", g.add1(Pointwise{e}, {g.add_input("x", {DType::f32, {n, m}})}));
  const auto engine = engine_of(compiler::compile(std::move(g), batchy_registry(), options));
  engine->check_shapes({{"x", {9, 9}}});
  try {
    engine->check_shapes({{"x", {1, 9}}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.message(), HasSubstr("no profile of the plan allows these shapes together: 'x' 1x9"));
    EXPECT_THAT(e.message(), HasSubstr("profile 1: 'x' 5x8 to 9x9"));
  }
}

}  // namespace
}  // namespace headrace
