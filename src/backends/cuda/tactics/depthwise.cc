// cuda.depthwise: Conv with one channel per group, channels_last, f16 and f32, with bias and post steps.
//
// A thread makes a patch of T x R neighbouring pixels for V channels. It walks down the source rows of the
// patch: each element is read and converted once and goes into every result that sees it; the weights stay in
// registers where they fit. Weights are packed [kernel h][kernel w][channel], so that they are vectors too.
// Choices are patches: "t=4 r=8 v=4".
#include <algorithm>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "backends/cuda/codegen_expr.h"
#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

constexpr const char* kFormat = "khwc";

struct Taps {
  std::int64_t h = 1, w = 1;
};
/// Kernel extents, with a first axis of 1 for one spatial axis.
Taps taps(const TensorDesc& weights) {
  return weights.shape.size() == 4 ? Taps{weights.shape[2], weights.shape[3]} : Taps{1, weights.shape[2]};
}

struct Patch {
  std::int64_t t = 1, r = 1, v = 1;  ///< columns, rows, channels
};
constexpr Patch kPatches[] = {{4, 8, 4}, {4, 4, 4}, {4, 4, 2}, {4, 8, 2}, {4, 2, 8}, {4, 1, 8},
                              {2, 4, 4}, {2, 2, 4}, {2, 2, 8}, {2, 1, 4}, {1, 1, 8}, {1, 1, 2}};
constexpr std::int64_t kEnoughThreads = 132 * 512;

std::int64_t channels_per_thread(const Problem& p, const Patch& patch) {
  return channel_vector(p.srcs[0], p.dsts[0], patch.v).V;
}

class DepthwiseTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.depthwise"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Conv* op = op_as<Conv>(p);
    if (!op) return refuse("not a Conv");
    if (!op->pool_kernel.empty()) return refuse("a max-pool after the convolution");
    const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
    const std::size_t rank = src.shape.size();
    if (rank != 3 && rank != 4) return refuse("not one or two spatial axes");
    if (op->groups != src.shape[1] || dst.shape[1] != src.shape[1])
      return refuse("not one channel per group");
    for (const TensorDesc* d : {&src, &weights, &dst})
      if (d->dtype != src.dtype || (d->dtype != DType::f32 && d->dtype != DType::f16))
        return refuse("dtypes other than f32 or f16 throughout");
    if (src.layout != Layout::channels_last || dst.layout != Layout::channels_last)
      return refuse("not channels_last");
    if (weights.layout == Layout::packed && weights.format != kFormat)
      return refuse("weights packed as " + weights.format);
    for (std::size_t i = 2; i < p.srcs.size(); ++i)
      if (!is_float(p.srcs[i].dtype)) return refuse("an operand that is not floating-point");
    const Taps k = taps(weights);
    if (k.h * k.w > 121) return refuse("a kernel of more than 121 taps");
    return refuse_operands(p, 1);
  }
  std::vector<Choice> candidates(const Problem& p) const override {
    const Taps k = taps(p.srcs[1]);
    std::vector<Patch> patches;
    for (const Patch& patch : kPatches) {
      const bool twice = (patch.t > 1 && patch.t >= 2 * p.dsts[0].shape.back()) ||
                         (patch.r > 1 && (p.dsts[0].shape.size() == 3 || patch.r >= 2 * p.dsts[0].shape[2]));
      if (!twice && channels_per_thread(p, patch) == patch.v) patches.push_back(patch);
    }
    if (patches.empty()) patches.push_back({1, 1, channels_per_thread(p, {1, 1, 8})});
    // By rule the largest patch that leaves the machine enough threads and each enough registers.
    const auto size = static_cast<std::int64_t>(size_bytes(p.srcs[0].dtype));
    const auto score = [&](const Patch& patch) {
      const std::int64_t pixels = patch.t * patch.r;
      if (p.dsts[0].elements() / (pixels * patch.v) < kEnoughThreads)
        return -static_cast<double>(pixels * patch.v);
      const std::int64_t registers = (k.h * k.w + std::min(k.h, patch.r) * patch.t) * patch.v;
      const double narrow = patch.v * size < 8 ? 0.3 : 1;  // accesses of less than 8 bytes
      return (static_cast<double>(pixels) + 0.1 * static_cast<double>(patch.v)) *
             (registers > 200 ? 0.1 : narrow);
    };
    std::stable_sort(patches.begin(), patches.end(),
                     [&](const Patch& a, const Patch& b) { return score(a) > score(b); });
    patches.resize(std::min<std::size_t>(patches.size(), 6));
    std::vector<Choice> choices;
    for (const Patch& patch : patches)
      choices.push_back(fmt::format("t={} r={} v={}", patch.t, patch.r, patch.v));
    return choices;
  }
  Layout preferred_layout(const Problem&) const override { return Layout::channels_last; }

  std::optional<Packed> pack(const Problem& p, const Choice&, std::size_t index,
                             const HostTensor& weights) const override {
    if (index != 1) return std::nullopt;
    const std::size_t size = size_bytes(weights.dtype());
    const auto channels = static_cast<std::size_t>(weights.shape()[0]);
    const auto count = static_cast<std::size_t>(taps(p.srcs[1]).h * taps(p.srcs[1]).w);
    Packed packed{kFormat, std::vector<std::byte>(weights.bytes().size())};
    for (std::size_t c = 0; c < channels; ++c)
      for (std::size_t t = 0; t < count; ++t)
        std::memcpy(&packed.bytes[(t * channels + c) * size], &weights.bytes()[(c * count + t) * size], size);
    return packed;
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t) const override {
    return static_cast<std::size_t>(p.srcs[1].elements()) * size_bytes(p.srcs[1].dtype);
  }

  Program generate(const Problem& p, const Choice& choice) const override {
    const Conv& op = *op_as<Conv>(p);
    const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
    const std::size_t rank = dst.shape.size(), w = rank - 1,
                      h = rank - 2;  // h is unused for one spatial axis
    const bool two = rank == 4, packed = weights.layout == Layout::packed;
    Program program{"cuda.depthwise", {}};
    if (dst.elements() == 0) return program;
    Patch patch{1, 1, 8};
    if (!choice.empty()) {
      long long t = 0, r = 0, v = 0;
      if (std::sscanf(choice.c_str(), "t=%lld r=%lld v=%lld", &t, &r, &v) != 3 || t < 1 || t > 8 || r < 1 ||
          r > 8 || v < 1 || v > 8)
        throw Error(ErrorCode::invalid_plan, "cuda.depthwise has no choice '" + choice + "'");
      patch = {t, two ? r : 1, v};
    }
    const ChannelVector c = channel_vector(src, dst, patch.v);
    const Taps k = taps(weights);
    const std::size_t sw = two ? 1 : 0;  // index of the width among the spatial axes
    const std::int64_t stride = op.strides[sw], dilation = op.dilations[sw];
    const auto size = static_cast<std::int64_t>(size_bytes(src.dtype));
    std::vector<std::int64_t> steps(rank, 1);
    steps[1] = c.V;
    steps[w] = patch.t;
    if (two) steps[h] = patch.r;
    const std::int64_t threads = position_count(dst, steps);
    const unsigned block = threads < 132 * 256 ? 64 : 128;
    const std::string S = type_name(src.dtype), W = type_name(weights.dtype);

    std::string parameters = fmt::format("const {}* src, const {}* weights", S, W), bias = "0.0f",
                arguments = "src, weights";
    std::vector<std::size_t> operands{0, 1};
    std::size_t next = 2;
    if (op.has_bias) {
      parameters += fmt::format(", const {}* bias", type_name(p.srcs[2].dtype));
      bias = fmt::format("(float)reg(bias[(i1 + v) * (idx){}])", p.srcs[2].strides[0]);
      operands.push_back(next++);
    }
    for (std::size_t q = 0; q < post_operands(op.post); ++q) {
      parameters += fmt::format(", const {}* q{}", type_name(p.srcs[next + q].dtype), q);
      operands.push_back(next + q);
    }
    operands.push_back(p.srcs.size());
    // The post operands are loaded for the pixel at hand: its indices shadow the patch's first ones.
    const PostCode post = post_code(op.post, p.srcs, next, dst, c.V, "acc[r][t][v]");
    std::string weight;
    const std::int64_t weight_chunk = access_bytes(c.V, size, {dst.shape[1]});
    if (packed)
      weight =
          fmt::format("load<V, {0}>(wr, weights + ((kh * {1} + kw) * {2} + i1), is_aligned(weights, {0}));",
                      weight_chunk, k.w, dst.shape[1]);
    else
      weight =
          fmt::format("for (int v = 0; v < V; ++v) wr[v] = weights[(i1 + v) * (idx){} + kh * {} + kw * {}];",
                      weights.strides[0], two ? weights.strides[2] : 0, weights.strides.back());
    const std::string load_weight = fmt::format(
        "alignas(16) {} wr[V];\n      {}\n#pragma unroll\n      for (int v = 0; v < V; ++v) ", W, weight);
    const bool keep = k.h * k.w * c.V <= 112;
    const std::int64_t columns = (patch.t - 1) * stride + (k.w - 1) * dilation + 1;
    const std::int64_t lines = two ? (patch.r - 1) * op.strides[0] + (k.h - 1) * op.dilations[0] + 1 : 1;
    KernelSource kernel;
    kernel.source = fill(
        R"cuda($PRELUDE$$INDEX$$POST$
extern "C" __global__ void __launch_bounds__($BLOCK$) $ENTRY$($PARAMETERS$, $S$* dst) {
  constexpr int V = $V$, T = $T$, R = $R$, KH = $KH$, KW = $KW$, COLUMNS = $COLUMNS$, LINES = $LINES$;
  constexpr int STRIDE = $STRIDE$, DILATION = $DILATION$, STRIDE_H = $STRIDE_H$, DILATION_H = $DILATION_H$;
  const uidx thread = (uidx)blockIdx.x * $BLOCK$u + threadIdx.x;
  if (thread >= (uidx)$THREADS$ULL) return;
$POSITIONS$  const bool aligned = is_aligned(src, $SRC_CHUNK$), aligned_dst = is_aligned(dst, $DST_CHUNK$);
$KEEP$  float acc[R][T][V];
#pragma unroll
  for (int v = 0; v < V; ++v) {
    const float start = $BIAS$;
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int t = 0; t < T; ++t) acc[r][t][v] = start;
  }
  const $S$* image = src + ($BASE$);
#pragma unroll $UNROLL$
  for (int line = 0; line < LINES; ++line) {
    const idx y = $TOP$ + line;
    const bool inside = y >= 0 && y < $H$;
    float x[COLUMNS][V];
#pragma unroll
    for (int j = 0; j < COLUMNS; ++j) {
      const idx at = i$W$ * STRIDE - $LEFT$ + j;
      alignas(16) $S$ e[V];
#pragma unroll
      for (int v = 0; v < V; ++v) e[v] = $ZERO$;
      if (inside && at >= 0 && at < $WIDTH$)
        load<V, $SRC_CHUNK$>(e, image + (y * (idx)$YSTRIDE$ + at * (idx)$XSTRIDE$), aligned);
#pragma unroll
      for (int v = 0; v < V; ++v) x[j][v] = reg(e[v]);
    }
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int below = line - r * STRIDE_H, kh = below / DILATION_H;
      if (below < 0 || below % DILATION_H != 0 || kh >= KH) continue;
#pragma unroll
      for (int kw = 0; kw < KW; ++kw) {
        $USE$
#pragma unroll
        for (int t = 0; t < T; ++t)
#pragma unroll
          for (int v = 0; v < V; ++v) acc[r][t][v] += x[t * STRIDE + kw * DILATION][v] * $FACTOR$;
      }
      if (kh != KH - 1) continue;
$ROW$#pragma unroll
      for (int t = 0; t < T; ++t) {
        const idx i$W$ = first + t;
        if (i$W$ < $OUT_WIDTH$$ROW_OK$) {
$LOADS$          alignas(16) $S$ out[V];
          float result[V];
#pragma unroll
          for (int v = 0; v < V; ++v) result[v] = $CALL$;
          convert(out, result);
          store<V, $DST_CHUNK$>(dst + ($TO$), out, aligned_dst);
        }
      } }
    }
  }
}
)cuda",
        {{"PRELUDE", std::string(kPrelude)},
         {"INDEX", index_types(is_wide({&src, &dst}))},
         {"POST", op.post.empty() ? "" : print_post("post", op.post, dst.dtype)},
         {"BLOCK", std::to_string(block)},
         {"ENTRY", kEntry},
         {"PARAMETERS", parameters},
         {"S", S},
         {"V", std::to_string(c.V)},
         {"T", std::to_string(patch.t)},
         {"R", std::to_string(patch.r)},
         {"KH", std::to_string(k.h)},
         {"KW", std::to_string(k.w)},
         {"COLUMNS", std::to_string(columns)},
         {"LINES", std::to_string(lines)},
         {"STRIDE", std::to_string(stride)},
         {"DILATION", std::to_string(dilation)},
         {"STRIDE_H", std::to_string(two ? op.strides[0] : 1)},
         {"DILATION_H", std::to_string(two ? op.dilations[0] : 1)},
         {"UNROLL", keep || patch.r > 1 ? std::to_string(lines) : "1"},
         {"THREADS", std::to_string(threads)},
         {"POSITIONS", positions(dst, steps, "thread")},
         {"SRC_CHUNK", std::to_string(c.src_chunk)},
         {"KEEP", keep ? "  float weight[KH][KW][V];\n#pragma unroll\n  for (int kh = 0; kh < KH; ++kh) {\n"
                         "#pragma unroll\n    for (int kw = 0; kw < KW; ++kw) {\n      " +
                             load_weight + "weight[kh][kw][v] = reg(wr[v]);\n    }\n  }\n"
                       : ""},
         {"USE", keep ? "" : "float weight[V]; " + load_weight + "weight[v] = reg(wr[v]);"},
         {"FACTOR", keep ? "weight[kh][kw][v]" : "weight[v]"},
         {"BIAS", bias},
         {"TOP", two ? fmt::format("i{} * STRIDE_H - {}", h, op.pads_begin[0].value) : "0"},
         {"H", std::to_string(two ? src.shape[2] : 1)},
         {"BASE", offset_text(src, 0, 2)},
         {"YSTRIDE", std::to_string(two ? src.strides[2] : 0)},
         {"W", std::to_string(w)},
         {"LEFT", std::to_string(op.pads_begin[sw].value)},
         {"WIDTH", std::to_string(src.shape[w])},
         {"XSTRIDE", std::to_string(src.strides[w])},
         {"ZERO", fmt::format("Store<{}>::of(0.0f)", S)},
         {"ROW",
          fmt::format("      const idx first = i{};\n", w) +
              (two ? fmt::format("      const idx top = i{0};\n      {{ const idx i{0} = top + r;\n", h)
                   : "      {\n")},
         {"ROW_OK", two ? fmt::format(" && i{} < {}", h, dst.shape[h]) : ""},
         {"OUT_WIDTH", std::to_string(dst.shape[w])},
         {"LOADS", post.loads},
         {"CALL", post.call},
         {"TO", offset_text(dst, 0, rank)},
         {"DST_CHUNK", std::to_string(c.dst_chunk)}});
    kernel.geometry = linear_geometry(threads, block);
    kernel.operands = std::move(operands);
    program.launches.push_back(std::move(kernel));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_depthwise() { return std::make_unique<DepthwiseTactic>(); }

}  // namespace headrace::cuda
