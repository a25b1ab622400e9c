// Bad files and bad inputs: each has its own exit code and message, and leaves nothing behind.
#include <cmath>
#include <limits>

#include "cli/cli_test.h"

namespace headrace::test {
namespace {

struct CliBadInput : CliTest {
  void expect_build_fails(const std::string& onnx, int exit_code, const std::string& message,
                          const std::vector<std::string>& more = {}) {
    write_all(path("bad.onnx"), onnx);
    std::vector<std::string> arguments = {"build",          path("bad.onnx"), "-o",
                                          path("bad.plan"), "--opt-level",    "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_failure(arguments, exit_code, message);
    EXPECT_FALSE(fs::exists(path("bad.plan")));
  }
};

TEST_F(CliBadInput, MissingFilesAreNamed) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"build", path("none"), "-o", path("p.plan")},
                                             {"run", path("none"), "--seed", "1"},
                                             {"bench", path("none")},
                                             {"inspect", path("none")},
                                             {"verify", path("none")}})
    expect_failure(arguments, 7, "error (io): cannot read '" + path("none") + "': No such file or directory");
  const std::string plan = build_small();
  expect_failure({"run", plan, "--input", "x=" + path("none.npy")}, 7,
                 "cannot read '" + path("none.npy") + "': No such file or directory");
}

TEST_F(CliBadInput, FoldersAreNoFiles) {
  expect_failure({"build", folder_.string(), "-o", path("p.plan")}, 7, folder_.string());
  expect_failure({"run", folder_.string(), "--seed", "1"}, 7, folder_.string());
}

TEST_F(CliBadInput, NotAnOnnxFile) {
  expect_build_fails("This is a text about turbines, not a model.\n", 4, "not a valid ONNX file");
  expect_build_fails("", 4, "the model is empty");
  expect_build_fails(std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16), 4, "not a valid ONNX file");
}

TEST_F(CliBadInput, TruncatedModelAtAnyPlace) {
  const std::string model = SmallModel().onnx();
  for (const std::size_t size : {1ul, 20ul, 100ul, model.size() / 2, model.size() - 10, model.size() - 1})
    expect_build_fails(model.substr(0, size), 4, "not a valid ONNX file: truncated data in ModelProto field");
}

TEST_F(CliBadInput, CyclicGraph) {
  OnnxWriter w;
  w.input("x", kOnnxFloat, {2});
  w.node("Add", {"x", "b"}, {"a"}, {}, "first");
  w.node("Relu", {"a"}, {"b"}, {}, "second");
  w.output("b", kOnnxFloat, {2});
  expect_build_fails(w.model(), 4,
                     "the graph is cyclic: 2 nodes wait for each other's outputs, among them 'first'");
}

TEST_F(CliBadInput, MissingInitializer) {
  OnnxWriter w;
  w.input("x", kOnnxFloat, {2});
  w.node("Add", {"x", "no_such_weights"}, {"y"}, {}, "adder");
  w.output("y", kOnnxFloat, {2});
  expect_build_fails(w.model(), 4,
                     "node 'adder' (Add, opset 17): input 'no_such_weights' is defined nowhere");
}

TEST_F(CliBadInput, RawAndTypedDataInOneTensor) {
  std::string tensor = onnx_tensor<float>("c", kOnnxFloat, {2}, {1, 2});
  const float typed[] = {3, 4};
  protozero::pbf_writer(tensor).add_packed_float(4, typed, typed + 2);
  OnnxWriter w;
  w.input("x", kOnnxFloat, {2});
  w.initializer(tensor);
  w.node("Add", {"x", "c"}, {"y"});
  w.output("y", kOnnxFloat, {2});
  expect_build_fails(w.model(), 4, "tensor 'c': has both raw and typed data");
}

TEST_F(CliBadInput, GiantDimsAndAHundredBytesAskingForGigabytes) {
  const std::vector<std::pair<std::vector<std::int64_t>, std::string>> cases = {
      {{1 << 20, 1 << 20}, "has 0 bytes of data, but 1048576x1048576 of f32 needs 4398046511104"},
      {{std::int64_t{1} << 40, std::int64_t{1} << 40, 4},
       "its dimensions multiply to more than 64 bits hold"},
      {{-1, 4}, "negative dimension -1"}};
  for (const auto& [dims, message] : cases) {
    OnnxWriter w;
    w.input("x", kOnnxFloat, {1});
    w.initializer("c", kOnnxFloat, dims, std::vector<float>{});
    w.node("Add", {"x", "c"}, {"y"});
    w.output("y", kOnnxFloat, {1});
    EXPECT_LT(w.model().size(), 128u);
    expect_build_fails(w.model(), 4, "tensor 'c': " + message);
  }
}

TEST_F(CliBadInput, ConstantOfShapeAskingForTerabytes) {
  OnnxWriter w;
  w.input("x", kOnnxFloat, {1});
  w.initializer("shape", kOnnxInt64, {2}, std::vector<std::int64_t>{1 << 21, 1 << 21});
  w.node("ConstantOfShape", {"shape"}, {"big"});
  w.node("Add", {"x", "big"}, {"y"});
  w.output("y", kOnnxFloat, {1 << 21, 1 << 21});
  write_all(path("big.onnx"), w.model());
  ASSERT_EQ(headrace({"build", path("big.onnx"), "-o", path("big.plan"), "--opt-level", "0"}).exit_code, 0);
  EXPECT_LT(fs::file_size(path("big.plan")), 100000u) << "the terabytes are not folded into the plan";
  expect_failure({"run", path("big.plan"), "--seed", "1"}, 8, "17592186044416 bytes");
  expect_failure({"run", path("big.plan"), "--seed", "1", "--memory-budget", "1G"}, 8, "1073741824 bytes");
}

TEST_F(CliBadInput, FunctionsThreeThousandDeep) {
  OnnxWriter w;
  w.input("x", kOnnxFloat, {2});
  for (int i = 0; i < 3000; ++i)
    w.function("deep", "f" + std::to_string(i), "f" + std::to_string(i + 1), "deep");
  w.function("deep", "f3000", "Relu", "");
  w.node("f0", {"x"}, {"y"}, {}, "outer", "deep");
  w.output("y", kOnnxFloat, {2});
  expect_build_fails(w.model(), 5, "(f64, opset 1): functions are nested more than 64 deep");
}

TEST_F(CliBadInput, UnsupportedOperatorsAreListedTogether) {
  OnnxWriter w;
  w.input("x", kOnnxFloat, {2});
  w.node("Frobnicate", {"x"}, {"a"}, {}, "one");
  w.node("Wibble", {"a"}, {"y"}, {}, "two");
  w.output("y", kOnnxFloat, {2});
  expect_build_fails(
      w.model(), 5,
      "2 unsupported operators: Frobnicate (1 node, first 'one'), Wibble (1 node, first 'two')");
}

TEST_F(CliBadInput, ProfileThatContradictsTheModel) {
  const std::string model = SmallModel().onnx();
  const auto expect_refused = [&](const std::string& profile, const std::string& message) {
    expect_build_fails(model, 3, "the profile does not fit the model: " + message, {"--profile", profile});
  };
  expect_refused("z=1x3x6x6", "there is no input 'z'; the inputs are 'x'");
  expect_refused("x=1x4x6x6:2x4x6x6:4x4x6x6", "input 'x', axis 1: the model says 3, the profile 4:4:4");
  expect_refused("x=1x3x6", "input 'x' has rank 4 (Nx3x6x6), but the profile gives 1x3x6");
  expect_refused("x=4x3x6x6:2x3x6x6:1x3x6x6", "input 'x', axis 0: min 4, opt 2, max 1 are not in order");
  expect_refused("*=4:2:1", "input 'x', axis 0: min 4, opt 2, max 1 are not in order");
  expect_refused("*=1x3:2x3:4x3", "'*' takes one extent each, the batch, but got 1x3, 2x3 and 4x3");
}

TEST_F(CliBadInput, BatchOutsideTheProfileNamesTheRange) {
  const std::string plan = build_small();
  expect_failure({"run", plan, "--seed", "1", "--batch", "5"}, 3, "1 to 4");
  expect_failure({"bench", plan, "--batch", "5"}, 3, "1 to 4");
  const std::string x = save_f32("x.npy", {5, 3, 6, 6}, std::vector<float>(540));
  expect_failure({"run", plan, "--input", "x=" + x}, 3, "axis 0 is 5, but the plan allows 1 to 4");
}

TEST_F(CliBadInput, WrongTypeShapeOrNameOfAnInput) {
  const std::string plan = build_small();
  const std::vector<double> doubles(108);
  save_npy(path("f64.npy"), ConstTensorView(std::span(doubles), {1, 3, 6, 6}));
  expect_failure({"run", plan, "--input", "x=" + path("f64.npy")}, 3,
                 "input 'x' takes f32, but the tensor given holds f64");
  const std::string channels = save_f32("channels.npy", {1, 4, 6, 6}, std::vector<float>(144));
  expect_failure({"run", plan, "--input", "x=" + channels}, 3, "axis 1 is 4, but the plan allows 3");
  const std::string rank = save_f32("rank.npy", {3, 6, 6}, std::vector<float>(108));
  expect_failure({"run", plan, "--input", "x=" + rank}, 3, "rank 4");
  const std::string good = save_f32("good.npy", {1, 3, 6, 6}, std::vector<float>(108));
  expect_failure({"run", plan, "--input", "x=" + good, "--input", "z=" + good}, 3,
                 "no input 'z'; its inputs are 'x'");
  expect_failure({"run", plan, "--input", "x=" + good, "--input", "x=" + good}, 3, "given twice");
  expect_failure({"run", plan}, 3, "input 'x' (f32 Nx3x6x6) is missing");
  expect_failure({"run", plan, "--input", "x=" + good, "--seed", "1", "--shapes", "x=1x3x6x6"}, 3,
                 "drop its --shapes");
  expect_failure({"run", plan, "--input", "x=" + plan}, 3, "is not a NumPy .npy file");
}

TEST_F(CliBadInput, NanInputsFlowThrough) {
  std::vector<float> values(216, 0.25f);
  values[108] = std::numeric_limits<float>::quiet_NaN();  // only the second image
  const std::string x = save_f32("x.npy", {2, 3, 6, 6}, values);
  const auto expect_nan_in_the_second = [&](const std::string& onnx, const std::string& device) {
    write_all(path("m.onnx"), onnx);
    ASSERT_EQ(
        headrace({"build", path("m.onnx"), "-o", path("m.plan"), "--device", device, "--opt-level", "0"})
            .exit_code,
        0);
    const CommandResult r = headrace({"run", path("m.plan"), "--input", "x=" + x, "--output", path("out")});
    ASSERT_EQ(r.exit_code, 0) << r.err;
    const Tensor y = load_npy(path("out/y.npy"));
    const std::size_t half = y.as<float>().size() / 2;
    for (std::size_t i = 0; i < half; ++i) EXPECT_FALSE(std::isnan(y.as<float>()[i])) << device << " " << i;
    EXPECT_TRUE(std::isnan(y.as<float>()[half])) << device;
  };
  OnnxWriter relu;
  relu.input("x", kOnnxFloat, {"N", 3, 6, 6});
  relu.node("Relu", {"x"}, {"y"});
  relu.output("y", kOnnxFloat, {"N", 3, 6, 6});
  for (const std::string device : {"cpu", "reference"}) {
    expect_nan_in_the_second(relu.model(), device);
    expect_nan_in_the_second(SmallModel().onnx(/*with_relu=*/false), device);
    expect_nan_in_the_second(SmallModel().onnx(), device);  // conv and relu become one step
  }
}

TEST_F(CliBadInput, UnwritableOutputs) {
  const std::string plan = build_small(), model = path("small.onnx"), below_a_file = plan + "/x";
  expect_failure({"build", model, "-o", path("no/such/folder/p.plan"), "--opt-level", "0"}, 7,
                 "no/such/folder");
  expect_failure({"build", model, "-o", below_a_file, "--opt-level", "0"}, 7, below_a_file);
  expect_failure({"run", plan, "--seed", "1", "--output", below_a_file}, 7, below_a_file);
  expect_failure({"run", plan, "--seed", "1", "--json", below_a_file}, 7, below_a_file);
  expect_failure({"env", "--json", below_a_file}, 7, below_a_file);
}

TEST_F(CliBadInput, AFailingBuildLeavesTheOldPlanAlone) {
  const std::string plan = build_small();
  const std::string old = read_all(plan);
  write_all(path("bad.onnx"), "no model");
  expect_failure({"build", path("bad.onnx"), "-o", plan}, 4, "not a valid ONNX file");
  expect_failure({"build", path("small.onnx"), "-o", plan, "--memory-budget", "100"}, 8, "100 bytes");
  EXPECT_EQ(read_all(plan), old);
  for (const auto& entry : fs::directory_iterator(folder_))
    EXPECT_THAT(entry.path().filename().string(), testing::AnyOf("small.onnx", "small.plan", "bad.onnx"));
}

TEST_F(CliBadInput, DamagedPlans) {
  const std::string good = read_all(build_small());
  const auto expect_refused = [&](const std::string& bytes, const std::string& message) {
    write_all(path("bad.plan"), bytes);
    expect_failure({"run", path("bad.plan"), "--seed", "1"}, 6, message);
    expect_failure({"inspect", path("bad.plan")}, bytes.empty() ? 4 : 6, bytes.empty() ? "empty" : message);
  };
  expect_refused("", "not a headrace plan");
  for (const std::size_t size : {4ul, 127ul, 128ul, good.size() / 2, good.size() - 1})
    expect_refused(good.substr(0, size), "truncated");
  expect_refused(good + "x", "after its end");
  std::string version = good;
  ++version[8];
  expect_refused(version, "build it again");
  EXPECT_THAT(headrace({"inspect", path("bad.plan")}).err, HasSubstr("format version"));
  for (const std::size_t at : {20ul, 127ul, 140ul, good.size() / 2, good.size() - 1}) {
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    expect_refused(flipped, "damaged");
  }
  write_all(path("other"),
            "Not a plan at all, but long enough to hold a header "
            "..............................................................................");
  expect_failure({"run", path("other"), "--seed", "1"}, 6, "not a headrace plan");
  expect_failure({"run", path("small.onnx"), "--seed", "1"}, 6, "make one with `headrace build`");
}

TEST_F(CliBadInput, OverTheMemoryBudget) {
  const std::string plan = build_small();
  expect_failure({"run", plan, "--seed", "1", "--memory-budget", "1K"}, 8, "1024 bytes");
  EXPECT_EQ(headrace({"run", plan, "--seed", "1", "--memory-budget", "64M"}).exit_code, 0);
}

}  // namespace
}  // namespace headrace::test
