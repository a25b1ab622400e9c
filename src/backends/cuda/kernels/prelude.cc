#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {

const std::string_view kPrelude = R"cuda(
typedef signed char i8; typedef unsigned char u8; typedef short i16; typedef unsigned short u16;
typedef int i32; typedef unsigned int u32; typedef long long i64; typedef unsigned long long u64;
typedef float f32; typedef double f64;
struct f16 { u16 bits; };
struct bf16 { u16 bits; };
#define HR __device__ __forceinline__
#define HR_NAN __int_as_float(0x7fffffff)
#define HR_INF __int_as_float(0x7f800000)

HR float reg(f16 x) { float r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits)); return r; }
HR float reg(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
HR float reg(float x) { return x; }
HR double reg(double x) { return x; }
HR i64 reg(i8 x) { return x; }   HR i64 reg(u8 x) { return x; }
HR i64 reg(i16 x) { return x; }  HR i64 reg(u16 x) { return x; }
HR i64 reg(i32 x) { return x; }  HR i64 reg(u32 x) { return x; }
HR i64 reg(i64 x) { return x; }  HR i64 reg(u64 x) { return (i64)x; }
HR f16 half_of(float x) { f16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r.bits) : "f"(x)); return r; }
HR float round_half(float x) { return reg(half_of(x)); }
HR bf16 bhalf_of(float x) {
  bf16 r;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
#else
  const u32 b = __float_as_uint(x);
  r.bits = x != x ? (u16)0x7fff : (u16)((b + 0x7fffu + ((b >> 16) & 1u)) >> 16);
#endif
  return r;
}
HR float round_bhalf(float x) { return reg(bhalf_of(x)); }

template <class T> struct Store { template <class R> static HR T of(R x) { return (T)x; } };
template <> struct Store<f16> { template <class R> static HR f16 of(R x) { return half_of((float)x); } };
template <> struct Store<bf16> { template <class R> static HR bf16 of(R x) { return bhalf_of((float)x); } };

template <int bytes> struct Chunk;
template <> struct Chunk<1> { typedef u8 T; };
template <> struct Chunk<2> { typedef u16 T; };
template <> struct Chunk<4> { typedef u32 T; };
template <> struct Chunk<8> { typedef uint2 T; };
template <> struct Chunk<16> { typedef uint4 T; };

// N elements that lie together, in pieces of C bytes when the address allows it.
template <int N, int C, class T> HR void load(T (&r)[N], const T* p, bool aligned) {
  if (C > (int)sizeof(T) && aligned) {
    typedef typename Chunk<C>::T Piece;
#pragma unroll
    for (int k = 0; k < N * (int)sizeof(T) / C; ++k) ((Piece*)r)[k] = ((const Piece*)p)[k];
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) r[k] = p[k];
  }
}
template <int N, int C, class T> HR void store(T* p, const T (&r)[N], bool aligned) {
  if (C > (int)sizeof(T) && aligned) {
    typedef typename Chunk<C>::T Piece;
#pragma unroll
    for (int k = 0; k < N * (int)sizeof(T) / C; ++k) ((Piece*)p)[k] = ((const Piece*)r)[k];
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) p[k] = r[k];
  }
}
HR bool is_aligned(const void* p, int bytes) { return ((u64)p & (u64)(bytes - 1)) == 0; }

#define HR_MATH1(fn) \
  HR float m_##fn(float x) { return fn##f(x); } HR double m_##fn(double x) { return fn(x); }
#define HR_MATH2(fn) \
  HR float m_##fn(float x, float y) { return fn##f(x, y); } \
  HR double m_##fn(double x, double y) { return fn(x, y); }
HR_MATH1(floor) HR_MATH1(ceil) HR_MATH1(rint) HR_MATH1(sqrt) HR_MATH1(exp) HR_MATH1(log) HR_MATH1(sin)
HR_MATH1(cos) HR_MATH1(tan) HR_MATH1(asin) HR_MATH1(acos) HR_MATH1(atan) HR_MATH1(sinh) HR_MATH1(cosh)
HR_MATH1(tanh) HR_MATH1(asinh) HR_MATH1(acosh) HR_MATH1(atanh) HR_MATH1(erf) HR_MATH1(expm1) HR_MATH1(log1p)
HR_MATH1(fabs) HR_MATH2(fmod) HR_MATH2(pow) HR_MATH1(trunc)

template <class R> HR R m_clamp01(R x) { return x < (R)0 ? (R)0 : x > (R)1 ? (R)1 : x; }
template <class R> HR R m_min(R x, R y) { return x != x || x < y ? x : y; }
template <class R> HR R m_max(R x, R y) { return x != x || x > y ? x : y; }
template <class R> HR R m_relu(R x) { return x < (R)0 ? (R)0 : x; }
template <class R> HR R m_sign(R x) { return x > (R)0 ? (R)1 : x < (R)0 ? (R)-1 : x != x ? x : (R)0; }
template <class R> HR R m_clip(R x, R low, R high) { x = x < low ? low : x; return high < x ? high : x; }
#if __CUDA_ARCH__ >= 800  // one instruction that keeps NaN
HR float m_max(float x, float y) {
  float r; asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(x), "f"(y)); return r;
}
HR float m_min(float x, float y) {
  float r; asm("min.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(x), "f"(y)); return r;
}
HR float m_relu(float x) { return m_max(x, 0.0f); }
HR float m_clip(float x, float low, float high) { return m_min(m_max(x, low), high); }
#endif
template <class R> HR R m_sigmoid(R x) { return (R)1 / ((R)1 + m_exp(-x)); }
// For results that are rounded to f16 or bf16.
HR float m_sigmoid_fast(float x) { return __fdividef(1.0f, 1.0f + __expf(-m_clip(x, -80.0f, 80.0f))); }
HR float m_exp_fast(float x) { return __expf(x); }
template <class R> HR R m_softplus(R x) { return m_max(x, (R)0) + m_log1p(m_exp(-m_fabs(x))); }
template <class R> HR R m_mod(R x, R y) {
  const R m = m_fmod(x, y);
  return m != (R)0 && (m < (R)0) != (y < (R)0) ? m + y : m;
}
template <class R> HR R m_isinf(R x) { return m_fabs(x) == (R)HR_INF; }

// Two halves at once.
HR u32 max_half2(u32 x, u32 y) {
#if __CUDA_ARCH__ >= 800
  u32 r; asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(r) : "r"(x), "r"(y)); return r;
#else
  f16 a, b, c, d;
  a.bits = (u16)x; b.bits = (u16)(x >> 16); c.bits = (u16)y; d.bits = (u16)(y >> 16);
  return half_of(m_max(reg(a), reg(c))).bits | (u32)half_of(m_max(reg(b), reg(d))).bits << 16;
#endif
}
template <int N, class T, class R> HR void convert(T (&out)[N], const R (&x)[N]) {
#pragma unroll
  for (int k = 0; k < N; ++k) out[k] = Store<T>::of(x[k]);
}
#if __CUDA_ARCH__ >= 800
template <int N> HR void convert(f16 (&out)[N], const float (&x)[N]) {
#pragma unroll
  for (int k = 0; k + 1 < N; k += 2) {
    u32 r; asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(x[k + 1]), "f"(x[k]));
    out[k].bits = (u16)r; out[k + 1].bits = (u16)(r >> 16);
  }
  if (N % 2) out[N - 1] = half_of(x[N - 1]);
}
template <int N> HR void convert(bf16 (&out)[N], const float (&x)[N]) {
#pragma unroll
  for (int k = 0; k + 1 < N; k += 2) {
    u32 r; asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(x[k + 1]), "f"(x[k]));
    out[k].bits = (u16)r; out[k + 1].bits = (u16)(r >> 16);
  }
  if (N % 2) out[N - 1] = bhalf_of(x[N - 1]);
}
#endif

// A value from another lane of the warp.
template <class R> HR R from_lane(R x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
)cuda";

const std::string_view kIntegerPrelude = R"cuda(
// Truncates towards zero, saturates at 64 bits; NaN becomes the lowest number.
template <class R> HR i64 int_of(R x) {
  if (x != x) return (i64)0x8000000000000000ULL;
  if (x >= (R)9223372036854775808.0) return 0x7fffffffffffffffLL;
  if (x < (R)-9223372036854775808.0) return (i64)0x8000000000000000ULL;
  return (i64)x;
}
template <class R> HR i64 uint_of(R x) {
  if (x >= (R)9223372036854775808.0) return x >= (R)18446744073709551616.0 ? (i64)~0ULL : (i64)(u64)x;
  return int_of(x);
}
HR i64 int_div(i64 x, i64 y) { return y == 0 ? 0 : y == -1 ? (i64)(0 - (u64)x) : x / y; }
HR i64 uint_div(i64 x, i64 y) { return y == 0 ? 0 : (i64)((u64)x / (u64)y); }
HR i64 int_rem(i64 x, i64 y) { return y == 0 || y == -1 ? 0 : x % y; }
HR i64 uint_rem(i64 x, i64 y) { return y == 0 ? 0 : (i64)((u64)x % (u64)y); }
HR i64 int_mod(i64 x, i64 y) {
  const i64 m = int_rem(x, y);
  return m != 0 && (m < 0) != (y < 0) ? m + y : m;
}
HR i64 int_pow(i64 base, i64 exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  u64 result = 1, factor = (u64)base;
  for (u64 e = (u64)exponent; e; e >>= 1, factor *= factor)
    if (e & 1) result *= factor;
  return (i64)result;
}
HR i64 shift_left(i64 x, i64 y) { return (u64)y >= 64 ? 0 : (i64)((u64)x << y); }
HR i64 shift_right(i64 x, i64 y) { return x >> ((u64)y >= 64 ? 63 : y); }
HR i64 shift_right_unsigned(i64 x, i64 y) { return (u64)y >= 64 ? 0 : (i64)((u64)x >> y); }
)cuda";

const std::string_view kGroupPrelude = R"cuda(
template <int G, class A> HR void group_merge(A& a) {
#pragma unroll
  for (int m = (G < 32 ? G : 32) / 2; m > 0; m /= 2) merge(a, lane(a, m));
  if (G > 32) {
    __shared__ A parts[8];
    const int warp = threadIdx.x / 32, first = warp / (G / 32) * (G / 32);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[warp] = a;
    __syncthreads();
    a = parts[first];
#pragma unroll
    for (int w = 1; w < G / 32; ++w) merge(a, parts[first + w]);
  }
}
)cuda";

}  // namespace headrace::cuda
