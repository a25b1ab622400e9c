// The commands in their right use: build -> run -> inspect -> bench -> verify on a model that the test makes.
#include "cli/cli_test.h"

#include <cmath>
#include <map>
#include <set>

namespace headrace::test {
namespace {

struct Cli : CliTest {
  /// Standard output with --json -: one JSON value and nothing else.
  Json json_of(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--json", "-"});
    const CommandResult r = headrace(arguments);
    EXPECT_EQ(r.exit_code, 0) << r.err;
    Json json = Json::parse(r.out, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << r.out;
    return json;
  }
};

TEST_F(Cli, RunComputesTheModel) {
  for (const std::string device : {"cpu", "reference"}) {
    const std::string plan = build_small({"--device", device});
    const std::vector<float> x = weights(3 * 108, 9);
    const CommandResult r = headrace(
        {"run", plan, "--input", "x=" + save_f32("x.npy", {3, 3, 6, 6}, x), "--output", path("deep/out")});
    ASSERT_EQ(r.exit_code, 0) << r.err;
    const Tensor y = load_npy(path("deep/out/y.npy"));
    ASSERT_EQ(y.shape(), (Shape{3, 5}));
    const std::vector<double> expected = SmallModel().evaluate(x, 3);
    for (std::size_t i = 0; i < 15; ++i)
      EXPECT_NEAR(y.as<float>()[i], expected[i], 1e-5) << device << " " << i;
  }
}

TEST_F(Cli, RunNeedsNoOnnxFile) {
  const std::string plan = build_small({"--device", "reference"});
  fs::remove(path("small.onnx"));
  const CommandResult r = headrace({"run", plan, "--seed", "1", "--output", path("out")});
  EXPECT_EQ(r.exit_code, 0) << r.err;
  EXPECT_TRUE(fs::exists(path("out/y.npy")));
}

TEST_F(Cli, SeedsDecideTheRandomInputs) {
  const std::string plan = build_small();
  const auto output = [&](const std::string& seed) {
    EXPECT_EQ(headrace({"run", plan, "--seed", seed, "--output", path("o")}).exit_code, 0);
    return read_all(path("o/y.npy"));
  };
  const std::string first = output("1");
  EXPECT_EQ(output("1"), first);
  EXPECT_NE(output("2"), first);
}

TEST_F(Cli, SlashesInOutputNamesBecomeUnderscores) {
  OnnxWriter w;
  w.input("in/x", kOnnxFloat, {2});
  w.node("Relu", {"in/x"}, {"out/a/y"});
  w.output("out/a/y", kOnnxFloat, {2});
  write_all(path("m.onnx"), w.model());
  ASSERT_EQ(headrace({"build", path("m.onnx"), "-o", path("m.plan"), "--opt-level", "0"}).exit_code, 0);
  const std::string x = save_f32("x.npy", {2}, {-1, 2});
  const CommandResult r = headrace({"run", path("m.plan"), "--input", "in/x=" + x, "--output", path("o")});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Tensor y = load_npy(path("o/out_a_y.npy"));
  EXPECT_EQ(y.as<float>()[0], 0);
  EXPECT_EQ(y.as<float>()[1], 2);
}

TEST_F(Cli, BuildJson) {
  build_small({"--json", path("b.json")});
  const Json json = Json::parse(read_all(path("b.json")));
  EXPECT_EQ(json["plan"], path("small.plan"));
  EXPECT_EQ(json["bytes"], fs::file_size(path("small.plan")));
  EXPECT_GT(json["layers"], 0);
  EXPECT_GT(json["seconds"], 0);
  EXPECT_EQ(json["inputs"][0]["name"], "x");
  EXPECT_EQ(json["inputs"][0]["shape"], "Nx3x6x6");
  EXPECT_EQ(json["outputs"][0]["name"], "y");
}

TEST_F(Cli, BuildVerboseListsLayersAndReasons) {
  write_all(path("small.onnx"), SmallModel().onnx());
  const CommandResult r =
      headrace({"build", path("small.onnx"), "-o", path("small.plan"), "-v", "--opt-level", "0"});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  EXPECT_THAT(r.out, testing::ContainsRegex("(cpu|reference)\\.[a-z0-9_.]+ +[Cc]onv"));
}

TEST_F(Cli, RunJson) {
  const std::string plan = build_small();
  const Json json = json_of({"run", plan, "--seed", "1", "--batch", "3", "--check-hazards"});
  EXPECT_EQ(json["outputs"][0]["name"], "y");
  EXPECT_EQ(json["outputs"][0]["dtype"], "f32");
  EXPECT_EQ(json["outputs"][0]["shape"], Json({3, 5}));
  EXPECT_EQ(json["outputs"][0]["nan"], 0);
  EXPECT_LE(json["outputs"][0]["min"], json["outputs"][0]["max"]);
  EXPECT_EQ(json["hazards"], Json::array());
}

TEST_F(Cli, InspectShowsWhereLayersComeFrom) {
  const std::string plan = build_small();
  const Json json = json_of({"inspect", plan});
  EXPECT_EQ(json["device"], "cpu");
  EXPECT_EQ(json["profiles"][0][0]["max"], Json({4, 3, 6, 6}));
  EXPECT_GE(json["memory_bytes"]["weights"], (108 + 4 + 720 + 5) * 4);
  EXPECT_EQ(json["memory_bytes"]["inputs"], 2 * 108 * 4) << "at the profile's opt batch";
  EXPECT_EQ(json["memory_bytes"]["outputs"], 2 * 5 * 4);
  EXPECT_GE(json["memory_bytes"]["activations"], 2 * 144 * 4);
  std::string origins;
  for (const Json& layer : json["layers"]) {
    EXPECT_NE(layer["tactic"], "");
    EXPECT_TRUE(layer["refused"].is_array());
    origins += layer["origins"].dump();
  }
  for (const char* node : {"conv1", "relu1", "gemm1"}) EXPECT_THAT(origins, HasSubstr(node));
  const CommandResult text = headrace({"inspect", plan, "-v"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("Nx3x6x6"));
}

TEST_F(Cli, InspectShowsAnOnnxModel) {
  write_all(path("small.onnx"), SmallModel().onnx());
  const Json json = json_of({"inspect", path("small.onnx")});
  EXPECT_THAT(json["graph"].get<std::string>(), HasSubstr("conv1"));
  EXPECT_EQ(headrace({"inspect", path("small.onnx")}).out, json["graph"].get<std::string>());
}

TEST_F(Cli, BenchJson) {
  const std::string plan = build_small();
  const Json json = json_of({"bench", plan, "--batch", "2", "--iterations", "20", "--streams", "2",
                             "--profile", "--check-hazards"});
  EXPECT_EQ(json["latency_ms"]["n"], 20);
  EXPECT_GT(json["latency_ms"]["min"], 0);
  EXPECT_LE(json["latency_ms"]["min"], json["latency_ms"]["median"]);
  EXPECT_LE(json["latency_ms"]["median"], json["latency_ms"]["p90"]);
  EXPECT_LE(json["latency_ms"]["p90"], json["latency_ms"]["p99"]);
  EXPECT_GT(json["throughput_per_s"], 0);
  EXPECT_EQ(json["shapes"]["x"], Json({2, 3, 6, 6}));
  EXPECT_EQ(json["different_results"], 0);
  EXPECT_EQ(json["hazards"], Json::array());
  EXPECT_EQ(json["device"], "cpu");
  EXPECT_GT(json["memory"]["weights"]["now"], 0);
  EXPECT_GE(json["memory"]["activations"]["high_water"], json["memory"]["activations"]["now"]);
  const Json& profile = json["profile"];
  EXPECT_GT(profile["roofline"]["bytes_per_s"], 1e8);
  double sum = 0;
  std::string nodes;
  for (const Json& layer : profile["layers"]) {
    sum += layer["us"].get<double>();
    nodes += layer["nodes"].dump();
    EXPECT_GT(layer["bytes"], 0);
    EXPECT_FALSE(layer["outputs"].empty());
    if (layer["tactic"].get<std::string>().find("matmul") != std::string::npos) {
      EXPECT_EQ(layer["flops"], 2 * 2 * 144 * 5);
    }
  }
  EXPECT_DOUBLE_EQ(profile["sum_us"].get<double>(), sum);
  for (const char* node : {"conv1", "relu1", "gemm1"}) EXPECT_THAT(nodes, HasSubstr(node));
}

TEST_F(Cli, BenchCopySaysWhatTheHostCopies) {
  const Json json =
      json_of({"bench", "copy", "--device", "cpu", "--size", "64K", "--size", "100", "--repeats", "3"});
  EXPECT_EQ(json["separate_memory"], false);
  ASSERT_EQ(json["copies"].size(), 4u);
  for (const Json& copy : json["copies"]) EXPECT_GT(copy["gb_per_s"], 0);
  EXPECT_EQ(json["copies"][0]["bytes"], 65536);
  EXPECT_THAT(headrace({"bench", "copy", "--device", "cpu", "--size", "64K", "--repeats", "1"}).out,
              HasSubstr("Device memory is host memory"));
  expect_failure({"bench", "copy", "--device", "abacus"}, 3, "there is no device 'abacus'");
  expect_failure({"bench", "copy", "--device", "cpu", "--size", "0"}, 3, "0 bytes");
  expect_failure({"bench"}, 2, "plan is required");
}

TEST_F(Cli, TheDefaultDeviceIsSaidWithTheReason) {
  const Json chosen = json_of({"env"})["default_device"];
  write_all(path("small.onnx"), SmallModel().onnx());
  const std::vector<std::string> build = {"build",        path("small.onnx"), "-o",
                                          path("d.plan"), "--opt-level",      "0"};
  EXPECT_EQ(json_of(build)["device"], chosen);
  EXPECT_THAT(headrace(build).out, HasSubstr("device: " + chosen["name"].get<std::string>() +
                                             ", by default (" + chosen["why"].get<std::string>()));
  EXPECT_THAT(headrace({"run", path("d.plan"), "--seed", "1"}).out, HasSubstr("the plan's own device"));
  std::vector<std::string> named = build;
  named.insert(named.end(), {"--device", "reference"});
  EXPECT_THAT(headrace(named).out, testing::Not(HasSubstr("by default")));
  EXPECT_EQ(json_of(named)["device"]["why"], "asked for by --device");
}

TEST_F(Cli, TraceShowsEachInference) {
  const Json json = json_of({"bench", build_small(), "--iterations", "5", "--trace", path("t.json")});
  EXPECT_EQ(json["tracing"], true);
  EXPECT_GT(json["trace"]["compute_ms"], 0);
  EXPECT_LE(json["trace"]["compute_ms"], json["trace"]["total_ms"]);
  const Json trace = Json::parse(read_all(path("t.json")));
  std::map<int, std::string> tracks;
  std::set<std::string> seen;
  std::set<int> inferences;
  for (const Json& event : trace["traceEvents"]) {
    if (event["ph"] == "M") {
      if (event["name"] == "thread_name") tracks[event["tid"]] = event["args"]["name"];
      continue;
    }
    ASSERT_EQ(event["ph"], "X");
    EXPECT_GE(event["dur"], 0);
    EXPECT_TRUE(tracks.contains(event["tid"]));
    seen.insert(event["cat"]);
    if (event["args"].contains("inference")) inferences.insert(event["args"]["inference"].get<int>());
  }
  EXPECT_EQ(json["trace"]["spans"].get<std::size_t>() + tracks.size() + 2, trace["traceEvents"].size());
  EXPECT_TRUE(seen.contains("host") && seen.contains("compute"));
  EXPECT_GE(inferences.size(), 5u);
}

TEST_F(Cli, BenchStopsAfterItsSeconds) {
  const std::string plan = build_small();
  const Json json = json_of({"bench", plan, "--seconds", "0.3"});
  EXPECT_GE(json["latency_ms"]["n"], 5);
}

TEST_F(Cli, VerifyAgreesWithTheReferenceLayerByLayer) {
  write_all(path("small.onnx"), SmallModel().onnx());
  const Json whole = json_of({"verify", path("small.onnx"), "--batch", "3"});
  EXPECT_EQ(whole["first_diverging"], "");
  ASSERT_EQ(whole["outputs"].size(), 1u);
  EXPECT_EQ(whole["outputs"][0]["name"], "y");
  EXPECT_GT(whole["outputs"][0]["scale"], 0);
  const Json layers = json_of({"verify", path("small.onnx"), "--per-layer"});
  ASSERT_GT(layers["outputs"].size(), 1u);
  EXPECT_NE(layers["outputs"].front()["name"], "y") << "layers in the order of computation";
  EXPECT_EQ(layers["outputs"].back()["name"], "y");
  EXPECT_THAT(headrace({"verify", path("small.onnx")}).out, HasSubstr("all 1 tensors agree with reference"));
}

TEST_F(Cli, VerifyFailsWhenTheToleranceIsTooSmall) {
  // A single float's rounding is more than 1e-30 of the scale: some output must differ from the double-free
  // reference.
  write_all(path("small.onnx"), SmallModel().onnx());
  const CommandResult r = headrace({"verify", path("small.onnx"), "--batch", "64", "--tolerance", "1e-30"});
  EXPECT_EQ(r.exit_code, 11) << r.out;
  EXPECT_THAT(r.err, HasSubstr("'y' is the first that differs"));
}

TEST_F(Cli, EnvJson) {
  const Json json = json_of({"env"});
  EXPECT_EQ(json["headrace"], std::string(version()));
  EXPECT_GT(json["cores"], 0);
  EXPECT_THAT(json["onnx_operators"].get<std::vector<std::string>>(),
              testing::IsSupersetOf({"Conv", "Gemm", "Relu", "Flatten"}));
}

TEST_F(Cli, SameModelSamePlanBytes) {
  const std::string first = read_all(build_small());
  EXPECT_EQ(read_all(build_small()), first);
  // With timing: the cache decides, and what it does not know it learns once.
  const std::vector<std::string> timed = {"build",        path("small.onnx"), "-o",
                                          path("t.plan"), "--timing-cache",   path("cache")};
  ASSERT_EQ(headrace(timed).exit_code, 0);
  EXPECT_GT(fs::file_size(path("cache")), 0u);
  const std::string by_time = read_all(path("t.plan")), cache = read_all(path("cache"));
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(headrace(timed).exit_code, 0);
    EXPECT_EQ(read_all(path("t.plan")), by_time);
    EXPECT_EQ(read_all(path("cache")), cache);
  }
}

TEST_F(Cli, NodeTestReportsEachFolder) {
  const auto folder = [&](const std::string& name, float expected) {
    const fs::path data = folder_ / name / "test_data_set_0";
    fs::create_directories(data);
    OnnxWriter w;
    w.input("x", kOnnxFloat, {2});
    w.node("Relu", {"x"}, {"y"});
    w.output("y", kOnnxFloat, {2});
    write_all(folder_ / name / "model.onnx", w.model());
    write_all(data / "input_0.pb", onnx_tensor<float>("x", kOnnxFloat, {2}, {-1, 2}));
    write_all(data / "output_0.pb", onnx_tensor<float>("y", kOnnxFloat, {2}, {0, expected}));
    return path(name) + "\n";
  };
  std::string list = folder("right", 2) + folder("wrong", 3) + folder("broken", 2);
  write_all(path("broken/model.onnx"), "no model");
  write_all(path("list.txt"), list);
  const CommandResult r = headrace({"node-test", "--list", path("list.txt"), "--json", path("lines.json")});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  std::ifstream lines(path("lines.json"));
  std::vector<std::string> statuses;
  for (std::string line; std::getline(lines, line);) statuses.push_back(Json::parse(line)["status"]);
  EXPECT_THAT(statuses, testing::ElementsAre("pass", "fail", "error"));
}

}  // namespace
}  // namespace headrace::test
