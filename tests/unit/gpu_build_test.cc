// Builds on a GPU: the timing cache decides again without the machine, and what cuDNN compiled is kept.
#if defined(HEADRACE_CUDA) && defined(HEADRACE_CUDNN)
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/device.h"
#include "base/file.h"
#include "base/sched.h"
#include "compiler/compiler.h"
#include "plan/run_util.h"

namespace headrace {
namespace {

namespace fs = std::filesystem;

class GpuBuild : public testing::Test {
 protected:
  void SetUp() override {
    try {
      device_ = cuda::make_device("cuda:0");
    } catch (const Error& e) {
      GTEST_SKIP() << e.message();
    }
    std::string why;
    if (!cuda::try_cudnn(&why)) GTEST_SKIP() << why;
    folder_ = fs::temp_directory_path() / ("headrace_gpu_build_" + std::to_string(::getpid()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    registry_.add(make_cuda_backend());
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  /// Two convolutions with a residual and a SiLU between.
  static Graph graph() {
    Graph g;
    const ValueId x = g.add_input("x", {DType::f32, {8, 64, 28, 28}});
    const auto conv = [&](ValueId from, std::int64_t filters, int seed) {
      HostTensor w = test::random_tensor({filters, 64, 3, 3}, static_cast<std::uint32_t>(seed));
      return g.add1(Conv{.strides = {1, 1}, .dilations = {1, 1}, .pads_begin = {1, 1}, .pads_end = {1, 1}},
                    {from, g.add_constant(std::move(w))});
    };
    PwExpr silu;
    silu.op(PwOp::silu, DType::f32, silu.load(0, DType::f32));
    const ValueId a = g.add1(Pointwise{silu}, {conv(x, 64, 1)});
    PwExpr add;
    const std::uint16_t left = add.load(0, DType::f32);
    add.op(PwOp::add, DType::f32, left, add.load(1, DType::f32));
    g.add_output("y", g.add1(Pointwise{add}, {conv(a, 64, 2), x}));
    return g;
  }
  compiler::Options options(int level = 1) const {
    compiler::Options o;
    o.device = "cuda:0";
    o.precision = Precision::fp16;
    o.opt_level = level;
    o.timing_cache = folder_ / "times";
    return o;
  }
  DeviceRef device_;
  fs::path folder_;
  Registry registry_;
};

TEST_F(GpuBuild, TheCacheMakesTheSamePlanWithoutTiming) {
  const Plan first = compiler::compile(graph(), registry_, options());
  const std::string text = read_text_file(folder_ / "times");
  EXPECT_THAT(text, testing::HasSubstr("best\t"));
  EXPECT_THAT(text, testing::HasSubstr("cuda.cudnn.conv"));
  const auto start = sched::Clock::now();
  const Plan second = compiler::compile(graph(), registry_, options());
  EXPECT_LT(sched::Clock::now() - start, std::chrono::seconds(2));
  EXPECT_EQ(write_plan(first), write_plan(second));
  EXPECT_EQ(read_text_file(folder_ / "times"), text);
}

TEST_F(GpuBuild, CanBeCancelledWhileItTimes) {
  auto o = options();
  int calls = 0;
  o.progress = [&](std::string_view stage, double) { return stage != "tactics" || ++calls < 20; };
  const auto start = sched::Clock::now();
  try {
    static_cast<void>(compiler::compile(graph(), registry_, o));
    FAIL() << "it was not cancelled";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::cancelled);
  }
  EXPECT_LT(sched::Clock::now() - start, std::chrono::seconds(20));
  EXPECT_FALSE(fs::exists(folder_ / "times"));
}

TEST_F(GpuBuild, WhatCudnnCompiledIsKept) {
  const std::shared_ptr<void> inside = device_->enter();
  cuda::HandlePool pool;
  const cuda::HandlePool::Lease handle(pool, cuda::HandlePool::For::making);
  const cuda::CudnnTarget target(handle.get());
  const cuda::DiskCache cache(folder_ / "kernels");
  Problem p;
  p.op = Conv{.strides = {1, 1},
              .dilations = {1, 1},
              .pads_begin = {1, 1},
              .pads_end = {1, 1},
              .groups = 1,
              .has_bias = true,
              .post = {{PwOp::silu, 1}}};
  const auto last = [](const Shape& s) { return TensorDesc::dense(DType::f16, s, Layout::channels_last); };
  p.srcs = {last({1, 64, 14, 14}), TensorDesc::dense(DType::f16, {64, 64, 3, 3}),
            TensorDesc::dense(DType::f32, {64})};
  p.dsts = {last({1, 64, 14, 14})};
  auto graph = cuda::lower_conv(p, 'g');
  ASSERT_TRUE(graph && graph->graph.finalize(target));
  std::optional<cuda::EngineConfig> config;
  for (const auto& c : cuda::heuristic_configs(graph->graph, target, CUDNN_HEUR_MODE_A))
    if (!config && cuda::try_plan(graph->graph, target, c)) config = c;
  ASSERT_TRUE(config);
  const auto make = [&] {
    const auto start = sched::Clock::now();
    const auto plan = cuda::make_plan(std::move(cuda::lower_conv(p, 'g')->graph), target, *config, &cache);
    return std::pair(plan, sched::Clock::now() - start);
  };
  const auto [made, compiling] = make();
  const auto entries = [&] {
    return std::distance(fs::directory_iterator(folder_ / "kernels"), fs::directory_iterator());
  };
  EXPECT_EQ(entries(), 1);
  const auto [read, reading] = make();
  EXPECT_EQ(entries(), 1);
  EXPECT_EQ(read->workspace_bytes(), made->workspace_bytes());
  EXPECT_LT(reading, compiling / 2);
}

}  // namespace
}  // namespace headrace
#endif
