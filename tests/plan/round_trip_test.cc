#include <filesystem>

#include <gtest/gtest.h>

#include "plan_util.h"

namespace headrace {
namespace {

void expect_equal(const Plan& a, const Plan& b) {
  EXPECT_EQ(a.device, b.device);
  EXPECT_EQ(a.device_model, b.device_model);
  EXPECT_EQ(a.provenance, b.provenance);
  EXPECT_TRUE(a.shapes == b.shapes);
  EXPECT_EQ(a.tensors, b.tensors);
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.inputs, b.inputs);
  EXPECT_EQ(a.outputs, b.outputs);
  EXPECT_EQ(a.profiles, b.profiles);
  EXPECT_EQ(a.threads, b.threads);
  EXPECT_TRUE(std::ranges::equal(a.weights, b.weights));
}

/// A chain of random pointwise steps over random shapes, weights and records.
Plan random_plan(std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](int n) { return static_cast<std::int64_t>(random() % static_cast<unsigned>(n)); };
  const auto word = [&] {
    std::string s;
    for (std::int64_t n = below(13); n > 0; --n) s.push_back(static_cast<char>(below(256)));
    return s;
  };
  Plan p;
  p.device = "reference";
  p.device_model = word();
  p.threads = static_cast<int>(below(9));
  for (std::int64_t i = below(4); i > 0; --i) p.provenance[word()] = word();
  const Dim n = p.shapes.symbol("N", {SymbolSource::dim, 0, 0});
  Dims shape{below(2) ? n : p.shapes.add(p.shapes.mul(n, 2), below(5))};
  Profile profile{{"in", {1}, {4}, {9}}};
  p.tensors.push_back({.name = "in", .role = TensorRole::input, .shape = {n}});
  p.inputs = {0};
  for (std::int64_t a = below(3); a > 0; --a) shape.push_back(1 + below(7));
  auto weights = std::make_shared<std::vector<std::byte>>(64 * static_cast<std::size_t>(1 + below(4)));
  for (auto& b : *weights) b = static_cast<std::byte>(below(256));
  p.weights = *weights;
  p.weights_owner = weights;
  p.tensors.push_back({.name = word(),
                       .role = TensorRole::weight,
                       .dtype = DType::i16,
                       .shape = {4, 8},
                       .weight_offset = 0,
                       .weight_bytes = 64});
  const std::int64_t steps = 1 + below(6);
  const bool two = below(2) == 1;  // profiles
  for (std::int64_t s = 0; s < steps; ++s) {
    const bool last = s + 1 == steps;
    p.tensors.push_back({.name = word(),
                         .role = last ? TensorRole::output : TensorRole::activation,
                         .dtype = static_cast<DType>(below(12)),
                         .shape = shape});
    PwExpr e;
    e.op(PwOp::add, DType::f32, e.load(0, DType::f32),
         e.constant(static_cast<double>(below(1000)) / 7, DType::f32));
    PlanStep step;
    step.tactic = "t" + word();
    step.choice = word();
    step.op = to_record(Pointwise{e});
    step.inputs = {s == 0 ? 0 : static_cast<std::int32_t>(p.tensors.size() - 2), 1};
    step.outputs = {static_cast<std::int32_t>(p.tensors.size() - 1)};
    for (std::int64_t i = below(3); i > 0; --i) step.origins.push_back(word());
    for (std::int64_t i = below(3); i > 0; --i) step.refused.push_back({word(), word()});
    for (std::int64_t i = below(3); i > 0; --i)
      step.tried.push_back({word(), word(), 0.5 * static_cast<double>(below(99))});
    if (two && below(2) == 1)
      step.variants.push_back(
          {1, "v" + word(), word(), step.inputs, {{word(), word()}}, {{word(), word(), 0.25}}});
    p.steps.push_back(std::move(step));
  }
  p.outputs = {static_cast<std::int32_t>(p.tensors.size() - 1)};
  p.profiles.assign(two ? 2 : 1, profile);
  return p;
}

TEST(PlanRoundTrip, RandomPlansComeBackEqual) {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const Plan plan = random_plan(seed);
    const auto bytes = write_plan(plan);
    const Plan back = read_plan(bytes, nullptr);
    expect_equal(plan, back);
    EXPECT_EQ(write_plan(back), bytes);
  }
}

TEST(PlanRoundTrip, WeightsOfAnAlignedFileAreNotCopied) {
  const Plan plan = test::compile_small();
  const auto path = std::filesystem::temp_directory_path() / "headrace_round_trip.plan";
  save_plan(plan, path);
  const Plan back = load_plan(path);
  expect_equal(plan, back);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(back.weights.data()) % 64, 0u);
  const auto bytes = write_plan(plan);
  std::vector<std::byte> shifted(bytes.size() + 65);
  auto* at = shifted.data();
  while (reinterpret_cast<std::uintptr_t>(at) % 64 != 0) ++at;
  std::memcpy(at, bytes.data(), bytes.size());
  const Plan aligned = read_plan({at, bytes.size()}, nullptr);
  EXPECT_EQ(aligned.weights.data(), at + (bytes.size() - plan.weights.size()));
  std::memmove(at + 1, at, bytes.size());
  const Plan copied = read_plan({at + 1, bytes.size()}, nullptr);
  expect_equal(plan, copied);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(copied.weights.data()) % 64, 0u);
  std::filesystem::remove(path);
}

TEST(PlanRoundTrip, SaveLeavesTheOldFileWhenTheFolderIsMissing) {
  EXPECT_THROW(save_plan(test::compile_small(), "/nonexistent-folder/x.plan"), Error);
  EXPECT_THROW(static_cast<void>(load_plan("/nonexistent-folder/x.plan")), Error);
}

}  // namespace
}  // namespace headrace
