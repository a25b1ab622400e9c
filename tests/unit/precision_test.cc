// --precision: what is rounded, what is not, and who can do it.
#include "compiler/precision.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/run_util.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

compiler::Options options(Precision precision, const char* device = "reference") {
  compiler::Options o;
  o.device = device;
  o.opt_level = 0;
  o.precision = precision;
  o.threads = 1;
  return o;
}

std::string refusal(Precision precision, const char* device) {
  Registry registry;
  Backend backend = make_reference_backend();
  backend.name = device;
  registry.add(std::move(backend));
  try {
    static_cast<void>(compiler::compile(test::small_graph(), registry, options(precision, device)));
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
    return e.message();
  }
  return "built";
}

TEST(Precision, TheCpuRefusesWhatItCannotDoWell) {
  for (const Precision p : {Precision::tf32, Precision::fp16, Precision::bf16}) {
    EXPECT_THAT(refusal(p, "cpu"), HasSubstr("no kernels for " + std::string(to_string(p))));
    EXPECT_THAT(refusal(p, "cpu"), HasSubstr("or in fp32"));
  }
  EXPECT_THAT(refusal(Precision::tf32, "reference"), HasSubstr("has no tf32"));
  EXPECT_EQ(refusal(Precision::bf16, "reference"), "built");
}

/// 16 bits between inputs and outputs: types stay, numbers differ by rounding only.
TEST(Precision, HalvesKeepTypesAndComeClose) {
  test::Tensors inputs;
  inputs["x"] = test::random_tensor({2, 2, 4, 4}, 5);
  inputs["i"] = HostTensor(DType::i64, {3});
  const auto expected = test::run_graph(test::small_graph(), inputs);
  for (const auto& [precision, dtype, tolerance] :
       {std::tuple{Precision::fp16, DType::f16, 2e-3}, {Precision::bf16, DType::bf16, 2e-2}}) {
    SCOPED_TRACE(to_string(precision));
    const Plan plan = compiler::compile(test::small_graph(), test::reference_registry(), options(precision));
    EXPECT_EQ(plan.provenance.at("precision"), to_string(precision));
    EXPECT_GT(std::count_if(plan.tensors.begin(), plan.tensors.end(),
                            [dtype = dtype](const PlanTensor& t) { return t.dtype == dtype; }),
              3);
    runtime::Context context(runtime::Engine::create(std::make_shared<const Plan>(plan),
                                                     test::reference_registry(), {.threads = 1}));
    const auto got = test::run_context(context, inputs);
    double worst = 0;
    for (std::size_t o = 0; o < got.size(); ++o) {
      ASSERT_EQ(got[o].dtype(), DType::f32);
      ASSERT_EQ(got[o].shape(), expected[o].shape());
      for (std::int64_t i = 0; i < got[o].elements(); ++i)
        worst = std::max(worst, std::abs(got[o].at_double(i) - expected[o].at_double(i)));
    }
    EXPECT_LE(worst, tolerance);
    EXPECT_GT(worst, tolerance / 100) << "nothing was rounded";
  }
}

bool is_permitted(const Op& op) {
  if (const auto* conv = std::get_if<Conv>(&op)) return conv->tf32;
  if (const auto* matmul = std::get_if<MatMul>(&op)) return matmul->tf32;
  return false;
}

TEST(Precision, Tf32IsAPermissionThatAPlanCarries) {
  const Graph graph = test::small_graph();
  std::set<NodeId> all;
  std::size_t products = 0;
  for (NodeId n : graph.nodes()) {
    all.insert(n);
    products +=
        std::holds_alternative<Conv>(graph.node(n).op) || std::holds_alternative<MatMul>(graph.node(n).op);
  }
  ASSERT_GT(products, 0u);
  const auto count = [](const Graph& g) {
    std::size_t n = 0;
    for (NodeId id : g.nodes()) n += is_permitted(g.node(id).op);
    return n;
  };
  const Graph lowered = compiler::lower_precision(graph, Precision::tf32);
  EXPECT_EQ(count(lowered), products);
  EXPECT_EQ(lowered.nodes().size(), graph.nodes().size()) << "no casts";
  EXPECT_EQ(count(compiler::lower_precision(graph, Precision::tf32, all)), 0u);
  for (NodeId n : lowered.nodes()) EXPECT_EQ(from_record(to_record(lowered.node(n).op)), lowered.node(n).op);
}

TEST(Precision, LayersCanStayInF32) {
  const Graph graph = test::small_graph();
  std::set<NodeId> all;
  for (NodeId n : graph.nodes()) all.insert(n);
  for (const Precision p : {Precision::fp16, Precision::bf16}) {
    const Graph kept = compiler::lower_precision(graph, p, all);
    for (std::size_t v = 0; v < kept.value_count(); ++v)
      EXPECT_FALSE(is_half(kept.value(static_cast<ValueId>(v)).type.dtype));
    const Graph one = compiler::lower_precision(graph, p, {graph.nodes().front()});
    const Node& first = graph.node(graph.nodes().front());
    std::size_t narrow = 0;
    for (NodeId n : one.nodes()) {
      const bool is_first = one.node(n).op == first.op && one.node(n).origins == first.origins;
      const bool half = is_half(one.value(one.node(n).outputs[0]).type.dtype);
      EXPECT_FALSE(is_first && half);
      narrow += half;
    }
    EXPECT_GT(narrow, 2u);
  }
}

TEST(BHalf, EveryPatternComesBackAndTiesGoToEven) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const BHalf h{static_cast<std::uint16_t>(bits)};
    const float f = to_float(h);
    if (std::isnan(f))
      EXPECT_TRUE(std::isnan(to_float(to_bhalf(f))));
    else
      ASSERT_EQ(to_bhalf(f).bits, bits);
  }
  EXPECT_EQ(to_float(to_bhalf(1 + 0x1p-8f)), 1.0f) << "half way: to even";
  EXPECT_EQ(to_float(to_bhalf(1 + 3 * 0x1p-8f)), 1 + 0x1p-6f);
  EXPECT_EQ(to_float(to_bhalf(1 + 0x1.02p-8f)), 1 + 0x1p-7f);
  EXPECT_TRUE(std::isinf(to_float(to_bhalf(3.4e38f))));
}

}  // namespace
}  // namespace headrace
