// The own vectorised f32 loops, once per instruction set, chosen at run time.
//
// vec_baseline.cc, vec_avx2.cc and vec_avx512.cc compile the same vec_loops.h for their set. Booleans are
// 0.0f / 1.0f. No function here allocates or throws; pointers need no alignment and n may be 0.
#pragma once

#include <cstdint>

#include "core/pointwise.h"

namespace headrace::cpu {

/// regs[dst] = op(regs[a], regs[b], regs[c]) over a block.
struct VecOp {
  PwOp op = PwOp::load;
  std::int32_t dst = 0, a = 0, b = 0, c = 0;
  float alpha = 0, beta = 0;
};

struct VecTable {
  void (*run)(const VecOp& op, float* dst, const float* a, const float* b, const float* c, std::int64_t n);
  float (*sum)(const float* src, std::int64_t n);
  float (*max)(const float* src, std::int64_t n);
  void (*accumulate_max)(float* acc, const float* src, std::int64_t n);  ///< acc = max(acc, src), NaN kept
  void (*accumulate_min)(float* acc, const float* src, std::int64_t n);
  void (*accumulate_add)(float* acc, const float* src, std::int64_t n);
  void (*scale)(float* dst, float factor, std::int64_t n);  ///< dst *= factor
  void (*softmax)(float* dst, const float* src, std::int64_t n, bool log);
  /// dst = (src - mean) / sqrt(var + epsilon) * scale + bias; scale and bias may be null; rms: no mean.
  void (*layer_norm)(float* dst, const float* src, std::int64_t n, const float* scale, const float* bias,
                     float epsilon, bool rms);
  /// dst = a + (b - a) * t
  void (*lerp)(float* dst, const float* a, const float* b, float t, std::int64_t n);
  void (*widen_u8)(float* dst, const std::uint8_t* src, std::int64_t n);
  void (*widen_f16)(float* dst, const std::uint16_t* src, std::int64_t n);  ///< from the bits of halves
  /// dst[c * dst_stride + r] = src[r * src_stride + c] for 4-byte elements.
  void (*transpose32)(std::uint32_t* dst, std::int64_t dst_stride, const std::uint32_t* src,
                      std::int64_t src_stride, std::int64_t rows, std::int64_t columns);
};

const VecTable& vec();
/// True when `run` knows the op.
bool vec_supports(PwOp op);

namespace vec_baseline {
const VecTable& table();
}
namespace vec_avx2 {
const VecTable& table();
}
namespace vec_avx512 {
const VecTable& table();
}

}  // namespace headrace::cpu
