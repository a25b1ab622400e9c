// A plan from a stranger: changed, with checksums made right. It is refused, or it runs without touching
// memory that is not its own (this suite runs under the address sanitizer).
#include <gtest/gtest.h>

#include "plan_util.h"

namespace headrace {
namespace {

std::shared_ptr<std::vector<std::byte>> aligned(const std::vector<std::byte>& b) {
  return std::make_shared<std::vector<std::byte>>(b);
}

/// How many of `count` damaged copies ran all the same.
int run_changed_files(const std::vector<std::byte>& good, int count) {
  std::mt19937 random(1);
  int ran = 0;
  for (int i = 0; i < count; ++i) {
    auto bytes = aligned(good);
    const int changes = 1 + static_cast<int>(random() % 3);
    for (int c = 0; c < changes; ++c) {
      const std::size_t at =
          sizeof(plan_file::Header) + random() % (bytes->size() - sizeof(plan_file::Header));
      switch (random() % 4) {
        case 0: (*bytes)[at] = static_cast<std::byte>(random()); break;
        case 1: (*bytes)[at] ^= static_cast<std::byte>(1u << (random() % 8)); break;
        case 2:
          (*bytes)[at] = static_cast<std::byte>(static_cast<int>((*bytes)[at]) + (random() % 2 ? 1 : -1));
          break;
        case 3: (*bytes)[at] = random() % 2 ? std::byte{0xff} : std::byte{0}; break;
      }
    }
    test::repair(*bytes);
    try {
      ran += test::run_or_refuse(std::make_shared<const Plan>(read_plan(*bytes, bytes)));
    } catch (const Error&) {
    }
  }
  return ran;
}

// Many changes are harmless (names, times): the tests do reach execution.
TEST(PlanMutation, FiveThousandChangedFiles) {
  EXPECT_GT(run_changed_files(write_plan(test::compile_small()), 5000), 100);
}
TEST(PlanMutation, FiveThousandChangedFilesWithRunTimeScales) {
  compiler::Options options;
  options.device = "reference";
  options.opt_level = 0;
  const Plan plan = compiler::compile(test::scaled_graph(), test::reference_registry(), options);
  ASSERT_EQ(plan.shapes.conditions().size(), 1u);
  EXPECT_GT(run_changed_files(write_plan(plan), 5000), 100);
}

/// One random change of the plan's content: far more of these reach the runtime than changed bytes do.
void change(Plan& p, std::mt19937& random) {
  const auto below = [&](std::size_t n) {
    return static_cast<std::size_t>(random() % std::max<std::size_t>(1, n));
  };
  const auto number = [&]() -> std::int64_t {
    static constexpr std::int64_t kNumbers[] = {
        0, 1, -1, 2, 3, 4, 5, 7, 8, 16, 31, 48, 64, 1000, 1 << 20, INT32_MAX, INT64_MAX, INT64_MIN, -2, -3};
    return kNumbers[below(std::size(kNumbers))];
  };
  PlanStep& step = p.steps[below(p.steps.size())];
  PlanTensor& tensor = p.tensors[below(p.tensors.size())];
  const auto any_tensor = [&] { return static_cast<std::int32_t>(below(p.tensors.size())); };
  switch (below(14)) {
    case 0:
      if (!step.op.ints.empty()) step.op.ints[below(step.op.ints.size())] = number();
      break;
    case 1:
      if (!step.op.ints.empty())
        step.op.ints[below(step.op.ints.size())] += static_cast<std::int64_t>(below(5)) - 2;
      break;
    case 2:
      if (!step.inputs.empty()) step.inputs[below(step.inputs.size())] = any_tensor();
      break;
    case 3: step.outputs[below(step.outputs.size())] = any_tensor(); break;
    case 4:
      if (!tensor.shape.empty()) tensor.shape[below(tensor.shape.size())] = Dim(number());
      break;
    case 5: tensor.dtype = static_cast<DType>(below(12)); break;
    case 6: tensor.layout = static_cast<Layout>(below(3)); break;
    case 7:
      tensor.view = static_cast<ViewKind>(1 + below(2));
      tensor.parent = any_tensor();
      tensor.offsets.assign(tensor.view == ViewKind::window ? tensor.shape.size() : 0, Dim(0));
      if (!tensor.offsets.empty() && below(2)) tensor.offsets[below(tensor.offsets.size())] = Dim(number());
      break;
    case 8:
      if (!tensor.offsets.empty()) tensor.offsets[below(tensor.offsets.size())] = Dim(number());
      break;
    case 9: tensor.weight_offset = below(2) ? 64 * below(4) : static_cast<std::uint64_t>(number()); break;
    case 10: std::swap(p.steps[below(p.steps.size())], p.steps[below(p.steps.size())]); break;
    case 11: std::swap(step.op, p.steps[below(p.steps.size())].op); break;
    case 12: step.tactic = p.steps[below(p.steps.size())].tactic; break;
    case 13: {
      Profile& profile = p.profiles[0];
      ProfileRange& r = profile[below(profile.size())];
      if (!r.opt.empty()) r.opt[below(r.opt.size())] = number() & 0x3f;
      break;
    }
  }
}

TEST(PlanMutation, FiveThousandChangedContents) {
  const Plan good = test::compile_small();
  std::mt19937 random(2);
  int ran = 0, reached = 0;
  for (int i = 0; i < 5000; ++i) {
    Plan plan = good;
    for (std::size_t c = 1 + random() % 2; c > 0; --c) change(plan, random);
    const auto bytes = std::make_shared<std::vector<std::byte>>(write_plan(plan));
    try {
      const auto read = std::make_shared<const Plan>(read_plan(*bytes, bytes));
      ++reached;
      ran += test::run_or_refuse(read);
    } catch (const Error&) {
    }
  }
  EXPECT_GT(reached, 500);
  EXPECT_GT(ran, 50);
}

}  // namespace
}  // namespace headrace
