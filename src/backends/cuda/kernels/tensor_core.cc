#include "backends/cuda/kernels/tensor_core.h"

#include <fmt/format.h>

#include "backends/cuda/codegen.h"

namespace headrace::cuda {

const std::string_view kTensorCore = R"cuda(
HR void tensor_core(float (&acc)[4], const u32 (&a)[4], u32 b0, u32 b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]) : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3]) : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}
// Two floats rounded and clamped below at 0; NaN stays.
template <int N> HR void convert_relu(f16 (&out)[N], const float (&x)[N]) {
#pragma unroll
  for (int k = 0; k < N; k += 2) {
#if __CUDA_ARCH__ >= 800
    u32 r; asm("cvt.rn.relu.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(x[k + 1]), "f"(x[k]));
    out[k].bits = (u16)r; out[k + 1].bits = (u16)(r >> 16);
#else
    out[k] = half_of(m_relu(x[k])); out[k + 1] = half_of(m_relu(x[k + 1]));
#endif
  }
}
)cuda";

std::string warpgroup_core(int tiles) {
  std::string numbers, registers;
  for (int i = 0; i < 4 * tiles; ++i) {
    numbers += fmt::format("{}%{}", i ? ", " : "", i);
    registers += fmt::format("{}\"+f\"(acc[{}][{}])", i ? ", " : "", i / 4, i % 4);
  }
  return fill(R"cuda(
// The compiler must not move registers that the tensor cores read or write on their own: it sees them here.
HR void warpgroup_begin(float (&acc)[$N$][4]) {
#pragma unroll
  for (int j = 0; j < $N$; ++j)
    asm volatile("" : "+f"(acc[j][0]), "+f"(acc[j][1]), "+f"(acc[j][2]), "+f"(acc[j][3])::"memory");
}
HR void warpgroup_end(float (&acc)[$N$][4]) { warpgroup_begin(acc); }
HR void warpgroup_fix(u32 (&a)[4]) {
  asm volatile("" : "+r"(a[0]), "+r"(a[1]), "+r"(a[2]), "+r"(a[3])::"memory");
}
HR void warpgroup_fence() {
  __syncwarp();
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
HR void warpgroup_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most N groups are under way.
template <int N> HR void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
template <int TILES> HR void warpgroup_core(float (&acc)[$N$][4], const u32 (&a)[4], const u32* weights) {
  const u64 place = (u32)__cvta_generic_to_shared(weights);
  const u64 operand = place >> 4 | (u64)(TILES * 8) << 16 | (u64)8 << 32;
  asm volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0;"
               "wgmma.mma_async.sync.aligned.m64n$COLUMNS$k16.f32.f16.f16 "
               "{$NUMBERS$}, {%$A0$, %$A1$, %$A2$, %$A3$}, %$B$, p, 1, 1, 0; }"
               : $REGISTERS$ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(operand));
}
)cuda",
              {{"N", std::to_string(tiles)},
               {"COLUMNS", std::to_string(8 * tiles)},
               {"NUMBERS", numbers},
               {"REGISTERS", registers},
               {"A0", std::to_string(4 * tiles)},
               {"A1", std::to_string(4 * tiles + 1)},
               {"A2", std::to_string(4 * tiles + 2)},
               {"A3", std::to_string(4 * tiles + 3)},
               {"B", std::to_string(4 * tiles + 4)}});
}

}  // namespace headrace::cuda
