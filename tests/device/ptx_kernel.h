// Small real kernels for tests on a GPU.
#pragma once

#include <cstdint>
#include <span>

#include "backends/cuda/driver.h"
#include "device/device.h"

namespace headrace::test {

inline constexpr const char* kPtx = R"(
.version 7.5
.target sm_75
.address_size 64
.visible .entry affine(.param .u64 src, .param .u64 dst, .param .u32 n) {
  .reg .pred %p<2>; .reg .b32 %r<6>; .reg .f32 %f<3>; .reg .b64 %d<6>;
  ld.param.u64 %d0, [src]; ld.param.u64 %d1, [dst]; ld.param.u32 %r0, [n];
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
  mad.lo.u32 %r4, %r1, %r2, %r3;
  setp.ge.u32 %p0, %r4, %r0; @%p0 bra done;
  mul.wide.u32 %d2, %r4, 4; add.u64 %d3, %d0, %d2; add.u64 %d4, %d1, %d2;
  ld.global.f32 %f0, [%d3]; fma.rn.f32 %f1, %f0, 0f3FC00000, 0f3E800000; st.global.f32 [%d4], %f1;
done: ret;
}
.visible .entry delay(.param .u64 nanoseconds) {
  .reg .pred %p<2>; .reg .b64 %d<5>;
  ld.param.u64 %d0, [nanoseconds]; mov.u64 %d1, %globaltimer;
again: mov.u64 %d2, %globaltimer; sub.u64 %d3, %d2, %d1; setp.lt.u64 %p0, %d3, %d0; @%p0 bra again;
  ret;
}
.visible .entry crash() {
  .reg .b64 %d<2>; .reg .b32 %r<2>;
  mov.u64 %d0, 64; mov.u32 %r0, 1; st.global.u32 [%d0], %r0; ret;
}
)";

/// One entry of kPtx, made in the current context. affine: dst[i] = 1.5 * src[i] + 0.25 of n floats; delay:
/// keeps one block busy; crash: writes where it may not.
class PtxKernel final : public Kernel {
 public:
  PtxKernel(const char* entry, std::uint32_t n, std::uint64_t nanoseconds = 0)
      : name_(entry), n_(n), nanoseconds_(nanoseconds) {
    cuda::check(cuda::driver().cuModuleLoadData(&module_, kPtx));
    cuda::check(cuda::driver().cuModuleGetFunction(&function_, module_, entry));
  }
  ~PtxKernel() override { cuda::driver().cuModuleUnload(module_); }
  void launch(NativeStream stream, std::span<std::byte* const> data, std::byte*) const override {
    std::uint64_t src = 0, dst = 0, nanoseconds = nanoseconds_;
    std::uint32_t n = n_;
    void* affine[] = {&src, &dst, &n};
    void* delay[] = {&nanoseconds};
    if (data.size() == 2) {
      src = reinterpret_cast<std::uint64_t>(data[0]);
      dst = reinterpret_cast<std::uint64_t>(data[1]);
    }
    cuda::check(cuda::driver().cuLaunchKernel(function_, n_ ? (n_ + 127) / 128 : 1, 1, 1, n_ ? 128 : 1, 1, 1,
                                              0, static_cast<CUstream>(stream), n_ ? affine : delay,
                                              nullptr));
  }
  std::string_view name() const override { return name_; }

 private:
  const char* name_;
  std::uint32_t n_;
  std::uint64_t nanoseconds_;
  CUmodule module_ = nullptr;
  CUfunction function_ = nullptr;
};

}  // namespace headrace::test
