// Models whose shapes or formulas depend on the values of float inputs: one plan, many values; and what is
// said about values that make no sense.
#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "onnx_writer.h"
#include "plan/run_util.h"

namespace headrace::onnx::test {
namespace {

using headrace::test::Tensors;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kF32 = 1, kI64 = 7, kBool = 9, kF16 = 10, kF64 = 11;

/// A model compiled, written, read again and run.
class Runner {
 public:
  explicit Runner(const Model& model) : context_(engine(model)) {}

  std::vector<HostTensor> run(const Tensors& inputs) { return headrace::test::run_context(context_, inputs); }
  std::string error(const Tensors& inputs) {
    try {
      run(inputs);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument) << e.what();
      return e.what();
    }
    return "no error";
  }
  runtime::Context& context() { return context_; }

 private:
  static runtime::EngineRef engine(const Model& model) {
    compiler::Options options;
    options.device = "reference";
    options.opt_level = 0;
    const auto bytes = std::make_shared<std::vector<std::byte>>(
        write_plan(compiler::compile(model.import(), headrace::test::reference_registry(), options)));
    return runtime::Engine::create(std::make_shared<const Plan>(read_plan(*bytes, bytes)),
                                   headrace::test::reference_registry(), {.device = {}, .threads = 1});
  }
  runtime::Context context_;
};

HostTensor tensor(DType dtype, Shape shape, const std::vector<double>& values) {
  HostTensor t(dtype, std::move(shape));
  for (std::size_t i = 0; i < values.size(); ++i) t.set_double(static_cast<std::int64_t>(i), values[i]);
  return t;
}
HostTensor floats(const std::vector<double>& values) {
  return tensor(DType::f32, {static_cast<std::int64_t>(values.size())}, values);
}
std::vector<double> numbers(const HostTensor& t) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < t.elements(); ++i) out.push_back(t.at_double(i));
  return out;
}

Model resize(const std::vector<Bytes>& attributes) {
  Model m;
  m.input("x", kF32, {"2", "N"}).input("scales", kF32, {"2"});
  m.node("Resize", {"x", "", "scales"}, {"y"}, attributes, "", "up").output("y");
  return m;
}
Model nearest() {
  return resize({attr("coordinate_transformation_mode", "asymmetric"), attr("nearest_mode", "floor")});
}

TEST(OnnxRunTimeValues, OnePlanResizesByAnyScale) {
  Runner r(nearest());
  const HostTensor x = tensor(DType::f32, {2, 3}, {1, 2, 3, 4, 5, 6});
  auto out = r.run({{"x", x}, {"scales", floats({2, 1})}});
  EXPECT_EQ(out[0].shape(), (Shape{4, 3}));
  EXPECT_THAT(numbers(out[0]), ElementsAre(1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6));
  out = r.run({{"x", x}, {"scales", floats({0.5, 1.5})}});
  EXPECT_EQ(out[0].shape(), (Shape{1, 4}));  // floor(3 * 1.5); 3 / 1.5 = 2
  EXPECT_THAT(numbers(out[0]), ElementsAre(1, 1, 2, 3));
  out = r.run({{"x", tensor(DType::f32, {2, 1}, {7, 8})}, {"scales", floats({1, 3})}});
  EXPECT_THAT(numbers(out[0]), ElementsAre(7, 7, 7, 8, 8, 8));
}

TEST(OnnxRunTimeValues, AScaleGivesTheSizeOfTheConstantOne) {
  Runner r(nearest());
  for (const auto& [extent, scale, size] : {std::tuple{10, 0.7f, 7},
                                            {10, 0.6f, 6},
                                            {30, 0.1f, 3},
                                            {7, 1.0f / 3, 2},
                                            {9, 1.0f / 3, 3},
                                            {640, 0.65f, 416},
                                            {5, 0.39f, 1}}) {
    const HostTensor x(DType::f32, {2, extent});
    EXPECT_EQ(r.run({{"x", x}, {"scales", floats({1, scale})}})[0].shape(), (Shape{2, size})) << scale;
    Model constant;
    constant.input("x", kF32, {"2", std::to_string(extent)}).initializer(test::floats("s", {2}, {1, scale}));
    constant.node("Resize", {"x", "", "s"}, {"y"}).output("y");
    EXPECT_EQ(Runner(constant).run({{"x", x}})[0].shape(), (Shape{2, size})) << scale;
  }
}

TEST(OnnxRunTimeValues, TheScaleIsUsedInTheFormulaToo) {
  Runner r(resize({attr("mode", "linear")}));  // half_pixel: 2.6 is not 5 / 2
  const HostTensor x = tensor(DType::f32, {2, 2}, {0, 10, 20, 30});
  const auto out = r.run({{"x", x}, {"scales", floats({1, 2.6f})}});
  ASSERT_EQ(out[0].shape(), (Shape{2, 5}));
  for (int i = 0; i < 5; ++i) {
    const double at = std::clamp((i + 0.5) / static_cast<double>(2.6f) - 0.5, 0.0, 1.0);
    EXPECT_NEAR(out[0].at_double(i), 10 * at, 1e-5);
    EXPECT_NEAR(out[0].at_double(5 + i), 20 + 10 * at, 1e-5);
  }
}

TEST(OnnxRunTimeValues, HalfPixelsOfTensorFlow) {
  Model m =
      resize({attr("coordinate_transformation_mode", "tf_half_pixel_for_nn"), attr("nearest_mode", "floor")});
  m.opset = 11;
  Runner r(m);
  const HostTensor x = tensor(DType::f32, {2, 3}, {1, 2, 3, 4, 5, 6});
  const auto out = r.run({{"x", x}, {"scales", floats({0.5, 1.5})}});  // floor((i + 0.5) / scale)
  EXPECT_THAT(numbers(out[0]), ElementsAre(4, 5, 5, 6));
  m = resize({attr("coordinate_transformation_mode", "tf_half_pixel_for_nn")});
  m.opset = 11;
  EXPECT_THAT(m.error(), HasSubstr("nearest_mode='floor' only"));
}

TEST(OnnxRunTimeValues, PartOfTheScalesMayBeConstant) {
  Model m;
  m.input("x", kF32, {"1", "2", "2"})
      .input("s", kF32, {"1"})
      .initializer(test::floats("one", {2}, {1, 0.7f}));
  m.node("Concat", {"s", "one"}, {"scales"}, {attr("axis", 0)}).node("Resize", {"x", "", "scales"}, {"y"});
  m.output("y");
  Runner r(m);
  const HostTensor x = tensor(DType::f32, {1, 2, 2}, {1, 2, 3, 4});
  const auto out = r.run({{"x", x}, {"s", floats({2})}});
  EXPECT_EQ(out[0].shape(), (Shape{2, 2, 1}));
}

TEST(OnnxRunTimeValues, UpsampleTakesRunTimeScales) {
  Model m;
  m.opset = 9;
  m.input("x", kF32, {"1", "2"})
      .input("scales", kF32, {"2"})
      .node("Upsample", {"x", "scales"}, {"y"})
      .output("y");
  Runner r(m);
  const HostTensor x = tensor(DType::f32, {1, 2}, {1, 2});
  EXPECT_THAT(numbers(r.run({{"x", x}, {"scales", floats({1, 2})}})[0]), ElementsAre(1, 1, 2, 2));
  EXPECT_THAT(numbers(r.run({{"x", x}, {"scales", floats({2, 1})}})[0]), ElementsAre(1, 2, 1, 2));
}

TEST(OnnxRunTimeValues, ScalesThatMakeNoSenseAreNamed) {
  Runner r(nearest());
  const HostTensor x(DType::f32, {2, 3});
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  for (const double s : {0.0, -0.0, -1.0, -1e-9, -inf}) {
    EXPECT_THAT(
        r.error({{"x", x}, {"scales", floats({1, s})}}),
        HasSubstr("node 'up' (Resize): the scale of axis 1 is not positive (input 'scales', element 1)"));
  }
  for (const double s : {inf, nan, 1e38}) {
    EXPECT_THAT(r.error({{"x", x}, {"scales", floats({1, s})}}),
                AllOf(HasSubstr("3 times "), HasSubstr("is not a size"), HasSubstr("'scales[1]'")));
  }
  EXPECT_THAT(r.error({{"x", x}, {"scales", floats({1, 1e7})}}), HasSubstr("resized to 30000000"));
  EXPECT_EQ(r.run({{"x", x}, {"scales", floats({1, 0.01})}})[0].shape(), (Shape{2, 0}));
  try {
    r.context().prepare({{"x", {2, 3}}});
    FAIL() << "the scales are missing";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("values of input 'scales'"));
  }
}

TEST(OnnxRunTimeValues, RoiOfTheRunTime) {
  Model m;
  m.input("x", kF32, {"4"}).input("roi", kF32, {"2"}).initializer(ints("sizes", {1}, {3}));
  m.node("Resize", {"x", "roi", "", "sizes"}, {"y"},
         {attr("mode", "linear"), attr("coordinate_transformation_mode", "tf_crop_and_resize"),
          attr("extrapolation_value", -1.0f)});
  m.output("y");
  Runner r(m);
  const HostTensor x = tensor(DType::f32, {4}, {0, 10, 20, 30});
  EXPECT_THAT(numbers(r.run({{"x", x}, {"roi", floats({0, 1})}})[0]), ElementsAre(0, 15, 30));
  EXPECT_THAT(numbers(r.run({{"x", x}, {"roi", floats({0.5, 1.5})}})[0]), ElementsAre(15, 30, -1));
  EXPECT_THAT(r.error({{"x", x}, {"roi", floats({std::nan(""), 1})}}),
              HasSubstr("roi must be finite numbers"));
  // Far away, but a number: all of it lies outside.
  EXPECT_THAT(numbers(r.run({{"x", x}, {"roi", floats({2e9, -2e9})}})[0]), ElementsAre(-1, 0, -1));
}

TEST(OnnxRunTimeValues, RangesOfFloats) {
  for (const auto& [type, dtype] : {std::pair{kF32, DType::f32}, {kF64, DType::f64}, {kF16, DType::f16}}) {
    Model m;
    m.input("start", type, {}).input("limit", type, {}).input("delta", type, {});
    m.node("Range", {"start", "limit", "delta"}, {"y"}, {}, "", "steps").output("y");
    Runner r(m);
    const auto range = [&](double start, double limit, double delta) {
      return Tensors{{"start", tensor(dtype, {}, {start})},
                     {"limit", tensor(dtype, {}, {limit})},
                     {"delta", tensor(dtype, {}, {delta})}};
    };
    EXPECT_THAT(numbers(r.run(range(1, 5, 2))[0]), ElementsAre(1, 3));
    EXPECT_THAT(numbers(r.run(range(1, 5.5, 1.5))[0]), ElementsAre(1, 2.5, 4));
    EXPECT_THAT(numbers(r.run(range(1, 0, -0.25))[0]), ElementsAre(1, 0.75, 0.5, 0.25));
    EXPECT_THAT(numbers(r.run(range(1, 5, -1))[0]), ElementsAre());
    EXPECT_THAT(r.error(range(1, 5, 0)), HasSubstr("node 'steps' (Range): delta is 0"));
    EXPECT_THAT(r.error(range(1, std::nan(""), 1)), AllOf(HasSubstr("to nan by 1"), HasSubstr("'limit[0]'")));
    if (dtype == DType::f16) continue;
    EXPECT_EQ(r.run(range(0, 1, 0.001))[0].shape(), (Shape{1000}));
    if (dtype == DType::f64) {
      EXPECT_THAT(numbers(r.run(range(4e12, 4e12 + 2, 1))[0]), ElementsAre(4e12, 4e12 + 1));
    }
  }
}

TEST(OnnxRunTimeValues, RangesOfIntegersRefuseADeltaOfZero) {
  Model m;
  m.input("start", kI64, {}).input("limit", kI64, {}).input("delta", kI64, {});
  m.node("Range", {"start", "limit", "delta"}, {"y"}).output("y");
  Runner r(m);
  const auto range = [&](double start, double limit, double delta) {
    return Tensors{{"start", tensor(DType::i64, {}, {start})},
                   {"limit", tensor(DType::i64, {}, {limit})},
                   {"delta", tensor(DType::i64, {}, {delta})}};
  };
  EXPECT_THAT(numbers(r.run(range(5, 0, -2))[0]), ElementsAre(5, 3, 1));
  EXPECT_THAT(r.error(range(5, 0, 0)), HasSubstr("(Range): delta is 0"));
}

TEST(OnnxRunTimeValues, DropoutIsRefusedWhereItWouldBeRandom) {
  Model m;
  m.input("x", kF32, {"3"}).input("ratio", kF32, {}).input("training", kBool, {});
  m.node("Dropout", {"x", "ratio", "training"}, {"y", "mask"}).output("y").output("mask");
  Runner r(m);
  const auto inputs = [](double ratio, double training) {
    return Tensors{{"x", floats({1, 2, 3})},
                   {"ratio", tensor(DType::f32, {}, {ratio})},
                   {"training", tensor(DType::boolean, {}, {training})}};
  };
  for (const auto& [ratio, training] : {std::pair{0.0, 1.0}, {0.5, 0.0}, {0.0, 0.0}}) {
    const auto out = r.run(inputs(ratio, training));
    EXPECT_THAT(numbers(out[0]), ElementsAre(1, 2, 3));
    EXPECT_THAT(numbers(out[1]), ElementsAre(1, 1, 1));
  }
  EXPECT_THAT(r.error(inputs(0.5, 1)), HasSubstr("dropout in training mode is random"));
}

TEST(OnnxRunTimeValues, BatchNormalizationInTraining) {
  Model m;
  m.input("x", kF32, {"N", "1", "2"})
      .initializer(test::floats("g", {1}, {2}))
      .initializer(test::floats("b", {1}, {5}));
  m.input("m", kF32, {"1"}).input("v", kF32, {"1"});
  m.node("BatchNormalization", {"x", "g", "b", "m", "v"}, {"y", "rm", "rv"},
         {attr("training_mode", 1), attr("epsilon", 0.0f), attr("momentum", 0.75f)});
  m.output("y").output("rm").output("rv");
  Runner r(m);  // mean 3, variance 5
  const auto out =
      r.run({{"x", tensor(DType::f32, {2, 1, 2}, {0, 2, 4, 6})}, {"m", floats({1})}, {"v", floats({9})}});
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(out[0].at_double(i), (2 * i - 3) / std::sqrt(5.0) * 2 + 5, 1e-5);
  EXPECT_NEAR(out[1].at_double(0), 0.75 * 1 + 0.25 * 3, 1e-6);
  EXPECT_NEAR(out[2].at_double(0), 0.75 * 9 + 0.25 * 5, 1e-6);
}

TEST(OnnxRunTimeValues, ARealSymbolNeedsAFloatInput) {
  Graph g = nearest().import();
  compiler::Options options;
  options.device = "reference";
  options.opt_level = 0;
  Plan plan = compiler::compile(std::move(g), headrace::test::reference_registry(), options);
  plan.tensors[static_cast<std::size_t>(plan.inputs[1])].dtype = DType::i32;
  const auto bytes = std::make_shared<std::vector<std::byte>>(write_plan(plan));
  try {
    read_plan(*bytes, bytes);
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_plan);
    EXPECT_THAT(e.what(), HasSubstr("reads reals of input 'scales', which has none"));
  }
}

}  // namespace
}  // namespace headrace::onnx::test
