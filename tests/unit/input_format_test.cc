// InputFormat: text, the rewritten graph, and plans that compute the same as on inputs converted by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headrace/input_format.h>
#include <headrace/runtime.h>

#include "compiler/draft.h"
#include "compiler/precision.h"
#include "graph/text.h"
#include "plan/run_util.h"

namespace headrace {
namespace {

using ::testing::HasSubstr;

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    return e.message();
  }
  return "no error";
}

TEST(InputFormat, TextForm) {
  const InputFormat imagenet{
      .channels_last = true, .scale = 1 / 255.0, .mean = {0.485, 0.456, 0.406}, .std = {0.229, 0.224, 0.225}};
  EXPECT_EQ(parse_input_format("u8,nhwc,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225"), imagenet);
  EXPECT_EQ(parse_input_format("f16,std=-2e-1,nchw"), (InputFormat{.dtype = DType::f16, .std = {-0.2}}));
  EXPECT_EQ(to_string(InputFormat{}), "u8");
  for (const InputFormat& f : {imagenet, InputFormat{.dtype = DType::i16, .scale = 1.0 / 3, .mean = {-1e-9}}})
    EXPECT_EQ(parse_input_format(to_string(f)), f) << to_string(f);
}

TEST(InputFormat, BadTextSaysWhat) {
  const auto refused = [](const char* text) { return message_of([&] { parse_input_format(text); }); };
  EXPECT_THAT(refused(""), HasSubstr("use u8, i8, u16, i16, f16 or f32"));
  EXPECT_THAT(refused("bf16"), HasSubstr("'bf16', which is no type that is offered"));
  EXPECT_THAT(refused("u8,nhcw"), HasSubstr("the part 'nhcw'; parts are nchw or nhwc, scale="));
  EXPECT_THAT(refused("u8,nhwc=1"), HasSubstr("the part 'nhwc=1'"));
  EXPECT_THAT(refused("u8,scale"), HasSubstr("the part 'scale'"));
  EXPECT_THAT(refused("u8,scale=1:2"), HasSubstr("'1:2' is no number"));
  EXPECT_THAT(refused("u8,scale=1/0"), HasSubstr("'1/0' is no number"));
  EXPECT_THAT(refused("u8,scale=1/2/3"), HasSubstr("'1/2/3' is no number"));
  EXPECT_THAT(refused("u8,mean=1::2"), HasSubstr("'' is no number"));
  EXPECT_THAT(refused("u8,std=0.5:0"), HasSubstr("std that is 0"));
  EXPECT_THAT(refused("u8,mean=inf"), HasSubstr("mean that is not finite"));
  EXPECT_THAT(refused("u8,scale=0"), HasSubstr("the scale 0"));
  EXPECT_THAT(refused("u8,nhwc,nchw"), HasSubstr("tells the layout twice"));
  EXPECT_THAT(message_of([] { check(InputFormat{.dtype = DType::i64}); }), HasSubstr("the type i64"));
}

std::string rewritten(const std::string& text, const std::string& name, const char* format) {
  Graph graph = parse_graph(text);
  compiler::apply_input_formats(graph, {{name, parse_input_format(format)}});
  verify(graph);
  return print(graph);
}

TEST(InputFormat, TheGraphConvertsWhatComes) {
  const std::string relu = R"g(%0 = input "x" f32[Nx3xHx8]
%1 = Pointwise(relu(x0)) %0 : f32[Nx3xHx8]
output "y" %1
)g";
  EXPECT_EQ(rewritten(relu, "x", "u8,mean=128,std=64"), R"g(%0 = input "x" u8[Nx3xHx8]
%1 = Pointwise(add(mul(cast(x0:u8), 0.015625), -2)) %0 : f32[Nx3xHx8] "x (InputFormat)"
%2 = Pointwise(relu(x0)) %1 : f32[Nx3xHx8]
output "y" %2
)g");
  EXPECT_EQ(rewritten(relu, "*", "f16,nhwc,scale=0.5,mean=1:2:3"), R"g(%0 = input "x" f16[NxHx8x3]
%1 = Transpose(perm=[0, 3, 1, 2]) %0 : f16[Nx3xHx8] "x (InputFormat)"
%2 = constant f32[3x1x1] {-1, -2, -3}
%3 = Pointwise(add(mul(cast(x0:f16), 0.5), x1)) %1, %2 : f32[Nx3xHx8] "x (InputFormat)"
%4 = Pointwise(relu(x0)) %3 : f32[Nx3xHx8]
output "y" %4
)g");
  EXPECT_EQ(rewritten(relu, "x", "f32,scale=1,mean=0,std=1:1:1"), relu) << "nothing to do";
  // An input that is an output, too, comes out as the model has it.
  EXPECT_EQ(rewritten("%0 = input \"x\" f32[4]\noutput \"y\" %0\n", "x", "i8"), R"g(%0 = input "x" i8[4]
%1 = Pointwise(cast(x0:i8)) %0 : f32[4] "x (InputFormat)"
output "y" %1
)g");
}

TEST(InputFormat, WhatDoesNotFitIsRefused) {
  const std::string graph = R"(%0 = input "x" f32[Nx3x4x4]
%1 = input "i" i64[2]
%2 = input "v" f32[NxM]
%3 = Gather(axis=2) %0, %1
output "y" %3
output "w" %2
)";
  const auto refused = [&](const char* name, const char* format) {
    return message_of([&] { rewritten(graph, name, format); });
  };
  EXPECT_THAT(refused("z", "u8"), HasSubstr("no such input; the inputs are 'x', 'i', 'v'"));
  EXPECT_THAT(refused("i", "u8"), HasSubstr("the model takes i64 there, and only floats are converted"));
  EXPECT_THAT(refused("x", "u8,mean=1:2"), HasSubstr("has 2 numbers of mean, but the input has 3 channels"));
  EXPECT_THAT(refused("x", "u8,std=1:2:3:4"),
              HasSubstr("has 4 numbers of std, but the input has 3 channels"));
  EXPECT_THAT(refused("v", "u8,std=1:2"), HasSubstr("no fixed number of channels; give one for all"));
  EXPECT_THAT(refused("v", "u8,nhwc"), HasSubstr("has 2 axes and no pixels; leave nhwc out"));
  EXPECT_THAT(message_of([] { rewritten("%0 = input \"x\" f32[4]\noutput \"y\" %0\n", "*", "u8"); }),
              HasSubstr("every float input with 4 axes that is not named, but there is none"));
  Graph scaled = test::scaled_graph();
  EXPECT_THAT(message_of([&] {
                compiler::apply_input_formats(scaled, {{"scale", {}}});
              }),
              HasSubstr("shapes of tensors depend on this input's values"));
}

/// relu(conv(x)) and z + z: an image with dynamic batch and width, and rows of numbers.
Graph network() {
  return parse_graph(R"g(%0 = input "x" f32[Nx3x6xW]
%1 = input "z" f32[Nx4]
%2 = constant f32[8x3x3x3] random(1)
%3 = Conv(strides=[2, 2], dilations=[1, 1], pads_begin=[1, 1], pads_end=[1, 1]) %0, %2 "conv1 (Conv)"
%4 = Pointwise(relu(x0)) %3
%5 = Pointwise(add(x0, x0)) %1
output "y" %4
output "d" %5
)g");
}

const Registry& machines() {
  static const Registry registry = [] {
    Registry r;
    r.add(make_reference_backend());
    r.add(make_cpu_backend());
    return r;
  }();
  return registry;
}

/// Elements as a camera gives them, in the format's type, for a tensor that is channels first in the model.
HostTensor camera(const InputFormat& format, const Shape& shape, std::uint32_t seed) {
  HostTensor raw(format.dtype, shape);
  std::mt19937 random(seed);
  for (std::int64_t i = 0; i < raw.elements(); ++i) raw.set_double(i, static_cast<double>(random() % 256));
  return raw;
}
/// (x * scale - mean) / std, as a program on the host would write it.
HostTensor by_hand(const HostTensor& raw, const InputFormat& format) {
  HostTensor result(DType::f32, raw.shape());
  const Shape& s = raw.shape();
  const std::int64_t pixels = s.size() == 4 ? s[2] * s[3] : 1;
  for (std::int64_t i = 0; i < raw.elements(); ++i) {
    const auto c = static_cast<std::size_t>(i / pixels % s[1]);
    const double mean = format.mean.size() > 1 ? format.mean[c] : format.mean.at(0);
    const double deviation = format.std.size() > 1 ? format.std[c] : format.std.at(0);
    result.set_double(i, (raw.at_double(i) * format.scale - mean) / deviation);
  }
  return result;
}
HostTensor to_nhwc(const HostTensor& t) {
  Transpose op{{0, 2, 3, 1}};
  const HostTensor* src = &t;
  return std::move(evaluate_reference(op, {&src, 1})[0]);
}

void expect_near(const std::vector<HostTensor>& got, const std::vector<HostTensor>& expected,
                 double tolerance) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t o = 0; o < got.size(); ++o) {
    ASSERT_EQ(got[o].shape(), expected[o].shape());
    ASSERT_EQ(got[o].dtype(), DType::f32);
    double scale = 0, worst = 0;
    for (std::int64_t i = 0; i < got[o].elements(); ++i) {
      scale = std::max(scale, std::abs(expected[o].at_double(i)));
      worst = std::max(worst, std::abs(got[o].at_double(i) - expected[o].at_double(i)));
    }
    EXPECT_GT(scale, 0.5);
    EXPECT_LE(worst, tolerance * scale);
  }
}

compiler::Options how(const std::string& device, const InputFormat& image, const InputFormat& row) {
  compiler::Options o;
  o.device = device;
  o.opt_level = 0;
  o.threads = 1;
  o.input_formats = {{"*", image}, {"z", row}};
  return o;
}

const std::vector<const char*> kImages = {
    "u8,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225",
    "u8,nhwc,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225",
    "f16,scale=1/128,mean=1,std=0.5",
    "f16,nhwc,scale=1/128,mean=1:0:0.5,std=0.5",
    "u8,nhwc,mean=127.5,std=127.5",
};

/// The plan on what a camera gives against the model on the same converted by hand.
void expect_same(const Plan& plan, const InputFormat& image, const InputFormat& row, double tolerance) {
  runtime::Context context(
      runtime::Engine::create(std::make_shared<const Plan>(plan), machines(), {.threads = 1}));
  for (const auto& [n, w] : {std::pair{1, 7}, {3, 10}}) {
    const HostTensor x = camera(image, {n, 3, 6, w}, 1), z = camera(row, {n, 4}, 2);
    test::Tensors by_host, raw;
    by_host["x"] = by_hand(x, image);
    by_host["z"] = by_hand(z, row);
    raw["x"] = image.channels_last ? to_nhwc(x) : x;
    raw["z"] = z;
    expect_near(test::run_context(context, raw), test::run_graph(network(), by_host), tolerance);
  }
}

TEST(InputFormat, PlansComputeAsOnInputsConvertedByHand) {
  const InputFormat row = parse_input_format("i16,scale=1/100,mean=1:2:0:1,std=2");
  for (const std::string device : {"reference", "cpu"})
    for (const char* text : kImages) {
      SCOPED_TRACE(device + " " + text);
      const InputFormat image = parse_input_format(text);
      const Plan plan = compiler::compile(network(), machines(), how(device, image, row));
      EXPECT_EQ(plan.provenance.at(kInputFormatKey + "x"), to_string(image));
      const PlanTensor& input = plan.tensors[static_cast<std::size_t>(plan.inputs[0])];
      EXPECT_EQ(input.dtype, image.dtype);
      EXPECT_EQ(plan.shapes.to_string(input.shape), image.channels_last ? "Nx6xWx3" : "Nx3x6xW");
      expect_same(plan, image, row, 2e-6);
    }
}

/// Sound and volumes: any number of axes from 3 on may have the channels last.
TEST(InputFormat, ChannelsLastOfThreeAndFiveAxes) {
  for (const auto& [shape, first, last] :
       {std::tuple{"Nx2xL", Shape{1, 2, 6}, Shape{1, 6, 2}}, {"Nx2x2x1xL", {1, 2, 2, 1, 3}, {1, 2, 1, 3, 2}}})
    for (const std::string device : {"reference", "cpu"}) {
      SCOPED_TRACE(device + " " + shape);
      Graph graph = parse_graph(std::string("%0 = input \"x\" f32[") + shape +
                                "]\n%1 = Pointwise(neg(x0)) %0\noutput \"y\" %1\n");
      compiler::Options options = how(device, {}, {});
      options.input_formats = {{"x", parse_input_format("u8,nhwc,mean=0:1")}};
      const Plan plan = compiler::compile(std::move(graph), machines(), options);
      runtime::Context context(
          runtime::Engine::create(std::make_shared<const Plan>(plan), machines(), {.threads = 1}));
      test::Tensors raw;
      HostTensor x(DType::u8, last);  // pixel p has p and 100 + p
      for (std::int64_t i = 0; i < x.elements(); ++i) x.set_int(i, i / 2 + i % 2 * 100);
      raw["x"] = std::move(x);
      const HostTensor y = std::move(test::run_context(context, raw)[0]);
      ASSERT_EQ(y.shape(), first);
      const std::int64_t pixels = y.elements() / 2;
      for (std::int64_t p = 0; p < pixels; ++p) {
        EXPECT_EQ(y.at_double(p), -static_cast<double>(p));
        EXPECT_EQ(y.at_double(pixels + p), -static_cast<double>(99 + p));
      }
    }
}

/// In 16 bits: the mean and deviation are not rounded, and f16 data are taken as they are.
TEST(InputFormat, LowerPrecision) {
  for (const char* text : kImages) {
    SCOPED_TRACE(text);
    const InputFormat image = parse_input_format(text), row = parse_input_format("f16,mean=0,std=1");
    compiler::Options options = how("reference", image, row);
    options.precision = Precision::fp16;
    const Plan plan = compiler::compile(network(), machines(), options);
    for (const PlanTensor& t : plan.tensors)
      EXPECT_TRUE(t.shape.size() != 3 || t.dtype == DType::f32) << "a constant of the conversion";
    expect_same(plan, image, row, 3e-3);
  }
}

std::vector<std::string> operators(const Plan& plan) {
  std::vector<std::string> names;
  for (const PlanStep& step : plan.steps) names.push_back(step.op.id);
  return names;
}

/// One step converts an image that lies NHWC: its bytes are channels_last already, and nothing is moved.
TEST(InputFormat, OnTheCpuTheConversionIsOneStep) {
  const InputFormat row = parse_input_format("u8");
  for (const char* text : kImages) {
    SCOPED_TRACE(text);
    const InputFormat image = parse_input_format(text);
    compiler::Options options = how("cpu", image, row);
    const Plan plan = compiler::compile(network(), machines(), options);
    std::size_t first = 0;
    for (const PlanStep& step : plan.steps)
      for (const std::int32_t t : step.inputs) first += t == plan.inputs[0];
    if (image.channels_last) {
      EXPECT_EQ(first, 0u) << "through a view";
      EXPECT_THAT(operators(plan), testing::Not(testing::Contains("Transpose")));
    } else {
      EXPECT_EQ(first, 1u);
    }
    EXPECT_EQ(std::count_if(plan.steps.begin(), plan.steps.end(),
                            [](const PlanStep& s) { return s.tactic == "cpu.pointwise"; }),
              2)
        << "x and z";
  }
}

#ifdef HEADRACE_CUDA
/// In fp16: bytes to halves in one step, and the convolution reads them as they lie. Needs no GPU.
TEST(InputFormat, OnCudaTheConversionIsOneStep) {
  const Backend backend = make_cuda_backend();
  for (const char* text : kImages) {
    SCOPED_TRACE(text);
    Graph graph = parse_graph(R"g(%0 = input "x" f32[2x3x32x32]
%1 = constant f32[16x3x3x3] random(1)
%2 = Conv(strides=[2, 2], dilations=[1, 1], pads_begin=[1, 1], pads_end=[1, 1], post=[relu]) %0, %1
output "y" %2
)g");
    compiler::apply_input_formats(graph, {{"x", parse_input_format(text)}});
    graph = compiler::lower_precision(graph, Precision::fp16);
    compiler::Draft draft;
    draft.backend = &backend;
    draft.plan.shapes = graph.shapes();
    draft.plan.profiles = compiler::make_profiles(graph, {});
    draft.probes = {{}};
    compiler::absorb(draft, graph);
    compiler::select(draft, graph);
    compiler::make_views(draft);
    std::vector<std::string> tactics;
    for (const compiler::DraftStep& step : draft.steps) tactics.emplace_back(step.tactic->id());
    EXPECT_THAT(tactics, testing::ElementsAre("cuda.pointwise", "cuda.stem", testing::_))
        << "and the output's cast";
  }
}
#endif

TEST(InputFormat, PlansKeepTheFormatAndAreDeterministic) {
  const InputFormat image = parse_input_format(kImages[1]), row = parse_input_format("u8,mean=1");
  const auto build = [&] {
    return write_plan(compiler::compile(network(), machines(), how("cpu", image, row)));
  };
  const std::vector<std::byte> bytes = build();
  EXPECT_EQ(bytes, build());
  const auto owner = std::make_shared<std::vector<std::byte>>(bytes);
  auto plan = std::make_shared<Plan>(read_plan(*owner, owner));
  const Engine engine = Engine::from(runtime::Engine::create(plan, machines(), {.threads = 1}));
  EXPECT_EQ(engine.inputs()[0].format, image);
  EXPECT_EQ(engine.inputs()[0].shape_text, "Nx6xWx3");
  EXPECT_EQ(engine.inputs()[0].dtype, DType::u8);
  EXPECT_EQ(engine.inputs()[1].format, row);
  EXPECT_EQ(engine.outputs()[0].format, std::nullopt);
  for (const char* lie : {"f16", "u8,std=0", "?"}) {  // a stranger's plan
    plan->provenance[kInputFormatKey + "x"] = lie;
    try {
      static_cast<void>(Engine::from(runtime::Engine::create(plan, machines(), {.threads = 1})));
      ADD_FAILURE() << lie;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_plan);
      EXPECT_THAT(e.message(), HasSubstr("does not fit the format that the plan notes"));
    }
  }
}

}  // namespace
}  // namespace headrace
