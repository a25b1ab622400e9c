// cuDNN takes every convolution of the networks that headrace is measured with, in the canonical form where
// the precompiled engines are. Needs cuDNN but no GPU: the device is described in JSON.
#ifdef HEADRACE_CUDNN
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/library.h"
#include "support/described_gpu.h"

namespace headrace::cuda {
namespace {

struct Layer {
  std::int64_t channels, height, width, filters, kernel, stride, groups = 1;
  std::vector<Post> post = {};
};

const Post kAdd{PwOp::add}, kRelu{PwOp::relu}, kSilu{PwOp::silu, 1}, kClip{PwOp::clip, 0, 6};

Problem problem_of(const Layer& l, std::int64_t batch, DType dtype = DType::f16, bool bias = true) {
  const std::int64_t pad = l.kernel / 2;
  const std::int64_t oh = (l.height + 2 * pad - l.kernel) / l.stride + 1,
                     ow = (l.width + 2 * pad - l.kernel) / l.stride + 1;
  Problem p;
  p.op = Conv{.strides = {l.stride, l.stride},
              .dilations = {1, 1},
              .pads_begin = {pad, pad},
              .pads_end = {pad, pad},
              .groups = l.groups,
              .has_bias = bias,
              .post = l.post};
  const auto last = [&](Shape shape) {
    return TensorDesc::dense(dtype, std::move(shape), Layout::channels_last);
  };
  const TensorDesc dst = last({batch, l.filters, oh, ow});
  p.srcs = {last({batch, l.channels, l.height, l.width}),
            TensorDesc::dense(dtype, {l.filters, l.channels / l.groups, l.kernel, l.kernel})};
  if (bias) p.srcs.push_back(TensorDesc::dense(dtype, {l.filters}));
  for (const Post& post : l.post)
    if (arity(post.op) == 2) p.srcs.push_back(dst);
  p.dsts = {dst};
  return p;
}

class CudnnPlans : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!try_cudnn(&why)) GTEST_SKIP() << why;
    target_ = std::make_unique<CudnnTarget>(CudnnTarget::described(test::kDescribedGpu));
  }

  /// The choices, each of which has been built; the first is of `form` and takes all of `post` but `left`.
  std::vector<ConvChoice> expect_choices(const Problem& p, char form, std::size_t left = 0) {
    SCOPED_TRACE(to_string(p.op, ShapeProgram()) + " " + to_string(p.srcs[0]) + " " + to_string(p.srcs[1]));
    const std::vector<ConvChoice> choices = conv_choices(p, *target_);
    if (choices.empty()) {
      ADD_FAILURE() << "cuDNN has no plan";
      return choices;
    }
    EXPECT_EQ(choices[0].form, form) << to_string(choices[0]);
    auto graph = lower_conv(p, form);
    std::string why;
    if (!graph || !graph->graph.finalize(*target_, &why)) {
      ADD_FAILURE() << "no graph: " << why;
      return choices;
    }
    EXPECT_EQ(std::get<Conv>(p.op).post.size() - graph->posts, left);
    EXPECT_TRUE(try_plan(graph->graph, *target_, choices[0].config, &why)) << why;
    const auto engine = find_engine(graph->graph, *target_, choices[0].config.engine);
    EXPECT_TRUE(engine && !engine->traits.runtime_compiled) << to_string(choices[0]);
    return choices;
  }

  std::unique_ptr<CudnnTarget> target_;
};

TEST_F(CudnnPlans, ResNet18And50) {
  for (const std::int64_t batch : {1, 8, 128})
    for (const Layer& layer : std::vector<Layer>{{3, 224, 224, 64, 7, 2, 1, {kRelu}},
                                                 {4, 224, 224, 64, 7, 2, 1, {kRelu}},
                                                 {64, 56, 56, 64, 3, 1, 1, {kRelu}},
                                                 {64, 56, 56, 64, 3, 1, 1, {kAdd, kRelu}},
                                                 {64, 56, 56, 128, 3, 2, 1, {kRelu}},
                                                 {64, 56, 56, 128, 1, 2},
                                                 {512, 7, 7, 512, 3, 1, 1, {kAdd, kRelu}},
                                                 {64, 56, 56, 256, 1, 1, 1, {kAdd, kRelu}},
                                                 {256, 56, 56, 128, 1, 1, 1, {kRelu}},
                                                 {1024, 14, 14, 2048, 1, 2},
                                                 {2048, 7, 7, 512, 1, 1, 1, {kRelu}}}) {
      const auto choices = expect_choices(problem_of(layer, batch), 'c');
      EXPECT_GT(choices.size(), 5u);
    }
}

TEST_F(CudnnPlans, MobileNetV2LeavesItsClipToAPointwise) {
  expect_choices(problem_of({32, 112, 112, 16, 1, 1}, 1), 'c');
  expect_choices(problem_of({16, 112, 112, 96, 1, 1, 1, {kClip}}, 1), 'c', 1);
  expect_choices(problem_of({96, 112, 112, 96, 3, 2, 96, {kClip}}, 1), 'c', 1);
  expect_choices(problem_of({3, 720, 1280, 32, 3, 2, 1, {kClip}}, 1), 'c', 1);
  expect_choices(problem_of({160, 7, 7, 160, 1, 1, 1, {kAdd}}, 1), 'c');
}

TEST_F(CudnnPlans, YoloxOffersTheFusedFormToo) {
  for (const Layer& layer : std::vector<Layer>{{12, 320, 320, 48, 3, 1, 1, {kSilu}},
                                               {48, 320, 320, 96, 3, 2, 1, {kSilu}},
                                               {96, 160, 160, 48, 1, 1, 1, {kSilu}}}) {
    const auto choices = expect_choices(problem_of(layer, 1), 'c', 1);
    auto fused = lower_conv(problem_of(layer, 1), 'g');
    std::string why;
    EXPECT_TRUE(fused && fused->graph.finalize(*target_, &why)) << why;
    // The engines of that form are compiled at run time, for which cuDNN wants a driver to be there.
    if (!Library({"libcuda.so.1"}).found()) continue;
    EXPECT_TRUE(
        std::any_of(choices.begin(), choices.end(), [](const ConvChoice& c) { return c.form == 'g'; }));
  }
  expect_choices(problem_of({48, 160, 160, 48, 3, 1, 1, {kSilu, kAdd}}, 16), 'c', 2);
}

TEST_F(CudnnPlans, PointPillarsRpn) {
  expect_choices(problem_of({64, 496, 432, 64, 3, 2, 1, {kRelu}}, 1), 'c');
  expect_choices(problem_of({384, 248, 216, 18, 1, 1}, 1), 'c');
  const Problem conv = problem_of({256, 62, 54, 128, 4, 4}, 1);
  Problem p;  // 4x4, stride 4
  p.op = ConvTranspose{.strides = {4, 4},
                       .dilations = {1, 1},
                       .pads_begin = {0, 0},
                       .pads_end = {0, 0},
                       .output_padding = {0, 0},
                       .groups = 1,
                       .has_bias = true,
                       .post = {kRelu}};
  p.srcs = {conv.srcs[0], TensorDesc::dense(DType::f16, {256, 128, 4, 4}),
            TensorDesc::dense(DType::f16, {128})};
  p.dsts = {TensorDesc::dense(DType::f16, {1, 128, 248, 216}, Layout::channels_last)};
  const auto choices = conv_choices(p, *target_);
  ASSERT_FALSE(choices.empty());
  EXPECT_EQ(choices[0].form, 'n');
}

TEST_F(CudnnPlans, WindowsOfConcatenations) {
  Problem p = problem_of({64, 56, 56, 64, 3, 1, 1, {kRelu}}, 1);
  p.dsts[0].strides = {56 * 56 * 160, 1, 56 * 160, 160};  // 64 of 160 channels
  expect_choices(p, 'c');
  p.srcs[0].strides = p.dsts[0].strides;
  expect_choices(p, 'c');
}

TEST_F(CudnnPlans, SinglePrecisionUsesExactEnginesOnly) {
  for (const Layout layout : {Layout::plain, Layout::channels_last}) {
    Problem p = problem_of({64, 56, 56, 64, 3, 1, 1, {kAdd, kRelu}}, 1, DType::f32);
    for (TensorDesc* d : {&p.srcs[0], &p.srcs[3], &p.dsts[0]})
      *d = TensorDesc::dense(d->dtype, d->shape, layout);
    auto graph = lower_conv(p, 'c');
    ASSERT_TRUE(graph && graph->graph.finalize(*target_));
    for (const ConvChoice& choice : expect_choices(p, 'c')) {
      const auto engine = find_engine(graph->graph, *target_, choice.config.engine);
      ASSERT_TRUE(engine) << to_string(choice);
      EXPECT_TRUE(engine->traits.exact) << to_string(choice);
    }
  }
}

TEST_F(CudnnPlans, OddOnes) {
  for (const bool bias : {true, false})
    for (const DType dtype : {DType::f16, DType::f32}) {
      expect_choices(problem_of({5, 9, 7, 13, 3, 1, 1, {kAdd, kRelu}}, 2, dtype, bias), 'c');
      expect_choices(problem_of({5, 9, 7, 13, 3, 1}, 2, dtype, bias), bias ? 'c' : 'n');
    }
  Problem p = problem_of({64, 56, 56, 64, 3, 2, 1, {kRelu}}, 1);  // TensorFlow's SAME
  std::get<Conv>(p.op).pads_begin = {0, 0};
  expect_choices(p, 'c');
}

TEST_F(CudnnPlans, ChoicesAreTheSameEachTimeAndReadBack) {
  const Problem p = problem_of({64, 56, 56, 64, 3, 1, 1, {kRelu}}, 8);
  const auto first = conv_choices(p, *target_), second = conv_choices(p, *target_);
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(to_string(first[i]), to_string(second[i]));
    const auto back = parse_conv_choice(to_string(first[i]));
    ASSERT_TRUE(back) << to_string(first[i]);
    EXPECT_EQ(back->form, first[i].form);
    EXPECT_EQ(back->version, first[i].version);
    EXPECT_EQ(back->config, first[i].config);
  }
  for (const char* text :
       {"", "c", "c:", "c:9:", "c:9:e", "c:x:e1", "c:9:e1,", "c:9:e1,k2", "c:9:e1,k2=", "c:9:e1k2=1"})
    EXPECT_FALSE(parse_conv_choice(text)) << text;
}

TEST_F(CudnnPlans, WhatIsTriedBesideTheBestIsNearIt) {
  const Problem p = problem_of({64, 56, 56, 64, 3, 1, 1, {kRelu}}, 8);
  const auto first = conv_choices(p, *target_);
  std::vector<TriedChoice> tried{{"c:91900:e41,k2=5,k13=1,k18=0,k25=1,k27=4,k28=1", 10},
                                 {"c:91900:e10,k2=5,k13=1,k14=3,k18=0,k23=2", 11},
                                 {"c:91900:e51,k2=8,k13=0,k18=0,k25=1,k27=1,k28=4", 40}};
  for (TriedChoice& t : tried) t.choice.replace(2, 5, std::to_string(cudnn().cudnnGetVersion()));
  const auto more = refined_choices(p, *target_, tried, false);
  const auto has = [&](const char* config) {
    return std::any_of(more.begin(), more.end(),
                       [&](const ConvChoice& c) { return c.form == 'c' && to_string(c.config) == config; });
  };
  EXPECT_TRUE(has("e41,k2=5,k13=1,k18=0,k25=1,k27=7,k28=2"));   // another cluster
  EXPECT_TRUE(has("e41,k2=1,k13=1,k18=0,k25=1,k27=4,k28=1"));   // another tile
  EXPECT_FALSE(has("e41,k2=5,k13=1,k18=0,k25=1,k27=5,k28=4"));  // more than 16 blocks
  EXPECT_TRUE(has("e10,k2=5,k13=1,k14=3,k18=0,k23=0"));
  for (const ConvChoice& c : more) EXPECT_NE(c.config.engine, 51) << to_string(c);  // far behind
  EXPECT_LT(more.size(), 300u);
  EXPECT_GT(refined_choices(p, *target_, tried, true).size(), more.size());
  tried = {{tried[0].choice, INFINITY}};
  EXPECT_TRUE(refined_choices(p, *target_, tried, false).empty());
}

TEST_F(CudnnPlans, APlanIsMadeAgainFromItsText) {
  auto graph = lower_conv(problem_of({64, 56, 56, 64, 3, 1, 1, {kRelu}}, 1), 'c');
  ASSERT_TRUE(graph && graph->graph.finalize(*target_));
  const auto config = first_config(problem_of({64, 56, 56, 64, 3, 1, 1, {kRelu}}, 1), graph->graph, *target_);
  ASSERT_TRUE(config);
  const auto plan = make_plan(std::move(graph->graph), *target_, *config);
  const std::string json = plan->json();
  EXPECT_GT(json.size(), 500u);
  const auto again = plan_from_json(*target_, json);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->get_int(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE),
            static_cast<std::int64_t>(plan->workspace_bytes()));
  EXPECT_FALSE(plan_from_json(*target_, json.substr(0, json.size() / 2)));
  EXPECT_FALSE(plan_from_json(*target_, "{}"));
}

TEST_F(CudnnPlans, GraphTextsTellGraphsApart) {
  const auto text = [](const Layer& layer, std::int64_t batch) {
    return lower_conv(problem_of(layer, batch), 'g')->graph.text();
  };
  const Layer silu{64, 56, 56, 64, 3, 1, 1, {kSilu}}, clip{64, 56, 56, 64, 3, 1, 1, {kClip}},
      strided{64, 56, 56, 64, 3, 2, 1, {kSilu}}, steep{64, 56, 56, 64, 3, 1, 1, {{PwOp::silu, 2}}};
  EXPECT_EQ(text(silu, 1), text(silu, 1));
  for (const Layer& other : {clip, strided, steep}) EXPECT_NE(text(silu, 1), text(other, 1));
  EXPECT_NE(text(silu, 1), text(silu, 2));
}

TEST_F(CudnnPlans, ARefusedConfigurationSaysWhy) {
  auto graph = lower_conv(problem_of({64, 56, 56, 64, 3, 1, 1, {kRelu}}, 1), 'c');
  ASSERT_TRUE(graph && graph->graph.finalize(*target_));
  std::string why;
  EXPECT_FALSE(try_plan(graph->graph, *target_, {.engine = 4711, .knobs = {}}, &why));
  EXPECT_NE(why.find("engine"), std::string::npos) << why;
}

}  // namespace
}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
