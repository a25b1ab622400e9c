#include "backends/cuda/kernels/stem.h"

namespace headrace::cuda {

const std::string_view kStemPacking = R"cuda(
// The word of weights that packing puts at place w, from weights as they are.
HR u32 packed_weight(const f16* weights, int w) {
#if $WARPGROUPS$
  const int lane = w % 32, tile = w / 32 % TILES, rest = w / (32 * TILES), word = rest * 4 + lane % 4;
#else
  const int part = w % (2 * LOAD), lane = w / (2 * LOAD) % 32, rest = w / (64 * LOAD);
  const int tile = rest % (TILES / LOAD) * LOAD + part / 2;
  const int word = rest / (TILES / LOAD) * 8 + part % 2 * 4 + lane % 4;
#endif
  const int row = word / WORDS, column = lane / 4;
  const int map = tile / GROUP * 8 * GROUP + column / 2 * 2 * GROUP + tile % GROUP * 2 + column % 2;
  u32 r = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int x = word % WORDS * 2 + half - LEAD;
    if (word < ALL_WORDS && map < M && x >= 0 && x < KW)
      r |= (u32)weights[$WEIGHT_AT$].bits << 16 * half;
  }
  return r;
}
)cuda";

const std::string_view kStemProduct = R"cuda(
// Four elements of a line of the strip, and the next one; zeros outside the image. `WHOLE`: all four lie
// inside or outside, and together.
struct Quad { $S$ e[5]; };
template <bool WHOLE> HR Quad fetch(const $S$* image, int line, int quad, int top, int left) {
  const int x = left + quad * 4, y = top + line / C;
  const bool inside = line < LINES && quad < QUADS && (unsigned)y < (unsigned)H;
  const $S$* from = image + ((idx)(line % C) * (idx)$CSTRIDE$ + y * (idx)$YSTRIDE$);
  alignas(16) $S$ e[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) e[k] = Store<$S$>::of(0.0f);
  if (WHOLE) {
    if (inside && (unsigned)x < (unsigned)W) load<4, 4 * sizeof($S$)>(e, from + x, true);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (inside && (unsigned)(x + k) < (unsigned)W) e[k] = from[(x + k) * (idx)$XSTRIDE$];
  }
  Quad q;
#pragma unroll
  for (int k = 0; k < 4; ++k) q.e[k] = e[k];
  q.e[4] = Store<$S$>::of(0.0f);
  if (COPIES == 2 && inside && (unsigned)(x + 4) < (unsigned)W) q.e[4] = from[(x + 4) * (idx)$XSTRIDE$];
  return q;
}
HR u32 word_of($S$ low, $S$ high) {
  return Store<f16>::of(reg(low)).bits | (u32)Store<f16>::of(reg(high)).bits << 16;
}
// `special`: bits 15 and 31 are set when an element is infinite or not a number.
HR void put(u32* strip, int line, int quad, const Quad& q, u32& special) {
  if (line >= LINES || quad >= QUADS) return;
  uint2 v;
  v.x = word_of(q.e[0], q.e[1]), v.y = word_of(q.e[2], q.e[3]);
  u32* to = strip + (line * ROW + quad * 2);
  special |= ((v.x & 0x7c007c00u) + 0x04000400u) | ((v.y & 0x7c007c00u) + 0x04000400u);
  *(uint2*)to = v;
  if (COPIES == 2) {
    v.x = word_of(q.e[1], q.e[2]), v.y = word_of(q.e[3], q.e[4]);
    *(uint2*)(to + COPY) = v;
  }
}
// A warp takes lines, 32 quads at a time; all loads of a batch are under way before the first is used.
template <bool WHOLE> HR u32 fill_strip(u32* strip, const $S$* image, int top, int left, int warp, int lane) {
  u32 special = 0;
  constexpr int PIECES = (QUADS + 31) / 32, BATCH = PIECES < 6 ? 6 / PIECES : 1;
  for (int line = warp * BATCH; line < LINES; line += THREADS / 32 * BATCH) {
    Quad q[BATCH][PIECES];
#pragma unroll
    for (int b = 0; b < BATCH; ++b)
#pragma unroll
      for (int k = 0; k < PIECES; ++k) q[b][k] = fetch<WHOLE>(image, line + b, k * 32 + lane, top, left);
#pragma unroll
    for (int b = 0; b < BATCH; ++b)
#pragma unroll
      for (int k = 0; k < PIECES; ++k) put(strip, line + b, k * 32 + lane, q[b][k], special);
  }
  return special & 0x80008000u;
}

// Where the thread's first word of the pixel at this column of the first row lies; `shift`: elements from the
// strip's first column to the first tap of column 0.
HR int place(int column, int shift, int t) {
  const int x = column * SW + shift;
  return (COPIES == 2 ? (x & 1) * COPY : 0) + (x >> 1) + t / WORDS * ROW + t % WORDS;
}
// Zeroes the taps of a word that the kernel does not have. Their weights are zero, so only what is infinite
// or not a number needs it.
constexpr bool PADDED = LEAD != 0 || KW != 2 * WORDS;
HR u32 taps(u32 word, int column) {
  const int x = column * 2 - LEAD;
  return word & ((x >= 0 && x < KW ? 0xffffu : 0u) | (x + 1 >= 0 && x + 1 < KW ? 0xffff0000u : 0u));
}

// Words 8 * step ... 8 * step + 7 of pixels g and g + 8, as the tensor cores want them; the pixels' first
// words lie at strip[at[0]] and strip[at[1]].
template <bool CAREFUL> HR void words_of(u32 (&a)[4], const u32* strip, const int (&at)[2], int step, int t) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int word = 8 * step + 4 * h, offset = word / WORDS * ROW + word % WORDS;
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      u32 x = 0;
      if (word + 4 <= ALL_WORDS || word + t < ALL_WORDS) x = strip[at[p] + offset];
      a[2 * h + p] = CAREFUL ? taps(x, word % WORDS + t % WORDS) : x;
    }
  }
}
// The bias of the thread's channels, `first` its first one.
template <int R> HR void start(float (&acc)[R][NT][4], const float* bias, int first) {
#pragma unroll
  for (int j = 0; j < NT; ++j) {
    const float2 b = *(const float2*)(bias + first + j / GROUP * 8 * GROUP + j % GROUP * 2);
#pragma unroll
    for (int i = 0; i < R; ++i) acc[i][j][0] = acc[i][j][2] = b.x, acc[i][j][1] = acc[i][j][3] = b.y;
  }
}
)cuda";

const std::string_view kStemWarp = R"cuda(
// acc[i] += the products of 16 pixels, by a warp.
template <bool CAREFUL, int R>
HR void multiply(float (&acc)[R][NT][4], const u32* strip, const int (&at)[R][2], const u32* weights, int t) {
#pragma unroll $UNROLL$
  for (int step = 0; step < STEPS; ++step) {
    u32 a[R][4];
#pragma unroll
    for (int i = 0; i < R; ++i) words_of<CAREFUL>(a[i], strip, at[i], step, t);
#pragma unroll
    for (int j = 0; j < NT / LOAD; ++j) {
      alignas(16) u32 b[2 * LOAD];
      load<2 * LOAD, 8 * LOAD>(b, weights + (step * (TILES / LOAD) + j) * (64 * LOAD), true);
#pragma unroll
      for (int k = 0; k < LOAD; ++k)
#pragma unroll
        for (int i = 0; i < R; ++i) tensor_core(acc[i][j * LOAD + k], a[i], b[2 * k], b[2 * k + 1]);
    }
  }
}
)cuda";

const std::string_view kStemWarpgroup = R"cuda(
// acc[i] += the products of 16 pixels of each of four warps, which share the weights.
template <bool CAREFUL, int R>
HR void multiply(float (&acc)[R][NT][4], const u32* strip, const int (&at)[R][2], const u32* weights, int t) {
  constexpr int CHUNKS_OF_STEPS = (STEPS + CHUNK - 1) / CHUNK;
#pragma unroll
  for (int i = 0; i < R; ++i) {
    u32 a[2][CHUNK][4];  // one is loaded while the other is multiplied
    warpgroup_begin(acc[i]);
#pragma unroll
    for (int c = 0; c < CHUNKS_OF_STEPS; ++c) {
#pragma unroll
      for (int k = 0; k < CHUNK; ++k)
        if (c * CHUNK + k < STEPS) words_of<CAREFUL>(a[c % 2][k], strip, at[i], c * CHUNK + k, t);
#pragma unroll
      for (int k = 0; k < CHUNK; ++k)
        if (c * CHUNK + k < STEPS) warpgroup_fix(a[c % 2][k]);
      warpgroup_fence();
#pragma unroll
      for (int k = 0; k < CHUNK; ++k)
        if (c * CHUNK + k < STEPS)
          warpgroup_core<TILES>(acc[i], a[c % 2][k], weights + (c * CHUNK + k) * (TILES * 64));
      warpgroup_commit();
      if (c + 1 < CHUNKS_OF_STEPS) warpgroup_wait<1>();
    }
    warpgroup_wait<0>();
    warpgroup_end(acc[i]);
  }
}
)cuda";

const std::string_view kStemEntry = R"cuda(
extern "C" __global__ void __launch_bounds__(THREADS$BLOCKS$) $ENTRY$($PARAMETERS$, f16* dst) {
  extern __shared__ uint4 shared[];
  u32* const weight_words = (u32*)shared;
  float* const bias_values = (float*)(weight_words + STEPS * TILES * 64);
  u32* const strip = weight_words + STEPS * TILES * 64 + TILES * 8;
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, g = lane / 4, t = lane % 4;
  uidx block = blockIdx.x;
  const int x_block = (int)(block % X_BLOCKS); block /= X_BLOCKS;
  const int y_block = (int)(block % Y_BLOCKS);
  const idx i0 = (idx)(block / Y_BLOCKS);
$POSITION$  const int top = row0 * SH - TOP, first = column0 * SW - LEFT - LEAD;
  const int left = first & ~3, shift = first - left;

  const $S$* image = src + i0 * (idx)$NSTRIDE$;
$STRIP$$WEIGHTS$  for (int m = thread; m < TILES * 8; m += THREADS) bias_values[m] = $BIAS$;
$FENCE$  const bool careful = __syncthreads_or(special) && PADDED;
  const bool aligned = is_aligned(dst, $DST_CHUNK$);
$BODY$}
)cuda";

const std::string_view kStemPlain = R"cuda(
  for (int item = warp / UNIT; item < WORK; item += THREADS / 32 / UNIT) {
    const int tiles = item % (TILES / NT) * NT;
    const int pixels = (item / (TILES / NT) * UNIT + warp % UNIT) * (16 * MT);
    int at[MT][2];
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
      for (int p = 0; p < 2; ++p) {
        const int pixel = min(pixels + i * 16 + p * 8 + g, TH * TW - 1);
        at[i][p] = place(pixel % TW, shift, t) + pixel / TW * (SH * C * ROW);
      }
    float acc[MT][NT][4];
    start(acc, bias_values, tiles * 8 + t * 2 * GROUP);
    if (careful)
      multiply<true>(acc, strip, at, weight_words + $MINE$, t);
    else
      multiply<false>(acc, strip, at, weight_words + $MINE$, t);
#pragma unroll
    for (int i = 0; i < MT; ++i)
#pragma unroll
      for (int p = 0; p < 2; ++p) {
        const int pixel = pixels + i * 16 + p * 8 + g;
        const idx i2 = row0 + pixel / TW, i3 = column0 + pixel % TW;
        if (pixel >= TH * TW || i2 >= OH || i3 >= OW) continue;
#pragma unroll
        for (int group = 0; group < NT / GROUP; ++group) {
          const idx i1 = (tiles + group * GROUP) * 8 + t * 2 * GROUP;
          if (i1 >= M) continue;
$LOADS$          alignas(16) f16 out[2 * GROUP];
          float result[2 * GROUP];
#pragma unroll
          for (int v = 0; v < 2 * GROUP; ++v) result[v] = $CALL$;
          $CONVERT$(out, result);
          store<2 * GROUP, $DST_CHUNK$>(dst + ($TO$), out, aligned);
        }
      }
  }
)cuda";

// A warp's 16 columns go down the strip; maxima over rows are in registers, over columns through `lines`.
const std::string_view kStemPooled = R"cuda(
  u32* const lines = strip + COPIES * COPY;
  const int column = warp % COLUMN_TILES * 16 + g, tiles = warp / COLUMN_TILES * NT;
  const u32* my_weights = weight_words + $MINE$;
  const int at0 = place(min(column, COLUMNS - 1), shift, t),
            at1 = place(min(column + 8, COLUMNS - 1), shift, t);
  const bool active = warp % COLUMN_TILES * 16 < COLUMNS;  // warpgroups may have warps too many
  u32 last[NT][2];
  lowest(last);
  if (OVERLAP > 0 && row0 >= 0) {
    float acc[1][NT][4];
    const int at[1][2] = {{at0, at1}};
    start(acc, bias_values, tiles * 8 + t * 2 * GROUP);
    if (careful)
      multiply<true>(acc, strip, at, my_weights, t);
    else
      multiply<false>(acc, strip, at, my_weights, t);
    finish(acc[0], last, i0, row0, column0 + column, tiles, t$OPERANDS$);
  }
  for (int s = 0; s < TH && result0 + s < PH; s += MT) {
    u32* const line = lines + s / MT % 2 * (MT * LINE);
    float acc[AT_ONCE][NT][4];
#pragma unroll
    for (int r = 0; r < MT; ++r) {
      u32 best[NT][2];
#pragma unroll
      for (int j = 0; j < NT; ++j)
#pragma unroll
        for (int p = 0; p < 2; ++p) best[j][p] = OVERLAP > 0 ? last[j][p] : LOWEST;
#pragma unroll
      for (int k = 0; k < STEP_H; ++k) {
        const int i = r * STEP_H + k;
        if (i % AT_ONCE == 0) {
          int at[AT_ONCE][2];
#pragma unroll
          for (int n = 0; n < AT_ONCE; ++n) {
            const int down = (OVERLAP + s * STEP_H + i + n) * (SH * C * ROW);
            at[n][0] = at0 + down, at[n][1] = at1 + down;
          }
          start(acc, bias_values, tiles * 8 + t * 2 * GROUP);
          if (careful)
            multiply<true>(acc, strip, at, my_weights, t);
          else
            multiply<false>(acc, strip, at, my_weights, t);
        }
        const int row = row0 + OVERLAP + s * STEP_H + i;
        if (row < 0 || row >= OH)
          lowest(last);
        else if (active)
          finish(acc[i % AT_ONCE], last, i0, row, column0 + column, tiles, t$OPERANDS$);
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
          for (int p = 0; p < 2; ++p) best[j][p] = max_half2(best[j][p], last[j][p]);
      }
#pragma unroll
      for (int p = 0; p < 2; ++p)
#pragma unroll
        for (int group = 0; group < NT / GROUP; ++group) {
          alignas(16) u32 out[GROUP];
#pragma unroll
          for (int j = 0; j < GROUP; ++j) out[j] = best[group * GROUP + j][p];
          const int pixel = column + p * 8, chunk = (tiles + group * GROUP) / GROUP * 4 + t;
          if (pixel < COLUMNS) store<GROUP, 4 * GROUP>(line + r * LINE + line_place(pixel, chunk), out, true);
        }
    }
    __syncthreads();
    for (int item = thread; item < MT * RESULT_COLUMNS * CHUNKS; item += THREADS) {
      const int chunk = THREADS % CHUNKS == 0 ? thread % CHUNKS : item % CHUNKS, pixel = item / CHUNKS;
      const int q = MT == 1 ? pixel : pixel % RESULT_COLUMNS, r = MT == 1 ? 0 : pixel / RESULT_COLUMNS;
      const idx i1 = chunk * 2 * GROUP, i2 = result0 + s + r, i3 = result_column0 + q;
      if (i2 >= PH || i3 >= PW) continue;
      alignas(16) u32 best[GROUP];
#pragma unroll
      for (int j = 0; j < GROUP; ++j) best[j] = LOWEST;
#pragma unroll
      for (int k = 0; k < WINDOW_W; ++k) {
        const int x = i3 * STEP_W - MARGIN_W + k;
        if (x < 0 || x >= OW) continue;
        alignas(16) u32 one[GROUP];
        load<GROUP, 4 * GROUP>(one, line + r * LINE + line_place(x - column0, chunk), true);
#pragma unroll
        for (int j = 0; j < GROUP; ++j) best[j] = max_half2(best[j], one[j]);
      }
      store<2 * GROUP, $DST_CHUNK$>(dst + ($TO$), *(const f16(*)[2 * GROUP])best, aligned);
    }
  }
)cuda";

const std::string_view kStemPoolFunctions = R"cuda(
constexpr u32 LOWEST = 0xfc00fc00u;
HR void lowest(u32 (&x)[NT][2]) {
#pragma unroll
  for (int j = 0; j < NT; ++j) x[j][0] = x[j][1] = LOWEST;
}
// Words from the line's begin; chunks of neighbouring pixels alternate between halves of the banks.
HR int line_place(int pixel, int chunk) {
  return pixel * (TILES * 4) + (SWIZZLE ? chunk ^ (pixel & 1) << 2 : chunk) * GROUP;
}
// The finished results of a row of 16 pixels of the convolution, two channels a word.
HR void finish(const float (&acc)[NT][4], u32 (&to)[NT][2], idx i0, idx i2, int column, int tiles,
               int t$DECLARED$) {
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int group = 0; group < NT / GROUP; ++group) {
      const idx i1 = (tiles + group * GROUP) * 8 + t * 2 * GROUP, i3 = column + p * 8;
      float result[2 * GROUP];
      if ($VALID$) {
$LOADS$#pragma unroll
        for (int v = 0; v < 2 * GROUP; ++v) result[v] = $CALL$;
      }
      alignas(4) f16 out[2 * GROUP];
      $CONVERT$(out, result);
#pragma unroll
      for (int j = 0; j < GROUP; ++j) to[group * GROUP + j][p] = ((const u32*)out)[j];
    }
}
)cuda";

}  // namespace headrace::cuda
