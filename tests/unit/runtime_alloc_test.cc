// enqueue does not allocate once its shapes are prepared. Not built under the address sanitizer, which has
// operators of its own and would call these mismatched.
#ifndef __SANITIZE_ADDRESS__
#include <gtest/gtest.h>

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

TEST(RuntimeAllocation, NoneWithoutRecordings) {
  expect_none(test::apart_engine(test::apart_registry(), 0, {.threads = 1, .max_recordings = 0}));
}

}  // namespace
}  // namespace headrace
#endif  // __SANITIZE_ADDRESS__
