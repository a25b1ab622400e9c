// A plan file that is not what was written is refused, each time with its own message.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan_util.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::span<const std::byte> bytes, const PlanLimits& limits = {}) {
  try {
    static_cast<void>(read_plan(bytes, nullptr, limits));
  } catch (const Error& e) {
    return std::string(to_string(e.code())) + ": " + e.what();
  }
  return "accepted";
}

TEST(PlanDamage, EveryByteCounts) {
  auto bytes = write_plan(test::compile_small());
  for (std::size_t i = 0; i < bytes.size(); ++i)
    for (int bit : {0, 3, 7}) {
      bytes[i] ^= std::byte(1 << bit);
      EXPECT_NE(refusal(bytes), "accepted") << "byte " << i << " bit " << bit;
      bytes[i] ^= std::byte(1 << bit);
    }
  EXPECT_EQ(refusal(bytes), "accepted");
}

TEST(PlanDamage, EveryTruncationIsRefused) {
  const auto bytes = write_plan(test::compile_small());
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    const std::string why = refusal(std::span(bytes).first(n));
    EXPECT_THAT(why, HasSubstr(n == 0 ? "not a headrace plan" : "truncated")) << n;
  }
}

TEST(PlanDamage, EachKindHasItsMessage) {
  const auto good = write_plan(test::compile_small());
  auto bytes = good;
  bytes[0] = std::byte{'X'};
  EXPECT_THAT(refusal(bytes), HasSubstr("not a headrace plan"));
  bytes = good;
  bytes[8] = std::byte{99};
  EXPECT_THAT(refusal(bytes), HasSubstr("format version 99"));
  bytes = good;
  bytes[12] ^= std::byte{1};
  EXPECT_THAT(refusal(bytes), HasSubstr("byte order"));
  bytes = good;
  bytes[20] ^= std::byte{1};
  EXPECT_THAT(refusal(bytes), HasSubstr("header is damaged"));
  bytes = good;
  bytes[200] ^= std::byte{1};
  EXPECT_THAT(refusal(bytes), HasSubstr("metadata does not match its checksum"));
  bytes = good;
  bytes.back() ^= std::byte{1};
  EXPECT_THAT(refusal(bytes), HasSubstr("weights do not match their checksum"));
  bytes = good;
  bytes.push_back(std::byte{0});
  EXPECT_THAT(refusal(bytes), HasSubstr("after its end"));
  EXPECT_THAT(refusal(good, {.memory_budget_bytes = 100}),
              HasSubstr("out_of_memory: the plan's weights need"));
}

TEST(PlanDamage, ContentThatLiesIsRefused) {
  const Plan good = test::compile_small();
  const auto why = [&](auto change) {
    Plan plan = good;
    change(plan);
    try {
      verify_plan(plan);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_plan);
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(why([](Plan&) {}), "accepted");
  EXPECT_THAT(why([](Plan& p) { p.steps[0].inputs[0] = 999; }), HasSubstr("refers to tensor 999"));
  EXPECT_THAT(why([](Plan& p) { p.steps[0].inputs[0] = -1; }), HasSubstr("refers to tensor -1"));
  EXPECT_THAT(why([](Plan& p) { p.steps[0].outputs[0] = p.inputs[0]; }), HasSubstr("an input or a weight"));
  EXPECT_THAT(why([](Plan& p) { p.steps.clear(); }), HasSubstr("nothing writes output"));
  EXPECT_THAT(why([](Plan& p) { p.steps.front().op.id = "Nonsense"; }), HasSubstr("Nonsense"));
  EXPECT_THAT(why([](Plan& p) { p.profiles.clear(); }), HasSubstr("no profile"));
  EXPECT_THAT(why([](Plan& p) {
                p.steps[0].variants = {{.profile = 1, .tactic = "t", .inputs = p.steps[0].inputs}};
              }),
              HasSubstr("variant for profile 1 of 1"));
  const auto with_two = [&](auto change) {
    return why([&](Plan& p) {
      p.profiles.push_back(p.profiles[0]);
      p.steps[0].variants = {{.profile = 1, .tactic = "t", .inputs = p.steps[0].inputs}};
      change(p, p.steps[0].variants[0]);
    });
  };
  EXPECT_EQ(with_two([](Plan&, StepVariant&) {}), "accepted");
  EXPECT_THAT(with_two([](Plan&, StepVariant& v) { v.profile = 0; }), HasSubstr("variant for profile 0"));
  EXPECT_THAT(with_two([](Plan&, StepVariant& v) { v.tactic.clear(); }), HasSubstr("names no tactic"));
  EXPECT_THAT(with_two([](Plan&, StepVariant& v) { v.inputs.pop_back(); }),
              HasSubstr("inputs for profile 1"));
  EXPECT_THAT(with_two([](Plan&, StepVariant& v) { v.inputs[0] = 999; }), HasSubstr("refers to tensor 999"));
  EXPECT_THAT(with_two([](Plan& p, StepVariant& v) { v.inputs[0] = p.outputs[0]; }),
              HasSubstr("reads another tensor for profile 1"));
  EXPECT_THAT(why([](Plan& p) { p.profiles[0][0].min[0] = 5000000; }), HasSubstr("not ordered"));
  EXPECT_THAT(why([](Plan& p) { p.tensors[0].shape[0] = Dim::of_expr(77); }),
              HasSubstr("shape expression 77"));
  EXPECT_THAT(why([](Plan& p) {
                for (PlanTensor& t : p.tensors)
                  if (t.role == TensorRole::weight) t.weight_offset = UINT64_MAX - 63;
              }),
              HasSubstr("outside the plan's"));
  EXPECT_THAT(why([](Plan& p) {
                for (std::size_t i = 0; i < p.tensors.size(); ++i)
                  if (p.tensors[i].view != ViewKind::none) p.tensors[i].parent = static_cast<std::int32_t>(i);
              }),
              HasSubstr("circle"));
  EXPECT_THAT(why([](Plan& p) { std::reverse(p.steps.begin(), p.steps.end()); }),
              HasSubstr("before anything wrote it"));
}

}  // namespace
}  // namespace headrace
