// What the tests of the cuda device share: a device with two streams, buffers, and work whose result is
// known.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "backends/cuda/device.h"
#include "device/ptx_kernel.h"
#include "device/test_kernels.h"

namespace headrace::test {

inline constexpr std::uint32_t kCount = 10'000;
inline constexpr std::size_t kBytes = kCount * sizeof(float);

/// Of the current context's GPU.
inline std::size_t free_device_bytes() {
  std::size_t free = 0, total = 0;
  cuda::check(cuda::driver().cuMemGetInfo(&free, &total));
  return free;
}
inline std::vector<float> numbers(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<float> values(kCount);
  for (float& v : values) v = static_cast<float>(random() % 2000) / 7 - 100;
  return values;
}
inline void put(const BufferRef& buffer, const std::vector<float>& values) {
  std::memcpy(buffer->host_data(), values.data(), kBytes);
}
inline std::vector<float> get(const BufferRef& buffer) {
  std::vector<float> values(kCount);
  std::memcpy(values.data(), buffer->host_data(), kBytes);
  return values;
}
inline std::vector<float> affine(std::vector<float> values, int times = 1) {
  for (int i = 0; i < times; ++i)
    for (float& v : values) v = std::fma(v, 1.5f, 0.25f);
  return values;
}

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!test::has_cuda(&why)) GTEST_SKIP() << why;
    use(cuda::make_device("cuda:0"));
  }
  void TearDown() override {
    kernel.reset();
    slow.reset();
  }
  void use(DeviceRef d) {
    kernel.reset();
    slow.reset();
    device = std::move(d);
    inside = device->enter();
    kernel = std::make_unique<PtxKernel>("affine", kCount);
    slow = std::make_unique<PtxKernel>("delay", 0, 20'000'000);
    a = device->allocate(kBytes, MemoryKind::device, MemoryUse::activations);
    b = device->allocate(kBytes, MemoryKind::device, MemoryUse::activations);
    in = device->allocate(kBytes, MemoryKind::pinned, MemoryUse::io);
    out = device->allocate(kBytes, MemoryKind::pinned, MemoryUse::io);
    stream = device->make_stream({.name = "s"});
    other = device->make_stream({.name = "t"});
  }
  void launch(Stream& s, const BufferRef& src, const BufferRef& dst) {
    const Operand operands[2] = {all(src, Access::read), all(dst, Access::write)};
    s.launch(*kernel, operands, {});
  }
  void copy(Stream& s, const BufferRef& dst, const BufferRef& src) {
    s.copy(all(dst, Access::write), all(src, Access::read));
  }
  /// Upload, b = affine(affine(in)) by way of a, download.
  void work(Stream& s) {
    copy(s, a, in);
    launch(s, a, b);
    launch(s, b, a);
    copy(s, out, a);
  }

  DeviceRef device;
  std::shared_ptr<void> inside;
  std::unique_ptr<PtxKernel> kernel, slow;
  BufferRef a, b, in, out;
  std::unique_ptr<Stream> stream, other;
};

}  // namespace headrace::test
