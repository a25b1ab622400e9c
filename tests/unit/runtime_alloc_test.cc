// enqueue does not allocate once its shapes are prepared. Not built under the address sanitizer, which has
// operators of its own and would call these mismatched.
#ifndef __SANITIZE_ADDRESS__
#include <gtest/gtest.h>

#include <headrace/headrace.h>

#include "plan/apart.h"
#include "support/counted_new.h"

namespace headrace {
namespace {

/// Allocations of this thread, and of the device, in ten inferences of prepared shapes on host memory.
void expect_none(const runtime::EngineRef& engine) {
  Device& device = engine->device();
  test::Loop loop(engine, device.make_stream({.name = "test", .inline_execution = true, .threads = 1}));
  loop.infer();
  allocations = 0;
  counting = true;
  { auto probe = std::make_unique<int>(1); }
  EXPECT_EQ(allocations, 1) << "the counter itself does not work";
  allocations = 0;
  const std::uint64_t before = device.memory().allocations;
  for (int i = 0; i < 10; ++i) loop.infer();
  counting = false;
  EXPECT_EQ(allocations, 0);
  EXPECT_EQ(device.memory().allocations, before);
}

TEST(RuntimeAllocation, EnqueueMakesNone) {
  expect_none(runtime::Engine::create(std::make_shared<const Plan>(test::compile_small()),
                                      test::reference_registry(), {.threads = 1}));
}

TEST(RuntimeAllocation, NoneWithUploadReplayAndDownload) {
  expect_none(test::apart_engine(test::apart_registry()));
}

/// The same on a stream and memory of the caller's own, through the public API.
void expect_none_on_streams(const runtime::EngineRef& data) {
  const Engine engine = Engine::from(data);
  Context context(engine);
  DeviceStream stream(engine);
  std::vector<DeviceBuffer<float>> floats;
  std::vector<DeviceBuffer<std::int64_t>> integers;
  const auto bind = [&](const TensorInfo& info) {
    if (info.dtype == DType::f32)
      context.bind(info.name, floats.emplace_back(engine, 4096).span());
    else
      context.bind(info.name, integers.emplace_back(engine, 4096).span());
  };
  const std::vector<std::int64_t> zeros(4096);
  for (const TensorInfo& info : engine.inputs()) bind(info);
  for (const TensorInfo& info : engine.outputs()) bind(info);
  for (auto& buffer : integers) copy_and_wait(stream, buffer.span(), HostSpan(zeros));  // indices
  context.set_shape("x", {2, 2, 4, 4});
  context.prepare();
  context.enqueue(stream).wait();
  allocations = 0;
  const std::uint64_t before = data->device().memory().allocations;
  DeviceEvent done, consumed;
  counting = true;
  for (int i = 0; i < 40; ++i) {
    done = context.enqueue(stream, {.input_consumed = &consumed});
    stream.wait(consumed);
  }
  done.wait();
  counting = false;
  EXPECT_EQ(allocations, 0);
  EXPECT_EQ(data->device().memory().allocations, before);
}

TEST(RuntimeAllocation, NoneOnStreamsOfTheCaller) {
  expect_none_on_streams(runtime::Engine::create(std::make_shared<const Plan>(test::compile_small()),
                                                 test::reference_registry(), {.threads = 1}));
  expect_none_on_streams(test::apart_engine(test::apart_registry()));
}

TEST(RuntimeAllocation, NoneWithoutRecordings) {
  expect_none(test::apart_engine(test::apart_registry(), 0, {.threads = 1, .max_recordings = 0}));
}

/// The n-th allocation of prepare fails, for all n: the next one makes good what is missing.
TEST(RuntimeAllocation, AContextThatFoundNoneRunsOn) {
  const runtime::EngineRef engine = test::apart_engine(test::apart_registry());
  const auto inputs = test::inputs_of(2, 1);
  ShapeMap shapes;
  for (const auto& [name, tensor] : inputs) shapes[name] = tensor.shape();
  runtime::Context right(engine);
  const auto expected = test::run_context(right, inputs);
  int failures = 0;
  for (int n = 0; n < 1500; ++n) {
    SCOPED_TRACE(n);
    runtime::Context context(engine, runtime::kByShapes, 1, /*ring=*/3);
    allocations_left = n;
    try {
      context.prepare(shapes, inputs);
    } catch (const std::exception&) {
      ++failures;
    }
    allocations_left = -1;
    for (int i = 0; i < 3; ++i) {  // the ring's slots
      const auto results = test::run_context(context, inputs);
      for (std::size_t k = 0; k < results.size(); ++k)
        ASSERT_TRUE(std::ranges::equal(results[k].bytes(), expected[k].bytes()));
    }
  }
  EXPECT_GT(failures, 50);
}

}  // namespace
}  // namespace headrace
#endif  // __SANITIZE_ADDRESS__
