// D-62: one file name for plans of different precisions, and nothing that tells them apart.
#include "cli/cli_test.h"

namespace headrace::test {
namespace {

struct T_PLAN_ID : CliTest {
  /// The fp16 plan overwrites the one of before.
  std::string overwritten() {
    write_all(path("small.onnx"), SmallModel().onnx());
    for (const char* precision : {"fp32", "fp16"}) {
      const CommandResult r = headrace({"build", path("small.onnx"), "-o", path("small.plan"), "--device",
                                        "reference", "--opt-level", "0", "--precision", precision,
                                        "--profile", "*=1:2:2", "--profile", "*=5:6:7"});
      EXPECT_EQ(r.exit_code, 0) << r.err;
      EXPECT_THAT(r.err, HasSubstr("1 warning in this build:\n  ")) << "T-WARN: the gap between the profiles";
    }
    return path("small.plan");
  }
};

TEST_F(T_PLAN_ID, seedway) { EXPECT_EQ(headrace({"run", overwritten(), "--seed", "1"}).exit_code, 0); }

TEST_F(T_PLAN_ID, ours) {
  const std::string plan = overwritten();
  for (const std::string command : {"run", "bench"}) {
    std::vector<std::string> arguments{command, plan, "--expect", "fp32"};
    if (command == "run") arguments.insert(arguments.end(), {"--seed", "1"});
    const CommandResult r = headrace(arguments);
    EXPECT_EQ(r.exit_code, 6) << command;
    EXPECT_THAT(r.err, HasSubstr("the plan was built in fp16, but fp32 is expected"));
  }
  EXPECT_EQ(headrace({"run", plan, "--seed", "1", "--expect", "fp16"}).exit_code, 0);
  EXPECT_EQ(headrace({"run", plan, "--seed", "1", "--expect", "half"}).exit_code, 2);
}

}  // namespace
}  // namespace headrace::test
