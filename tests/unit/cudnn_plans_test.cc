// cuDNN takes every convolution of the networks that headrace is measured with, in the canonical form where
// the precompiled engines are. Needs cuDNN but no GPU: the device is described in JSON.
#ifdef HEADRACE_CUDNN
#include <algorithm>

#include <gtest/gtest.h>

#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/library.h"

namespace headrace::cuda {
namespace {

constexpr const char* kHopper =
    R"({"maxGridSize":[2147483647,65535,65535],"maxBlockSize":[1024,1024,64],"regsPerBlock":65536,)"
    R"("multiProcessorCount":132,"warpSize":32,"maxSharedMemoryPerBlock":49152,)"
    R"("maxSharedMemoryPerBlockOptin":232448,"reservedSharedMemoryPerBlock":1024,"maxRegistersPerSM":65536,)"
    R"("maxCtasPerSM":32,"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"pciDeviceId":0,"isTccDriver":0,)"
    R"("supportCoopLaunch":1,"smClockRateKHz":1980000,"memClockRateKHz":2619000,"l2CacheSize":52428800,)"
    R"("deviceVer":900,"driverVer":13000,"cudaDeviceId":0,"totalGlobalMem":85017493504,)"
    R"("deviceName":"NVIDIA H100 80GB HBM3"})";

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
    target_ = std::make_unique<CudnnTarget>(CudnnTarget::described(kHopper));
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
