// bench timing, camera and serve as commands: on the CPU with a plan and a model, on sim without either.
#include "cli/cli_test.h"

namespace headrace::test {
namespace {

struct CliWorkload : CliTest {
  Json json_of(std::vector<std::string> arguments, int exit_code = 0) const {
    arguments.insert(arguments.end(), {"--json", "-"});
    const CommandResult r = headrace(arguments);
    EXPECT_EQ(r.exit_code, exit_code) << r.err;
    return Json::parse(r.out);
  }
};

const Json& series(const Json& batch, const std::string& name) {
  for (const Json& s : batch["series"])
    if (s["name"] == name) return s;
  throw std::runtime_error("no series " + name);
}

TEST_F(CliWorkload, TimingOnACpuSaysWhatIsNotThere) {
  const std::string plan = build_small();
  const auto timing = [&] {
    return json_of({"bench", "timing", plan, "--batch", "1", "--batch", "4", "--repeats", "20"});
  };
  const Json json = timing();
  ASSERT_EQ(json["batches"].size(), 2u);
  EXPECT_EQ(json["batches"][1]["shapes"]["x"], Json({4, 3, 6, 6}));
  const Json& first = json["batches"][0];
  for (const char* name : {"enqueue", "upload", "download"}) {
    EXPECT_NE(series(first, name)["why_not"], "") << name;
    EXPECT_FALSE(series(first, name).contains("n")) << name;
  }
  for (const char* name : {"submit", "device", "end to end"}) {
    EXPECT_EQ(series(first, name)["n"], 20) << name;
    EXPECT_EQ(series(first, name)["samples_ns"].size(), 20u) << name;
    EXPECT_EQ(series(first, name)["run"], first["run"]) << name;
  }
  EXPECT_GE(series(first, "end to end")["median_us"], series(first, "device")["median_us"]);
  EXPECT_EQ(first["enqueue_bound"], false);
  EXPECT_EQ(first["tracing"], false);
  // D-38: another run has another name and other samples.
  const Json again = timing();
  EXPECT_NE(again["batches"][0]["run"], first["run"]);
  EXPECT_NE(series(again["batches"][0], "end to end")["samples_ns"],
            series(first, "end to end")["samples_ns"]);
  const CommandResult text = headrace({"bench", "timing", plan, "--repeats", "5"});
  EXPECT_THAT(text.out, HasSubstr("upload       none: device memory is host memory"));
  EXPECT_THAT(text.out, HasSubstr("enqueue-bound: no"));
}

TEST_F(CliWorkload, TimingTakesAModel) {
  write_all(path("small.onnx"), SmallModel().onnx());
  const std::vector<std::string> model = {"bench", "timing", "--onnx", path("small.onnx"), "--repeats", "3"};
  for (const char* device : {"cpu", "sim"}) {
    std::vector<std::string> arguments = model;
    arguments.insert(arguments.end(), {"--device", device, "--batch", "2"});
    const Json json = json_of(arguments);
    EXPECT_EQ(json["batches"][0]["device"], device);
    EXPECT_EQ(json["batches"][0]["shapes"]["x"], Json({2, 3, 6, 6}));
  }
}

TEST_F(CliWorkload, CameraOnACpu) {
  write_all(path("small.onnx"), SmallModel().onnx());
  const std::vector<std::string> arguments = {
      "bench",    "camera", "--onnx",    path("small.onnx"),  "--device",        "cpu",
      "--frames", "30",     "--compare", "pageable,arena,u8", "--preprocess-ms", "1"};
  const Json json = json_of(arguments);
  EXPECT_EQ(json["distinct_images"], 17);
  ASSERT_EQ(json["ways"].size(), 2u) << "no un-awaited loop on a real device";
  for (const Json& way : json["ways"]) {
    EXPECT_EQ(way["delivered"], 30);
    EXPECT_EQ(way["wrong"], 0);
    EXPECT_EQ(way["torn"], 0);
    EXPECT_EQ(way["age"]["n"], 30);
  }
  ASSERT_EQ(json["memory"].size(), 3u);
  EXPECT_EQ(json["memory"][2]["upload_bytes"], 108);
  for (const Json& m : json["memory"]) {
    EXPECT_EQ(m["wrong"], 0) << m;
    EXPECT_TRUE(m["overhead_us"].is_null());
  }
  std::vector<std::string> broken = arguments;
  broken.insert(broken.end(), {"--break-frame", "3"});
  expect_failure(broken, 11, "2 results are not those of their frame");
}

TEST_F(CliWorkload, ServeOnACpu) {
  const std::string plan = build_small();
  const std::vector<std::string> arguments = {
      "bench", "serve",          plan,  "--max-batch",   "4",   "--requests", "200", "--rate",
      "2000",  "--max-delay-us", "200", "--deadline-ms", "1000"};
  const Json json = json_of(arguments);
  EXPECT_EQ(json["latency"]["n"], 200);
  EXPECT_EQ(json["offered_per_s"], 2000);
  EXPECT_EQ(json["wrong"], 0);
  EXPECT_EQ(json["arrivals_ns"].size(), 200u);
  EXPECT_GE(json["mean_batch"], 1);
  EXPECT_LE(json["mean_batch"], 4);
  EXPECT_GT(json["closed_loop_per_s"], 0);
  EXPECT_GT(json["latency"]["min_us"], 0);
  std::vector<std::string> broken = arguments;
  broken.insert(broken.end(), {"--break-request", "3"});
  expect_failure(broken, 11, "1 results are not those of their request");
}

TEST_F(CliWorkload, WrongFlagsAndValues) {
  const std::string plan = build_small();
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"bench", "timing", plan, "--onnx", path("small.onnx")},
        {"bench", "timing", plan, "--repeats", "0"},
        {"bench", "camera", plan, "--frames", "1"},
        {"bench", "camera", plan, "--overflow", "explode"},
        {"bench", "camera", plan, "--fps", "-3"},
        {"bench", "serve", plan, "--rate", "5", "--load", "0.5"},
        {"bench", "serve", plan, "--max-batch", "0"}}) {
    const CommandResult r = headrace(arguments);
    EXPECT_EQ(r.exit_code, 2) << testing::PrintToString(arguments) << r.err;
    EXPECT_EQ(r.out, "");
  }
  expect_failure({"bench", "timing"}, 3, "there is nothing to run");
  expect_failure({"bench", "timing", plan, "--device", "sim"}, 3, "build a plan with --device reference");
  expect_failure({"bench", "timing", plan, "--sim-spec", "x"}, 3, "do not apply");
  expect_failure({"bench", "timing", plan, "--batch", "9"}, 3, "");
  expect_failure({"bench", "camera", plan, "--compare", "u8"}, 3, "give the model with --onnx");
  expect_failure({"bench", "camera", plan, "--compare", "paper"}, 3, "no kind of memory 'paper'");
  expect_failure({"bench", "camera", plan, "--preprocess-ms", "soon"}, 3, "milliseconds or auto");
  expect_failure({"bench", "serve", plan, "--max-batch", "64"}, 3, "");
  expect_failure({"bench", "serve", "--device", "abacus", "--onnx", path("small.onnx")}, 3, "abacus");
}

}  // namespace
}  // namespace headrace::test
