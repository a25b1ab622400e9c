// Bodies of VecTable, compiled once per instruction set by vec_*.cc. Not an ordinary header: no include guard
// needed, each includer defines HEADRACE_VEC_NAMESPACE and HEADRACE_VEC_BYTES. Only builtins and file-local
// functions are used: an inline function of a library, compiled here for a wide set, could be picked by the
// linker for everybody.
#include "backends/cpu/vec.h"

namespace headrace::cpu {
namespace HEADRACE_VEC_NAMESPACE {
namespace {

typedef float Vf __attribute__((vector_size(HEADRACE_VEC_BYTES)));
typedef std::int32_t Vi __attribute__((vector_size(HEADRACE_VEC_BYTES)));
constexpr std::int64_t kLanes = HEADRACE_VEC_BYTES / 4;
#define HEADRACE_INLINE inline __attribute__((always_inline))

HEADRACE_INLINE Vf load(const float* p) {
  Vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
HEADRACE_INLINE void store(float* p, Vf v) { __builtin_memcpy(p, &v, sizeof v); }
HEADRACE_INLINE Vf load_part(const float* p, std::int64_t n) {
  Vf v = {};
  __builtin_memcpy(&v, p, static_cast<unsigned long>(n) * 4);
  return v;
}
HEADRACE_INLINE void store_part(float* p, Vf v, std::int64_t n) {
  __builtin_memcpy(p, &v, static_cast<unsigned long>(n) * 4);
}
HEADRACE_INLINE Vf all(float x) { return Vf{} + x; }
HEADRACE_INLINE Vi bits(Vf v) { return reinterpret_cast<Vi>(v); }
HEADRACE_INLINE Vf floats(Vi v) { return reinterpret_cast<Vf>(v); }
HEADRACE_INLINE Vf choose(Vi mask, Vf a, Vf b) { return floats((mask & bits(a)) | (~mask & bits(b))); }
HEADRACE_INLINE Vf truth(Vi mask) { return floats(mask & bits(all(1.0f))); }
HEADRACE_INLINE Vf absolute(Vf x) { return floats(bits(x) & 0x7fffffff); }

HEADRACE_INLINE Vf round_even(Vf x) {
  Vf y;
  for (int i = 0; i < kLanes; ++i) y[i] = __builtin_rintf(x[i]);
  return y;
}
HEADRACE_INLINE Vf floor_of(Vf x) {
  Vf y;
  for (int i = 0; i < kLanes; ++i) y[i] = __builtin_floorf(x[i]);
  return y;
}
HEADRACE_INLINE Vf ceil_of(Vf x) {
  Vf y;
  for (int i = 0; i < kLanes; ++i) y[i] = __builtin_ceilf(x[i]);
  return y;
}
HEADRACE_INLINE Vf root(Vf x) {
  Vf y;
  for (int i = 0; i < kLanes; ++i) y[i] = __builtin_sqrtf(x[i]);
  return y;
}

// e^x = 2^n * e^r, |r| <= ln2/2; the scale in two steps so that denormal results and 2^128 come out right.
HEADRACE_INLINE Vf exp_of(Vf x) {
  Vf y = choose(x < -104.0f, all(-104.0f), x);
  y = choose(y > 89.0f, all(89.0f), y);
  const Vf magic = all(12582912.0f);
  const Vf shifted = y * 1.44269504088896341f + magic;
  const Vi n = bits(shifted) - bits(magic);
  const Vf whole = shifted - magic;
  const Vf r = (y - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Vf p = all(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const Vi half = n >> 1;
  return p * floats((half + 127) << 23) * floats((n - half + 127) << 23);
}
// x = 2^e * m, m in [sqrt(1/2), sqrt(2)): log x = e ln2 + 2 atanh((m-1)/(m+1)).
HEADRACE_INLINE Vf log_of(Vf x) {
  const Vi tiny = x < 1.17549435e-38f;
  const Vf y = choose(tiny, x * 33554432.0f, x);
  const Vi e = (bits(y) - 0x3f3504f3) >> 23;
  const Vf m = floats(bits(y) - (e << 23));
  const Vf k = __builtin_convertvector(e, Vf) - choose(tiny, all(25.0f), all(0.0f));
  const Vf f = m - 1.0f, s = f / (m + 1.0f), z = s * s;
  Vf p = all(2.0f / 11);
  p = p * z + 2.0f / 9;
  p = p * z + 2.0f / 7;
  p = p * z + 2.0f / 5;
  p = p * z + 2.0f / 3;
  // log(1+f) = f - s*(f - z*p): keeps the low bits of f.
  const Vf log_m = f - s * (f - z * p);
  Vf r = k * 0.693359375f + (log_m - k * 2.12194440e-4f);
  const float infinity = __builtin_inff();
  r = choose(x == infinity, all(infinity), r);
  r = choose(x == 0.0f, all(-infinity), r);
  return choose((x < 0.0f) | (x != x), all(__builtin_nanf("")), r);
}
HEADRACE_INLINE Vf sigmoid_of(Vf x) { return 1.0f / (1.0f + exp_of(-x)); }
HEADRACE_INLINE Vf tanh_of(Vf x) {
  const Vf a = absolute(x);
  const Vf e = exp_of(-2.0f * a);
  const Vf big = (1.0f - e) / (1.0f + e);
  const Vf z = a * a;  // Taylor series: for small a the quotient would cancel
  Vf p = all(-1382.0f / 155925);
  p = p * z + 62.0f / 2835;
  p = p * z - 17.0f / 315;
  p = p * z + 2.0f / 15;
  p = p * z - 1.0f / 3;
  const Vf small = a + a * z * p;
  const Vf r = choose(a < 0.3f, small, big);
  return floats(bits(r) | (bits(x) & static_cast<std::int32_t>(0x80000000)));
}
HEADRACE_INLINE Vf erf_of(Vf x) {
  // Odd rational fit on [-4, 4]; beyond, erf is 1 to the last bit of f32.
  Vf y = choose(x < -4.0f, all(-4.0f), x);
  y = choose(y > 4.0f, all(4.0f), y);
  const Vf z = y * y;
  Vf p = all(-2.72614225801306e-10f);
  p = p * z + 2.77068142495902e-08f;
  p = p * z - 2.10102402082508e-06f;
  p = p * z - 5.69250639462346e-05f;
  p = p * z - 7.34990630326855e-04f;
  p = p * z - 2.95459980854025e-03f;
  p = p * z - 1.60960333262415e-02f;
  Vf q = all(-1.45660718464996e-05f);
  q = q * z - 2.13374055278905e-04f;
  q = q * z - 1.68282697438203e-03f;
  q = q * z - 7.37332916720468e-03f;
  q = q * z - 1.42647390514189e-02f;
  return y * p / q;
}
HEADRACE_INLINE Vf softplus_of(Vf x) {  // max(x, 0) + log(1 + e^-|x|)
  const Vf e = exp_of(-absolute(x)), u = 1.0f + e;
  const Vf log1p = choose(u == 1.0f, e, log_of(u) * e / (u - 1.0f));
  return choose(x < 0.0f, all(0.0f), x) + log1p;
}
HEADRACE_INLINE Vf expm1_of(Vf x) {
  const Vf u = exp_of(x);
  Vf p = all(1.0f / 5040);
  p = p * x + 1.0f / 720;
  p = p * x + 1.0f / 120;
  p = p * x + 1.0f / 24;
  p = p * x + 1.0f / 6;
  p = p * x + 0.5f;
  return choose(absolute(x) < 0.5f, x + x * x * p, u - 1.0f);
}
HEADRACE_INLINE Vf max_of(Vf a, Vf b) { return choose((a > b) | (a != a), a, b); }
HEADRACE_INLINE Vf min_of(Vf a, Vf b) { return choose((a < b) | (a != a), a, b); }

template <class F>
HEADRACE_INLINE void map1(float* d, const float* a, std::int64_t n, F f) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(d + i, f(load(a + i)));
  if (i < n) store_part(d + i, f(load_part(a + i, n - i)), n - i);
}
template <class F>
HEADRACE_INLINE void map2(float* d, const float* a, const float* b, std::int64_t n, F f) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(d + i, f(load(a + i), load(b + i)));
  if (i < n) store_part(d + i, f(load_part(a + i, n - i), load_part(b + i, n - i)), n - i);
}
template <class F>
HEADRACE_INLINE void scalar1(float* d, const float* a, std::int64_t n, F f) {
  for (std::int64_t i = 0; i < n; ++i) d[i] = f(a[i]);
}
template <class F>
HEADRACE_INLINE void scalar2(float* d, const float* a, const float* b, std::int64_t n, F f) {
  for (std::int64_t i = 0; i < n; ++i) d[i] = f(a[i], b[i]);
}

void run(const VecOp& op, float* d, const float* a, const float* b, const float* c, std::int64_t n) {
  const float alpha = op.alpha, beta = op.beta;
#define MAP1(expr)                                             \
  map1(d, a, n, [=](Vf x) HEADRACE_LAMBDA { return (expr); }); \
  break
#define MAP2(expr)                                                      \
  map2(d, a, b, n, [=](Vf x, Vf y) HEADRACE_LAMBDA { return (expr); }); \
  break
#define SCALAR1(expr)                                \
  scalar1(d, a, n, [=](float x) { return (expr); }); \
  break
#define SCALAR2(expr)                                            \
  scalar2(d, a, b, n, [=](float x, float y) { return (expr); }); \
  break
#define HEADRACE_LAMBDA __attribute__((always_inline))
  (void)beta;
  switch (op.op) {
    case PwOp::neg: MAP1(-x);
    case PwOp::abs: MAP1(absolute(x));
    case PwOp::sign: MAP1(choose(x > 0.0f, all(1.0f), choose(x < 0.0f, all(-1.0f), x)));
    case PwOp::floor: MAP1(floor_of(x));
    case PwOp::ceil: MAP1(ceil_of(x));
    case PwOp::round: MAP1(round_even(x));
    case PwOp::sqrt: MAP1(root(x));
    case PwOp::rsqrt: MAP1(1.0f / root(x));
    case PwOp::reciprocal: MAP1(1.0f / x);
    case PwOp::exp: MAP1(exp_of(x));
    case PwOp::log: MAP1(log_of(x));
    case PwOp::sin: SCALAR1(__builtin_sinf(x));
    case PwOp::cos: SCALAR1(__builtin_cosf(x));
    case PwOp::tan: SCALAR1(__builtin_tanf(x));
    case PwOp::asin: SCALAR1(__builtin_asinf(x));
    case PwOp::acos: SCALAR1(__builtin_acosf(x));
    case PwOp::atan: SCALAR1(__builtin_atanf(x));
    case PwOp::sinh: SCALAR1(__builtin_sinhf(x));
    case PwOp::cosh: SCALAR1(__builtin_coshf(x));
    case PwOp::tanh: MAP1(tanh_of(x));
    case PwOp::asinh: SCALAR1(__builtin_asinhf(x));
    case PwOp::acosh: SCALAR1(__builtin_acoshf(x));
    case PwOp::atanh: SCALAR1(__builtin_atanhf(x));
    case PwOp::erf: MAP1(erf_of(x));
    case PwOp::is_nan: MAP1(truth(x != x));
    case PwOp::is_inf: {
      const Vi plus = Vi{} - (alpha != 0), minus = Vi{} - (beta != 0);
      map1(d, a, n, [=](Vf x) HEADRACE_LAMBDA {
        return truth(((x == __builtin_inff()) & plus) | ((x == -__builtin_inff()) & minus));
      });
      break;
    }
    case PwOp::logical_not: MAP1(truth(x == 0.0f));
    case PwOp::relu: MAP1(choose(x < 0.0f, all(0.0f), x));
    case PwOp::clip:
      MAP1(choose(x < alpha, all(alpha < beta ? alpha : beta), choose(x > beta, all(beta), x)));
    case PwOp::leaky_relu: MAP1(choose(x < 0.0f, x * alpha, x));
    case PwOp::elu: MAP1(choose(x < 0.0f, alpha * expm1_of(x), x));
    case PwOp::selu: MAP1(choose(x > 0.0f, beta * x, beta * alpha * expm1_of(x)));
    case PwOp::celu: MAP1(choose(x > 0.0f, x, alpha * expm1_of(x / alpha)));
    case PwOp::softplus: MAP1(softplus_of(x));
    case PwOp::softsign: MAP1(x / (1.0f + absolute(x)));
    case PwOp::sigmoid: MAP1(sigmoid_of(x));
    case PwOp::hard_sigmoid: MAP1(max_of(min_of(x * alpha + beta, all(1.0f)), all(0.0f)));
    case PwOp::hard_swish: MAP1(x * max_of(min_of(x * (1.0f / 6) + 0.5f, all(1.0f)), all(0.0f)));
    case PwOp::silu: MAP1(x * sigmoid_of(alpha * x));
    case PwOp::mish: MAP1(x * tanh_of(softplus_of(x)));
    case PwOp::gelu_erf: MAP1(0.5f * x * (1.0f + erf_of(x * 0.70710678118654752f)));
    case PwOp::gelu_tanh:
      MAP1(0.5f * x * (1.0f + tanh_of(0.79788456080286536f * (x + 0.044715f * x * x * x))));
    case PwOp::thresholded_relu: MAP1(choose((x > alpha) | (x != x), x, all(0.0f)));
    case PwOp::add: MAP2(x + y);
    case PwOp::sub: MAP2(x - y);
    case PwOp::mul: MAP2(x * y);
    case PwOp::div: MAP2(x / y);
    case PwOp::mod: {
      scalar2(d, a, b, n, [](float x, float y) {
        const float r = __builtin_fmodf(x, y);
        return r != 0 && (r < 0) != (y < 0) ? r + y : r;
      });
      break;
    }
    case PwOp::fmod: SCALAR2(__builtin_fmodf(x, y));
    case PwOp::pow: SCALAR2(__builtin_powf(x, y));
    case PwOp::min: MAP2(min_of(x, y));
    case PwOp::max: MAP2(max_of(x, y));
    case PwOp::prelu: MAP2(choose(x < 0.0f, x * y, x));
    case PwOp::equal: MAP2(truth(x == y));
    case PwOp::less: MAP2(truth(x < y));
    case PwOp::less_equal: MAP2(truth(x <= y));
    case PwOp::greater: MAP2(truth(x > y));
    case PwOp::greater_equal: MAP2(truth(x >= y));
    case PwOp::logical_and: MAP2(x * y);
    case PwOp::logical_or: MAP2(max_of(x, y));
    case PwOp::logical_xor: MAP2(truth(x != y));
    case PwOp::select: {
      std::int64_t i = 0;
      for (; i + kLanes <= n; i += kLanes)
        store(d + i, choose(load(a + i) != 0.0f, load(b + i), load(c + i)));
      for (; i < n; ++i) d[i] = a[i] != 0.0f ? b[i] : c[i];
      break;
    }
    default: break;
  }
#undef MAP1
#undef MAP2
#undef SCALAR1
#undef SCALAR2
}

float sum(const float* src, std::int64_t n) {
  Vf a = {}, b = {};
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    a += load(src + i);
    b += load(src + i + kLanes);
  }
  a += b;
  for (; i + kLanes <= n; i += kLanes) a += load(src + i);
  if (i < n) a += load_part(src + i, n - i);
  float total = 0;
  for (int lane = 0; lane < kLanes; ++lane) total += a[lane];
  return total;
}
float max(const float* src, std::int64_t n) {
  float best = -__builtin_inff();
  std::int64_t i = 0;
  if (n >= kLanes) {
    Vf m = load(src);
    for (i = kLanes; i + kLanes <= n; i += kLanes) m = max_of(m, load(src + i));
    for (int lane = 0; lane < kLanes; ++lane) best = m[lane] > best || m[lane] != m[lane] ? m[lane] : best;
  }
  for (; i < n; ++i) best = src[i] > best || src[i] != src[i] ? src[i] : best;
  return best;
}
void accumulate_max(float* acc, const float* src, std::int64_t n) {
  map2(acc, acc, src, n, [](Vf x, Vf y) { return max_of(x, y); });
}
void accumulate_min(float* acc, const float* src, std::int64_t n) {
  map2(acc, acc, src, n, [](Vf x, Vf y) { return min_of(x, y); });
}
void accumulate_add(float* acc, const float* src, std::int64_t n) {
  map2(acc, acc, src, n, [](Vf x, Vf y) { return x + y; });
}
void scale(float* dst, float factor, std::int64_t n) {
  map1(dst, dst, n, [=](Vf x) { return x * factor; });
}
void softmax(float* dst, const float* src, std::int64_t n, bool log) {
  const float m = max(src, n);
  if (log) {
    Vf total = {};
    std::int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) total += exp_of(load(src + i) - m);
    float s = 0;
    for (int lane = 0; lane < kLanes; ++lane) s += total[lane];
    for (; i < n; ++i) s += exp_of(all(src[i] - m))[0];
    const float low = log_of(all(s))[0];
    map1(dst, src, n, [=](Vf x) { return (x - m) - low; });
    return;
  }
  Vf total = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vf e = exp_of(load(src + i) - m);
    store(dst + i, e);
    total += e;
  }
  float s = 0;
  for (int lane = 0; lane < kLanes; ++lane) s += total[lane];
  for (; i < n; ++i) {
    dst[i] = exp_of(all(src[i] - m))[0];
    s += dst[i];
  }
  scale(dst, 1.0f / s, n);
}
void layer_norm(float* dst, const float* src, std::int64_t n, const float* scale, const float* bias,
                float epsilon, bool rms) {
  const float mean = rms ? 0 : sum(src, n) / static_cast<float>(n);
  Vf squares = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vf x = load(src + i) - mean;
    squares += x * x;
  }
  float s = 0;
  for (int lane = 0; lane < kLanes; ++lane) s += squares[lane];
  for (; i < n; ++i) s += (src[i] - mean) * (src[i] - mean);
  const float factor = 1.0f / __builtin_sqrtf(s / static_cast<float>(n) + epsilon);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    Vf x = (load(src + i) - mean) * factor;
    if (scale) x *= load(scale + i);
    if (bias) x += load(bias + i);
    store(dst + i, x);
  }
  for (; i < n; ++i) {
    const float x = (src[i] - mean) * factor;
    dst[i] = (scale ? x * scale[i] : x) + (bias ? bias[i] : 0.0f);
  }
}
void lerp(float* dst, const float* a, const float* b, float t, std::int64_t n) {
  map2(dst, a, b, n, [=](Vf x, Vf y) { return x + (y - x) * t; });
}
void widen_u8(float* dst, const std::uint8_t* src, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) dst[i] = static_cast<float>(src[i]);
}
void widen_f16(float* dst, const std::uint16_t* src, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    // Exponent and fraction in their new place are a float 2^112 times too small, denormals included.
    const std::uint32_t magnitude = (src[i] & 0x7fffu) << 13, sign = (src[i] & 0x8000u) << 16;
    float scaled;
    __builtin_memcpy(&scaled, &magnitude, 4);
    scaled *= 0x1p112f;
    std::uint32_t bits;
    __builtin_memcpy(&bits, &scaled, 4);
    bits |= sign | (magnitude >= 0x0f800000u ? 0x7f800000u : 0u);  // infinities and NaNs
    __builtin_memcpy(dst + i, &bits, 4);
  }
}
void transpose32(std::uint32_t* dst, std::int64_t dst_stride, const std::uint32_t* src,
                 std::int64_t src_stride, std::int64_t rows, std::int64_t columns) {
  constexpr std::int64_t kTile = 16;
  for (std::int64_t c0 = 0; c0 < columns; c0 += kTile) {
    const std::int64_t nc = columns - c0 < kTile ? columns - c0 : kTile;
    for (std::int64_t r0 = 0; r0 < rows; r0 += kTile) {
      const std::int64_t nr = rows - r0 < kTile ? rows - r0 : kTile;
      if (nr == kTile && nc == kTile) {
        std::uint32_t tile[kTile][kTile];
        for (std::int64_t r = 0; r < kTile; ++r) {
          const std::uint32_t* row = src + (r0 + r) * src_stride + c0;
          for (std::int64_t c = 0; c < kTile; ++c) tile[c][r] = row[c];
        }
        for (std::int64_t c = 0; c < kTile; ++c) {
          __builtin_memcpy(dst + (c0 + c) * dst_stride + r0, tile[c], sizeof tile[c]);
        }
        continue;
      }
      for (std::int64_t c = 0; c < nc; ++c) {
        for (std::int64_t r = 0; r < nr; ++r) {
          dst[(c0 + c) * dst_stride + r0 + r] = src[(r0 + r) * src_stride + c0 + c];
        }
      }
    }
  }
}

}  // namespace

const VecTable& table() {
  static constexpr VecTable functions = {
      run,     sum,        max,  accumulate_max, accumulate_min, accumulate_add, scale,
      softmax, layer_norm, lerp, widen_u8,       widen_f16,      transpose32};
  return functions;
}

}  // namespace HEADRACE_VEC_NAMESPACE
}  // namespace headrace::cpu
