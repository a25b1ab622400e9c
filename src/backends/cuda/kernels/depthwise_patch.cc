#include <algorithm>

#include <fmt/format.h>

#include "backends/cuda/codegen_expr.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/depthwise.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {

Depthwise::Depthwise(const Problem& problem)
    : p(problem),
      op(*op_as<Conv>(problem)),
      src(p.srcs[0]),
      weights(p.srcs[1]),
      dst(p.dsts[0]),
      rank(dst.shape.size()),
      w(rank - 1),
      h(rank - 2),
      two(rank == 4),
      packed(weights.layout == Layout::packed) {
  const std::size_t sw = two ? 1 : 0;  // index of the width among the spatial axes
  kernel_h = two ? weights.shape[2] : 1;
  kernel_w = weights.shape.back();
  stride_h = two ? op.strides[0] : 1;
  stride_w = op.strides[sw];
  dilation_h = two ? op.dilations[0] : 1;
  dilation_w = op.dilations[sw];
  pad_h = two ? op.pads_begin[0].value : 0;
  pad_w = op.pads_begin[sw].value;
}

std::string Depthwise::parameters() const {
  std::string out =
      fmt::format("const {}* src, const {}* weights", type_name(src.dtype), type_name(weights.dtype));
  if (op.has_bias) out += fmt::format(", const {}* bias", type_name(p.srcs[2].dtype));
  for (std::size_t q = 0; q < post_operands(op.post); ++q)
    out += fmt::format(", const {}* q{}", type_name(p.srcs[first_post() + q].dtype), q);
  return out;
}

std::string Depthwise::arguments() const {
  std::string out = op.has_bias ? "src, weights, bias" : "src, weights";
  for (std::size_t q = 0; q < post_operands(op.post); ++q) out += fmt::format(", q{}", q);
  return out;
}

std::vector<std::size_t> Depthwise::operands() const {
  std::vector<std::size_t> list;
  for (std::size_t i = 0; i < first_post() + post_operands(op.post); ++i) list.push_back(i);
  list.push_back(p.srcs.size());
  return list;
}

std::string Depthwise::bias() const {
  return op.has_bias ? fmt::format("(float)reg(bias[(i1 + v) * (idx){}])", p.srcs[2].strides[0]) : "0.0f";
}

std::string Depthwise::load_weights(std::int64_t V, const std::string& channel) const {
  const std::int64_t channels = dst.shape[1],
                     chunk =
                         access_bytes(V, static_cast<std::int64_t>(size_bytes(weights.dtype)), {channels});
  if (packed)
    return fmt::format("load<V, {0}>(wr, weights + ((kh * {1} + kw) * {2} + {3}), is_aligned(weights, {0}));",
                       chunk, kernel_w, channels, channel);
  return fmt::format("for (int v = 0; v < V; ++v) wr[v] = weights[({} + v) * (idx){} + kh * {} + kw * {}];",
                     channel, weights.strides[0], two ? weights.strides[2] : 0, weights.strides.back());
}

KernelSource depthwise_patch(const Depthwise& d, const DepthwisePatch& given) {
  const TensorDesc &src = d.src, &dst = d.dst;
  const DepthwisePatch patch{given.t, d.two ? given.r : 1, given.v};
  const ChannelVector c = channel_vector(src, dst, patch.v);
  std::vector<std::int64_t> steps(d.rank, 1);
  steps[1] = c.V;
  steps[d.w] = patch.t;
  if (d.two) steps[d.h] = patch.r;
  const std::int64_t threads = position_count(dst, steps);
  const unsigned block = threads < 132 * 256 ? 64 : 128;
  const std::string S = type_name(src.dtype);
  // The post operands are loaded for the pixel at hand: its indices shadow the patch's first ones.
  const PostCode post = post_code(d.op.post, d.p.srcs, d.first_post(), dst, c.V, "acc[r][t][v]");
  const std::string load_weight =
      fmt::format("alignas(16) {} wr[V];\n      {}\n#pragma unroll\n      for (int v = 0; v < V; ++v) ",
                  type_name(d.weights.dtype), d.load_weights(c.V, "i1"));
  const bool keep = d.kernel_h * d.kernel_w * c.V <= 112;
  const std::int64_t columns = (patch.t - 1) * d.stride_w + (d.kernel_w - 1) * d.dilation_w + 1;
  const std::int64_t lines = d.two ? (patch.r - 1) * d.stride_h + (d.kernel_h - 1) * d.dilation_h + 1 : 1;
  KernelSource kernel;
  kernel.source = fill(
      R"cuda($PRELUDE$$INDEX$$POST$
template <bool aligned> HR void patch_at($PARAMETERS$, $S$* dst, uidx thread) {
  constexpr int V = $V$, T = $T$, R = $R$, KH = $KH$, KW = $KW$, COLUMNS = $COLUMNS$, LINES = $LINES$;
  constexpr int STRIDE = $STRIDE$, DILATION = $DILATION$, STRIDE_H = $STRIDE_H$, DILATION_H = $DILATION_H$;
$POSITIONS$  const bool aligned_dst = is_aligned(dst, $DST_CHUNK$);
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
extern "C" __global__ void __launch_bounds__($BLOCK$) $ENTRY$($PARAMETERS$, $S$* dst) {
  const uidx thread = (uidx)blockIdx.x * $BLOCK$u + threadIdx.x;
  if (thread >= (uidx)$THREADS$ULL) return;
  if (is_aligned(src, $SRC_CHUNK$))
    patch_at<true>($ARGUMENTS$, dst, thread);
  else
    patch_at<false>($ARGUMENTS$, dst, thread);
}
)cuda",
      {{"PRELUDE", std::string(kPrelude)},
       {"INDEX", index_types(is_wide({&src, &dst}))},
       {"POST", d.op.post.empty() ? "" : print_post("post", d.op.post, dst.dtype)},
       {"BLOCK", std::to_string(block)},
       {"ENTRY", kEntry},
       {"PARAMETERS", d.parameters()},
       {"ARGUMENTS", d.arguments()},
       {"S", S},
       {"V", std::to_string(c.V)},
       {"T", std::to_string(patch.t)},
       {"R", std::to_string(patch.r)},
       {"KH", std::to_string(d.kernel_h)},
       {"KW", std::to_string(d.kernel_w)},
       {"COLUMNS", std::to_string(columns)},
       {"LINES", std::to_string(lines)},
       {"STRIDE", std::to_string(d.stride_w)},
       {"DILATION", std::to_string(d.dilation_w)},
       {"STRIDE_H", std::to_string(d.stride_h)},
       {"DILATION_H", std::to_string(d.dilation_h)},
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
       {"BIAS", d.bias()},
       {"TOP", d.two ? fmt::format("i{} * STRIDE_H - {}", d.h, d.pad_h) : "0"},
       {"H", std::to_string(d.two ? src.shape[2] : 1)},
       {"BASE", offset_text(src, 0, 2)},
       {"YSTRIDE", std::to_string(d.two ? src.strides[2] : 0)},
       {"W", std::to_string(d.w)},
       {"LEFT", std::to_string(d.pad_w)},
       {"WIDTH", std::to_string(src.shape[d.w])},
       {"XSTRIDE", std::to_string(src.strides[d.w])},
       {"ZERO", fmt::format("Store<{}>::of(0.0f)", S)},
       {"ROW",
        fmt::format("      const idx first = i{};\n", d.w) +
            (d.two ? fmt::format("      const idx top = i{0};\n      {{ const idx i{0} = top + r;\n", d.h)
                   : "      {\n")},
       {"ROW_OK", d.two ? fmt::format(" && i{} < {}", d.h, dst.shape[d.h]) : ""},
       {"OUT_WIDTH", std::to_string(dst.shape[d.w])},
       {"LOADS", post.loads},
       {"CALL", post.call},
       {"TO", offset_text(dst, 0, d.rank)},
       {"DST_CHUNK", std::to_string(c.dst_chunk)}});
  kernel.geometry = linear_geometry(threads, block);
  kernel.operands = d.operands();
  return kernel;
}

}  // namespace headrace::cuda
