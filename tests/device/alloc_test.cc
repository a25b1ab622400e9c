// Launch, copy, record, wait and replay do not allocate: no headrace memory on the host, none on the device.
// Not built under the address sanitizer, which has operators of its own and would call these mismatched.
#ifndef __SANITIZE_ADDRESS__
#include <gtest/gtest.h>

#include "device/host_device.h"
#include "device/test_kernels.h"
#include "support/counted_new.h"
#ifdef HEADRACE_CUDA
#include "api/registry.h"
#include "device/gpu_fixture.h"
#include "plan/run_util.h"
#endif

namespace headrace {
namespace {

/// Allocations of this thread in 200 rounds of everything, after one round.
int rounds(Device& device, const Kernel& kernel, bool inline_execution) {
  constexpr std::size_t kBytes = 4096;
  const auto make = [&](MemoryKind kind) { return device.allocate(kBytes, kind, MemoryUse::io); };
  const BufferRef in = make(MemoryKind::pinned), a = make(MemoryKind::device), b = make(MemoryKind::device),
                  out = make(MemoryKind::pinned);
  const auto s = device.make_stream({.name = "s", .inline_execution = inline_execution}),
             t = device.make_stream({.name = "t", .inline_execution = inline_execution});
  const EventRef event = device.make_event(), done = device.make_event();
  const Operand operands[2] = {{a.get(), 0, kBytes, Access::read}, {b.get(), 0, kBytes, Access::write}};
  std::unique_ptr<Recording> recording;
  if (device.can_record()) recording = s->make_recording([&] { s->launch(kernel, operands, {}); });
  for (int round = 0; round <= 200; ++round) {
    counting = round > 0;
    s->copy({a.get(), 0, kBytes, Access::write}, {in.get(), 0, kBytes, Access::read});
    s->launch(kernel, operands, {});
    if (recording) s->replay(*recording);
    s->record(*event);
    t->wait(*event);
    t->copy({out.get(), 0, kBytes, Access::write}, {b.get(), 0, kBytes, Access::read});
    t->record(*done);
    done->wait();
    static_cast<void>(done->ready());
  }
  counting = false;
  return std::exchange(allocations, 0);
}

TEST(DeviceAllocation, NoneOnTheHotPathOfTheHost) {
  const auto device = make_host_device({.kind = "cpu", .model = "", .threads = 1});
  const test::TestKernel nothing([](auto, std::byte*) {});
  EXPECT_EQ(rounds(*device, nothing, true), 0);
  EXPECT_EQ(rounds(*device, nothing, false), 0);
}

#ifdef HEADRACE_CUDA
/// A whole engine: prepared shapes, pinned memory, with and without recordings.
TEST(GpuAllocation, NoneInAnInference) {
  std::string why;
  if (!test::has_cuda(&why)) GTEST_SKIP() << why;
  compiler::Options options;
  options.device = "cuda:0";
  options.opt_level = 0;
  const auto plan =
      std::make_shared<const Plan>(compiler::compile(test::small_graph(), api::registry(), options));
  for (const std::size_t recordings : {16, 0}) {
    const auto engine = runtime::Engine::create(plan, api::registry(), {.max_recordings = recordings});
    Device& device = engine->device();
    const auto inside = device.enter();
    test::Loop loop(engine, device.make_stream({.name = "test"}));
    loop.infer();
    const std::uint64_t made = device.memory().allocations;
    const std::size_t free = test::free_device_bytes();
    allocations = 0;
    counting = true;
    for (int i = 0; i < 100; ++i) loop.infer();
    counting = false;
    const int on_host = std::exchange(allocations, 0);
    if (recordings > 0) {  // launched one by one the same network makes some 26 small ones on the host
      EXPECT_EQ(on_host, 0);
    }
    EXPECT_EQ(device.memory().allocations, made);
    EXPECT_EQ(test::free_device_bytes(), free);
  }
}

TEST(GpuAllocation, NoneOnTheHotPath) {
  std::string why;
  if (!test::has_cuda(&why)) GTEST_SKIP() << why;
  const auto device = cuda::make_device("cuda:0");
  const auto inside = device->enter();
  const test::PtxKernel kernel("affine", 1024);
  rounds(*device, kernel, false);
  const std::size_t before = test::free_device_bytes();
  EXPECT_EQ(rounds(*device, kernel, false), 0);
  EXPECT_EQ(test::free_device_bytes(), before);
}
#endif

}  // namespace
}  // namespace headrace
#endif
