// Help pages and flags: unknown, missing and contradictory ones end with exit code 2 and change nothing.
#include "cli/cli_test.h"

namespace headrace::test {
namespace {

const std::vector<std::string> kCommands = {"build", "run", "bench", "inspect", "verify", "env", "demo"};

struct CliUsage : CliTest {};

TEST_F(CliUsage, HelpNamesEveryCommandAndExitCode) {
  const CommandResult r = headrace({"--help"});
  EXPECT_EQ(r.exit_code, 0);
  for (const std::string& command : kCommands)
    EXPECT_THAT(r.out, HasSubstr("\n  " + command + " ")) << command;
  EXPECT_THAT(r.out, HasSubstr("Exit codes: 0 done; 1 internal error; 2 wrong flags"));
  EXPECT_THAT(r.out, testing::Not(HasSubstr("node-test"))) << "a command for tests, hidden";
  EXPECT_EQ(r.err, "");
}

TEST_F(CliUsage, EveryCommandHasHelpAndJson) {
  for (const std::string& command : kCommands) {
    const CommandResult r = headrace({command, "--help"});
    EXPECT_EQ(r.exit_code, 0) << command;
    EXPECT_THAT(r.out, HasSubstr("--json")) << command;
  }
}

TEST_F(CliUsage, VersionIsThatOfTheLibrary) {
  const CommandResult r = headrace({"--version"});
  EXPECT_EQ(r.exit_code, 0);
  EXPECT_EQ(r.out, std::string(version()) + "\n");
}

TEST_F(CliUsage, WrongFlagsAreErrors) {
  const std::string plan = build_small(), model = path("small.onnx");
  const std::vector<std::vector<std::string>> wrong = {
      {},
      {"frobnicate"},
      {"build", model},
      {"build", "-o", path("new.plan")},
      {"build", model, "-o", path("new.plan"), "--frobnicate"},
      {"build", model, "-o", path("new.plan"), "--opt-level", "9"},
      {"build", model, "-o", path("new.plan"), "--opt-level", "fast"},
      {"build", model, "-o", path("new.plan"), "-o", path("other.plan")},
      {"build", model, "-o", path("new.plan"), "--threads", "-1"},
      {"run"},
      {"run", plan, plan},
      {"run", plan, "--batch", "2"},
      {"run", plan, "--shapes", "x=2x3x6x6"},
      {"run", plan, "--seed", "1", "--batch", "2", "--shapes", "x=2x3x6x6"},
      {"run", plan, "--seed", "1", "--batch", "0"},
      {"bench", plan, "--seconds", "1", "--iterations", "3"},
      {"bench", plan, "--batch", "2", "--shapes", "x=2x3x6x6"},
      {"bench", plan, "--streams", "0"},
      {"bench", plan, "--compare", "onnxruntime"},
      {"bench", plan, "--onnx", model},
      {"bench", plan, "--rounds", "3"},
      {"bench", plan, "--compare", "frobnicate", "--onnx", model},
      {"verify", model, "--against", "frobnicate"},
      {"verify", model, "--tolerance", "-1"},
      {"inspect"},
      {"env", "more"},
  };
  for (const auto& arguments : wrong) {
    const CommandResult r = headrace(arguments);
    EXPECT_EQ(r.exit_code, 2) << testing::PrintToString(arguments) << r.err;
    EXPECT_EQ(r.out, "") << testing::PrintToString(arguments);
    EXPECT_NE(r.err, "") << testing::PrintToString(arguments);
  }
  EXPECT_FALSE(fs::exists(path("new.plan")));
  EXPECT_FALSE(fs::exists(path("other.plan")));
  expect_failure({"frobnicate"}, 2, "'frobnicate' is no command");
}

TEST_F(CliUsage, WrongValuesSayWhatIsExpected) {
  const std::string plan = build_small(), model = path("small.onnx");
  const std::vector<std::string> build = {"build", model, "-o", path("new.plan")};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), build.begin(), build.end());
    return more;
  };
  expect_failure(with({"--profile", "x"}), 3, "NAME=VALUE");
  expect_failure(with({"--profile", "*=1:2"}), 3, "MIN:OPT:MAX");
  expect_failure(with({"--profile", "*=1:two:3"}), 3, "'two' is not a shape");
  expect_failure(with({"--profile", "*=1:2:4", "--profile", "*=1:2:4"}), 3, "profiles 0 and 1 are equal");
  expect_failure(with({"--memory-budget", "12Q"}), 3, "'12Q' is not a number of bytes");
  expect_failure(with({"--disable-pass", "frobnicate"}), 3, "frobnicate");
  expect_failure(with({"--extra-output", "frobnicate"}), 3, "frobnicate");
  expect_failure(with({"--device", "frobnicate"}), 3, "frobnicate");
  EXPECT_FALSE(fs::exists(path("new.plan")));
  expect_failure({"build", model, "-o", folder_.string()}, 3, "is a folder");
  expect_failure({"run", plan, "--input", "x"}, 3, "NAME=VALUE");
  expect_failure({"run", plan, "--seed", "1", "--shapes", "z=1x3x6x6"}, 3, "no input 'z'");
  expect_failure({"bench", plan, "--shapes", "x=1x3xsix"}, 3, "'1x3xsix' is not a shape");
}

TEST_F(CliUsage, RepeatedOptionsTakeOneValueEach) {
  // `--profile A model` must not swallow the model.
  write_all(path("small.onnx"), SmallModel().onnx());
  const CommandResult r = headrace(
      {"build", "--opt-level", "0", "--profile", "*=1:2:4", path("small.onnx"), "-o", path("a.plan")});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_TRUE(fs::exists(path("a.plan")));
}

TEST_F(CliUsage, BatchOfAModelWithoutDynamicBatchIsAnError) {
  OnnxWriter w;
  w.input("x", kOnnxFloat, {2, 3});
  w.node("Relu", {"x"}, {"y"});
  w.output("y", kOnnxFloat, {2, 3});
  write_all(path("fixed.onnx"), w.model());
  ASSERT_EQ(headrace({"build", path("fixed.onnx"), "-o", path("fixed.plan"), "--opt-level", "0"}).exit_code,
            0);
  expect_failure({"bench", path("fixed.plan"), "--batch", "4"}, 3, "--batch does not apply");
  expect_failure({"run", path("fixed.plan"), "--seed", "1", "--batch", "4"}, 3, "--batch does not apply");
}

}  // namespace
}  // namespace headrace::test
