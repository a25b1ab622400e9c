#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "backends/cuda/codegen_expr.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/depthwise.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kMaxShared = 48 << 10, kMaxSlots = 8;

/// What follows from a shape.
struct Plan {
  std::int64_t threads, columns, width, accumulators, lines, line_bytes, slots, registers;
  Plan(const Depthwise& d, const DepthwiseRows& s) {
    const auto size = static_cast<std::int64_t>(size_bytes(d.src.dtype));
    threads = s.c / s.v * s.x;
    columns = (s.t - 1) * d.stride_w + d.kernel_w;      // that a thread reads
    width = (s.x * s.t - 1) * d.stride_w + d.kernel_w;  // of a line of the block
    accumulators = divide_up(d.kernel_h, d.stride_h);   // rows of results under way
    lines = (s.r - 1) * d.stride_h + d.kernel_h;
    line_bytes = width * s.c * size;
    for (slots = kMaxSlots; slots > 2 && (slots * line_bytes > kMaxShared || slots / 2 >= lines);) slots /= 2;
    registers = (d.kernel_h * d.kernel_w + accumulators * s.t + columns + 1) * s.v + 40;
  }
};

/// Expected time in cycles of a multiprocessor; only the order counts.
double expected_cycles(const Depthwise& d, const DepthwiseRows& s) {
  constexpr double kProcessors = 132, kBytesPerCycle = 19;
  const Plan p(d, s);
  const auto real = [](std::int64_t v) { return static_cast<double>(v); };
  const double blocks = real(d.dst.shape[0] * divide_up(d.dst.shape[1], s.c) *
                             divide_up(d.dst.shape[3], s.x * s.t) * divide_up(d.dst.shape[2], s.r));
  const double resident =
      std::min({std::floor(65536.0 / real(p.registers * p.threads)), std::floor(2048.0 / real(p.threads)),
                std::floor(220e3 / real(p.slots * p.line_bytes))});
  const double rows_per_line = 1.0 / real(d.stride_h),
               size = real(static_cast<std::int64_t>(size_bytes(d.src.dtype)));
  const double instructions =
      real(p.columns * (1 + s.v)) + rows_per_line * real(d.kernel_h * d.kernel_w * s.t * s.v) +
      rows_per_line * real(s.t) *
          (4 + real(s.v) * (1.5 + 2 * real(static_cast<std::int64_t>(d.op.post.size())))) +
      real(divide_up(p.line_bytes / 16, p.threads)) * 8 + 20;
  const double per_processor = std::ceil(blocks / kProcessors), active = std::min(resident, per_processor);
  // A scheduler needs a few warps, the memory some ten thousand bytes under way.
  const double issue = per_processor * real(p.lines) * instructions * real(p.threads) / 128 /
                       std::min(1.0, active * real(p.threads) / 128 * 0.28);
  const double halo = 0.4 * (blocks * real(p.lines * p.line_bytes) - real(d.src.elements()) * size);
  const double bytes = real(d.src.elements() + d.dst.elements()) * size + std::max(0.0, halo);
  const double narrow = s.c * static_cast<std::int64_t>(size) < 64 && s.c < d.dst.shape[1] ? 2.5 : 1;
  const double memory = narrow * bytes / (kProcessors * kBytesPerCycle) * per_processor /
                        (blocks / kProcessors) /
                        std::min(1.0, active * real((p.slots - 1) * p.line_bytes) / 45e3);
  const double latency = 1500 + std::ceil(per_processor / resident) * (400 + real(p.lines) * 60);
  return std::max(issue, memory) + 0.15 * std::min(issue, memory) + latency;
}

// Copies of 16 bytes to shared memory that run by themselves from sm_80 on.
constexpr std::string_view kCopies = R"cuda(
HR void copy_16(void* to, const void* from, bool have) {
#if __CUDA_ARCH__ >= 800
  const u32 at = (u32)__cvta_generic_to_shared(to);
  const int bytes = have ? 16 : 0;  // the rest becomes zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
#else
  uint4 r = make_uint4(0, 0, 0, 0);
  if (have) r = *(const uint4*)from;
  *(uint4*)to = r;
#endif
}
HR void end_of_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until all but the last N groups of this thread's copies are there.
template <int N> HR void wait_for_copies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}
)cuda";

constexpr std::string_view kKernel = R"cuda($PRELUDE$$INDEX$$POST$$COPIES$
extern "C" __global__ void __launch_bounds__($THREADS$) $ENTRY$($PARAMETERS$, $S$* dst) {
  constexpr int V = $V$, T = $T$, X = $X$, CB = $CB$, R = $R$, KH = $KH$, KW = $KW$, SH = $SH$, SW = $SW$;
  constexpr int THREADS = $THREADS$, LANES = CB / V, WIDTH = $WIDTH$, COLUMNS = $COLUMNS$, LINES = $LINES$;
  constexpr int SLOTS = $SLOTS$, A = $A$, E = 16 / (int)sizeof($S$), PIECES = WIDTH * CB / E;
  extern __shared__ uint4 shared_[];
  $S$* const ring = ($S$*)shared_;
  uidx block_ = blockIdx.x;
  const idx c0 = (idx)(block_ % $NC$u) * CB; block_ /= $NC$u;
  const idx x0 = (idx)(block_ % $NX$u) * (X * T); block_ /= $NX$u;
  const idx y0 = (idx)(block_ % $NY$u) * R;
  const idx i0 = (idx)(block_ / $NY$u);
  const int lane = (int)threadIdx.x % LANES, column = (int)threadIdx.x / LANES;
  const idx i1 = c0 + lane * V;
  const bool active = i1 < $C$, aligned = is_aligned(src, 16), aligned_dst = is_aligned(dst, $DST_CHUNK$);
  const $S$* const image = src + i0 * (idx)$NSTRIDE$;
  const idx top = y0 * SH - $PAD_H$, left = x0 * SW - $PAD_W$;
  const auto fetch = [&](int line) {
    const idx y = top + line;
    const bool inside = y >= 0 && y < $H$;
    $S$* const slot = ring + (line & (SLOTS - 1)) * (WIDTH * CB);
    if (line < LINES) {
#pragma unroll
      for (int k = 0; k < (PIECES + THREADS - 1) / THREADS; ++k) {
        const int piece = k * THREADS + (int)threadIdx.x;
        if (PIECES % THREADS == 0 || piece < PIECES) {
          const idx x = left + piece / (CB / E), c = c0 + piece % (CB / E) * E;
          const bool have = inside && x >= 0 && x < $W$ && c < $C$;
          const $S$* const from = have ? image + (y * (idx)$YSTRIDE$ + x * (idx)$XSTRIDE$ + c) : src;
          if (aligned) {
            copy_16(slot + piece * E, from, have);
          } else {
            for (int e = 0; e < E; ++e) slot[piece * E + e] = have ? from[e] : Store<$S$>::of(0.0f);
          }
        }
      }
    }
    end_of_copies();
  };
#pragma unroll
  for (int line = 0; line < SLOTS - 1; ++line) fetch(line);

  float weight[KH][KW][V], start[V], acc[A][T][V];
  {
    const idx channel = active ? i1 : 0;
#pragma unroll
    for (int kh = 0; kh < KH; ++kh) {
#pragma unroll
      for (int kw = 0; kw < KW; ++kw) {
        alignas(16) $WEIGHT$ wr[V];
        $LOAD_WEIGHTS$
#pragma unroll
        for (int v = 0; v < V; ++v) weight[kh][kw][v] = reg(wr[v]);
      }
    }
    const idx i1 = channel;
#pragma unroll
    for (int v = 0; v < V; ++v) start[v] = $BIAS$;
  }

  // A rows of results are under way at once; after A * SH lines their accumulators come round again.
#pragma unroll 1
  for (int first = 0, row = 0; first < LINES; first += A * SH, row += A) {
#pragma unroll
    for (int p = 0; p < A * SH; ++p) {
      const int line = first + p;
      if (line < LINES) {
        wait_for_copies<SLOTS - 2>();
        __syncthreads();  // the line is there, and nobody reads the slot that is filled next any more
        fetch(line + SLOTS - 1);
        const $S$* const from = ring + (line & (SLOTS - 1)) * (WIDTH * CB) + column * (T * SW * CB) + lane * V;
        float x[COLUMNS][V];
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
          alignas(16) $S$ e[V];
          load<V, V * (int)sizeof($S$)>(e, from + j * CB, true);
#pragma unroll
          for (int v = 0; v < V; ++v) x[j][v] = reg(e[v]);
        }
#pragma unroll
        for (int kh = 0; kh < KH; ++kh) {
          if ((p - kh) % SH != 0) continue;
          const int q = (p - kh) / SH, a = (q + KH * A) % A, r = row + q;
          if (r < 0 || r >= R) continue;
#pragma unroll
          for (int t = 0; t < T; ++t) {
#pragma unroll
            for (int v = 0; v < V; ++v) {
              float sum = kh == 0 ? start[v] : acc[a][t][v];
#pragma unroll
              for (int kw = 0; kw < KW; ++kw) sum += x[t * SW + kw][v] * weight[kh][kw][v];
              acc[a][t][v] = sum;
            }
          }
          const idx i2 = y0 + r;
          if (kh != KH - 1 || !active || i2 >= $OUT_H$) continue;
#pragma unroll
          for (int t = 0; t < T; ++t) {
            const idx i3 = x0 + column * T + t;
            if (i3 < $OUT_W$) {
$LOADS$              alignas(16) $S$ out[V];
              float result[V];
#pragma unroll
              for (int v = 0; v < V; ++v) result[v] = $CALL$;
              convert(out, result);
              store<V, $DST_CHUNK$>(dst + ($TO$), out, aligned_dst);
            }
          }
        }
      }
    }
  }
}
)cuda";

}  // namespace

bool depthwise_rows_fits(const Depthwise& d, const DepthwiseRows& s) {
  if (!d.two || d.dilation_h != 1 || d.dilation_w != 1) return false;
  const auto size = static_cast<std::int64_t>(size_bytes(d.src.dtype)), piece = 16 / size;
  const ChannelVector c = channel_vector(d.src, d.dst, piece);
  if (c.V != piece || c.src_chunk != 16) return false;  // lines are not made of 16-byte pieces
  const bool powers = (s.v & (s.v - 1)) == 0 && (s.c & (s.c - 1)) == 0;
  if (s.t < 1 || s.t > 8 || s.v < 1 || s.v > piece || s.x < 1 || s.r < 1 || !powers || s.c % piece != 0)
    return false;
  const Plan p(d, s);
  return p.threads >= 32 && p.threads <= 512 && p.threads % 32 == 0 && p.slots * p.line_bytes <= kMaxShared &&
         p.registers <= 255 && p.registers * p.threads <= 65536 && d.kernel_h <= 16 && p.lines < (1 << 20);
}

std::vector<DepthwiseRows> depthwise_rows_shapes(const Depthwise& d) {
  std::vector<std::pair<double, DepthwiseRows>> all;
  const std::int64_t widest = d.dst.shape.back(), heights = d.two ? d.dst.shape[2] : 1;
  const bool half = is_half(d.src.dtype);
  for (const std::int64_t v : {1, 2, 4}) {
    if (v == 1 && half) continue;
    for (const std::int64_t t : {1, 2, 4, 7, 8})
      for (const std::int64_t c : {16, 32, 64})
        for (const std::int64_t x : {1, 2, 4, 8, 16})
          for (const std::int64_t r : {1, 2, 4, 7, 14, 28, 56}) {
            const DepthwiseRows s{t, v, x, c, r};
            const bool too_wide = (x > 1 && (x - 1) * t >= widest) || (t > 1 && t >= 2 * widest);
            if (too_wide || (r > 1 && r >= 2 * heights) || c / v * x > 256 || c / v * x < 64) continue;
            if (c >= 2 * d.dst.shape[1] || !depthwise_rows_fits(d, s) || Plan(d, s).registers > 200) continue;
            all.emplace_back(expected_cycles(d, s), s);
          }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  // The best of each way to share out channels and columns: neighbours in one order tell the tuner little.
  std::vector<DepthwiseRows> shapes;
  for (const auto& [cycles, s] : all) {
    const auto alike = std::count_if(shapes.begin(), shapes.end(), [&s = s](const DepthwiseRows& o) {
      return o.t == s.t && o.v == s.v && o.c == s.c;
    });
    if (alike < 2 && cycles < 3 * all.front().first) shapes.push_back(s);
  }
  return shapes;
}

KernelSource depthwise_rows(const Depthwise& d, const DepthwiseRows& s) {
  const TensorDesc &src = d.src, &dst = d.dst;
  const Plan p(d, s);
  const PostCode post = post_code(d.op.post, d.p.srcs, d.first_post(), dst, s.v, "acc[a][t][v]");
  const std::int64_t nc = divide_up(dst.shape[1], s.c), nx = divide_up(dst.shape[3], s.x * s.t),
                     ny = divide_up(dst.shape[2], s.r);
  const auto text = [](std::int64_t v) { return std::to_string(v); };
  KernelSource kernel;
  kernel.source = fill(kKernel, {{"PRELUDE", std::string(kPrelude)},
                                 {"INDEX", index_types(is_wide({&src, &dst}))},
                                 {"POST", d.op.post.empty() ? "" : print_post("post", d.op.post, dst.dtype)},
                                 {"COPIES", std::string(kCopies)},
                                 {"ENTRY", kEntry},
                                 {"PARAMETERS", d.parameters()},
                                 {"S", type_name(src.dtype)},
                                 {"WEIGHT", type_name(d.weights.dtype)},
                                 {"V", text(s.v)},
                                 {"T", text(s.t)},
                                 {"X", text(s.x)},
                                 {"CB", text(s.c)},
                                 {"R", text(s.r)},
                                 {"KH", text(d.kernel_h)},
                                 {"KW", text(d.kernel_w)},
                                 {"SH", text(d.stride_h)},
                                 {"SW", text(d.stride_w)},
                                 {"THREADS", text(p.threads)},
                                 {"WIDTH", text(p.width)},
                                 {"COLUMNS", text(p.columns)},
                                 {"LINES", text(p.lines)},
                                 {"SLOTS", text(p.slots)},
                                 {"A", text(p.accumulators)},
                                 {"NC", text(nc)},
                                 {"NX", text(nx)},
                                 {"NY", text(ny)},
                                 {"C", text(dst.shape[1])},
                                 {"H", text(src.shape[2])},
                                 {"W", text(src.shape[3])},
                                 {"OUT_H", text(dst.shape[2])},
                                 {"OUT_W", text(dst.shape[3])},
                                 {"PAD_H", text(d.pad_h)},
                                 {"PAD_W", text(d.pad_w)},
                                 {"NSTRIDE", text(src.strides[0])},
                                 {"YSTRIDE", text(src.strides[2])},
                                 {"XSTRIDE", text(src.strides[3])},
                                 {"LOAD_WEIGHTS", d.load_weights(s.v, "channel")},
                                 {"BIAS", d.bias()},
                                 {"LOADS", post.loads},
                                 {"CALL", post.call},
                                 {"TO", offset_text(dst, 0, 4)},
                                 {"DST_CHUNK", text(channel_vector(src, dst, s.v).dst_chunk)}});
  kernel.geometry = linear_geometry(dst.shape[0] * nc * nx * ny, 1);
  kernel.geometry.block[0] = static_cast<unsigned>(p.threads);
  kernel.geometry.shared_bytes = static_cast<unsigned>(p.slots * p.line_bytes);
  kernel.operands = d.operands();
  return kernel;
}

}  // namespace headrace::cuda
