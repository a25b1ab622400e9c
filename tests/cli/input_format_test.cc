// --input-format: what a camera gives goes in as it is.
#include "cli/cli_test.h"

namespace headrace::test {
namespace {

const char kFormat[] = "x=u8,nhwc,scale=1/255,mean=0.5:0.4:0.3,std=0.2:0.25:0.5";

struct CliInputFormat : CliTest {
  CommandResult build(const std::vector<std::string>& more, const std::string& device = "reference") {
    write_all(path("small.onnx"), SmallModel().onnx());
    std::vector<std::string> arguments{"build", path("small.onnx"), "-o", path("small.plan"), "--device",
                                       device,  "--opt-level",      "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return headrace(arguments);
  }
};

TEST_F(CliInputFormat, BytesOfACameraGiveWhatTheirConversionGives) {
  CommandResult r = build({"--input-format", kFormat, "--profile", "x=1x6x6x3:2x6x6x3:4x6x6x3"}, "cpu");
  ASSERT_EQ(r.exit_code, 0) << r.err;

  Tensor image(DType::u8, {2, 6, 6, 3});
  std::vector<float> converted(2 * 3 * 36);
  const double mean[] = {0.5, 0.4, 0.3}, deviation[] = {0.2, 0.25, 0.5};
  std::mt19937 random(7);
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t pixel = 0; pixel < 36; ++pixel)
      for (std::size_t c = 0; c < 3; ++c) {
        const auto byte = static_cast<std::uint8_t>(random());
        image.as<std::uint8_t>()[(n * 36 + pixel) * 3 + c] = byte;
        converted[(n * 3 + c) * 36 + pixel] = static_cast<float>((byte / 255.0 - mean[c]) / deviation[c]);
      }
  save_npy(path("x.npy"), image.view());
  r = headrace({"run", path("small.plan"), "--input", "x=" + path("x.npy"), "--output", path("out")});
  ASSERT_EQ(r.exit_code, 0) << r.err;
  const Tensor y = load_npy(path("out/y.npy"));
  const std::vector<double> expected = SmallModel().evaluate(converted, 2);
  ASSERT_EQ(y.shape(), (Shape{2, 5}));
  for (std::size_t i = 0; i < 10; ++i) EXPECT_NEAR(y.as<float>()[i], expected[i], 1e-4);

  const Json plan = Json::parse(headrace({"inspect", path("small.plan"), "--json", "-"}).out);
  EXPECT_EQ(plan["inputs"][0]["dtype"], "u8");
  EXPECT_EQ(plan["inputs"][0]["shape"], "Nx6x6x3");
  EXPECT_THAT(plan["inputs"][0]["format"].get<std::string>(), HasSubstr("u8,nhwc,scale=0.0039"));
  EXPECT_EQ(headrace({"run", path("small.plan"), "--seed", "1", "--batch", "3"}).exit_code, 0);
  EXPECT_EQ(headrace({"bench", path("small.plan"), "--iterations", "3"}).exit_code, 0);
}

TEST_F(CliInputFormat, ChecksSeeTheSameInput) {
  for (const std::string format : {"x=u8,nhwc,scale=1/255,mean=0.5", "*=f16,std=0.5"}) {
    const CommandResult r =
        build({"--input-format", format, "--precision", "fp16", "--accuracy-budget", "0.01", "--json", "-"});
    ASSERT_EQ(r.exit_code, 0) << r.err;
    const Json accuracy = Json::parse(r.out)["accuracy"];
    EXPECT_GT(accuracy["outputs"][0]["relative"].get<double>(), 0);
    EXPECT_EQ(headrace({"verify", path("small.onnx"), "--input-format", format, "--per-layer"}).exit_code, 0);
  }
}

TEST_F(CliInputFormat, WrongOnesSayWhatToDo) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> wrong = {
      {{"u8"}, "--input-format takes NAME=VALUE"},
      {{"q=u8"}, "there is no such input; the inputs are 'x'"},
      {{"x=u9"}, "use u8, i8, u16, i16, f16 or f32"},
      {{"x=u8,std=0"}, "std that is 0"},
      {{"x=u8,mean=1:2"}, "has 2 numbers of mean, but the input has 3 channels"},
      {{"x=u8", "x=f16"}, "given twice for 'x'"},
  };
  for (const auto& [formats, message] : wrong) {
    std::vector<std::string> flags;
    for (const std::string& f : formats) flags.insert(flags.end(), {"--input-format", f});
    const CommandResult r = build(flags);
    EXPECT_EQ(r.exit_code, 3) << message;
    EXPECT_THAT(r.err, HasSubstr(message));
    EXPECT_FALSE(fs::exists(path("small.plan")));
  }
}

}  // namespace
}  // namespace headrace::test
