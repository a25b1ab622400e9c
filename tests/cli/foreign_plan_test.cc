// Plans that another machine made: what can run does, with a warning; what cannot says so.
#include <cmath>

#include "cli/cli_test.h"
#include "plan/plan.h"

namespace headrace::test {
namespace {

struct CliForeignPlan : CliTest {
  /// A plan with `change` applied, written anew with right checksums.
  template <class Change>
  std::string changed(Change change) {
    Plan plan = load_plan(build_small());
    change(plan);
    save_plan(plan, path("foreign.plan"));
    return path("foreign.plan");
  }
};

TEST_F(CliForeignPlan, OfAnotherCpuRunsWithAWarning) {
  const std::string plan = changed([](Plan& p) { p.device_model = "A CPU of long ago"; });
  const CommandResult r = headrace({"run", plan, "--seed", "1", "--output", path("theirs")});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_THAT(r.err, HasSubstr("the plan was tuned on 'A CPU of long ago', this machine is '"));
  EXPECT_EQ(headrace({"inspect", plan}).exit_code, 0);
  const CommandResult own = headrace({"run", path("small.plan"), "--seed", "1", "--output", path("ours")});
  ASSERT_EQ(own.exit_code, 0);
  EXPECT_EQ(own.err, "") << "a plan of this machine warns of nothing";
  EXPECT_EQ(read_all(path("theirs/y.npy")), read_all(path("ours/y.npy")));
}

TEST_F(CliForeignPlan, WithWeightsPackedForAnotherCpuIsRefused) {
  std::size_t packed = 0;
  const std::string plan = changed([&](Plan& p) {
    p.device_model = "A CPU of long ago";
    for (PlanTensor& t : p.tensors)
      if (t.layout == Layout::packed) {
        t.format = "a form of long ago";
        ++packed;
      }
  });
  if (packed == 0) GTEST_SKIP() << "this machine packs no weights of the small model";
  expect_failure({"run", plan, "--seed", "1"}, 6,
                 "the plan's weights were packed for 'A CPU of long ago' by cpu.");
  EXPECT_THAT(headrace({"run", plan, "--seed", "1"}).err, HasSubstr("build the plan again here"));
}

TEST_F(CliForeignPlan, WithATacticOfAnotherHeadraceIsRefused) {
  expect_failure(
      {"run", changed([](Plan& p) { p.steps.front().tactic = "cpu.of.tomorrow"; }), "--seed", "1"}, 6,
      "with the tactic 'cpu.of.tomorrow', which this headrace does not have; build the plan again");
}

#ifdef HEADRACE_CUDA
TEST_F(CliForeignPlan, ForAGpuThatIsNotThereIsAnErrorAndNoRunOnTheCpu) {
  if (default_device().name != "cpu") GTEST_SKIP() << "there is a GPU";
  const std::string plan = changed([](Plan& p) { p.device = "cuda"; });
  for (const char* command : {"run", "bench"}) {
    std::vector<std::string> words = {command, plan};
    if (words[0] == "run") words.insert(words.end(), {"--seed", "1"});
    expect_failure(words, 9, "while opening 'cuda', for which the plan was built");
    EXPECT_THAT(headrace(words).err, HasSubstr("`--device cpu`"));
  }
  write_all(path("m.onnx"), SmallModel().onnx());
  expect_failure({"build", path("m.onnx"), "-o", path("m.plan"), "--device", "cuda:0"}, 9, "CUDA");
  EXPECT_FALSE(fs::exists(path("m.plan")));
}
#endif

TEST_F(CliForeignPlan, OfAnotherKindOfDeviceIsRefused) {
  expect_failure({"run", build_small(), "--seed", "1", "--device", "reference"}, 3, "");
}

TEST_F(CliForeignPlan, ForADeviceThatIsNotThereIsRefused) {
  expect_failure({"run", changed([](Plan& p) { p.device = "abacus:0"; }), "--seed", "1"}, 6,
                 "the plan was built for the device 'abacus:0', which this build of headrace does not have");
}

}  // namespace
}  // namespace headrace::test
