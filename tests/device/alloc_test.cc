// Launch, copy, record, wait and replay do not allocate: no headrace memory on the host, none on the device.
// Not built under the address sanitizer, which has operators of its own and would call these mismatched.
#ifndef __SANITIZE_ADDRESS__
#include <gtest/gtest.h>

#include "device/host_device.h"
#include "device/test_kernels.h"
#include "support/counted_new.h"
#ifdef HEADRACE_CUDA
#include "backends/cuda/device.h"
#include "device/ptx_kernel.h"
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
TEST(GpuAllocation, NoneOnTheHotPath) {
  std::string why;
  if (!test::has_cuda(&why)) GTEST_SKIP() << why;
  const auto device = cuda::make_device("cuda:0");
  const auto inside = device->enter();
  const test::PtxKernel kernel("affine", 1024);
  rounds(*device, kernel, false);
  const auto free_bytes = [] {
    std::size_t free = 0, total = 0;
    cuda::check(cuda::driver().cuMemGetInfo(&free, &total));
    return free;
  };
  const std::size_t before = free_bytes();
  EXPECT_EQ(rounds(*device, kernel, false), 0);
  EXPECT_EQ(free_bytes(), before);
}
#endif

}  // namespace
}  // namespace headrace
#endif
