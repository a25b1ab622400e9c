// The text of cuda.stem's kernel. What is where: stem.h.
#include <algorithm>

#include <fmt/format.h>

#include "backends/cuda/codegen_expr.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/prelude.h"
#include "backends/cuda/kernels/stem.h"
#include "backends/cuda/kernels/tensor_core.h"
#include "backends/cuda/stem.h"
#include "core/post.h"

namespace headrace::cuda {

KernelSource stem_source(const Problem& p, const Stem& s, const StemTile& tile) {
  const Conv& op = *op_as<Conv>(p);
  const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
  const StemMemory memory(s, tile);
  const auto number = [](std::int64_t v) { return std::to_string(v); };
  const std::int64_t width = std::min(tile.w, s.out[1]),
                     height = s.pooled ? tile.h : std::min(tile.h, s.out[0]);
  const std::int64_t overlap = s.pooled ? s.window[0] - s.step[0] : 0;
  const bool one = s.pooled && s.out[1] <= 16 * tile.w;  // a block sees all columns
  const std::int64_t columns = !s.pooled ? width
                               : one     ? s.result[1]
                                         : (16 * tile.w - s.window[1]) / s.step[1] + 1;
  const std::int64_t x_blocks = divide_up(s.result[1], columns), y_blocks = divide_up(s.result[0], height);
  const std::int64_t threads = 32 * tile.t, unit = tile.warpgroups ? 4 : 1,
                     rows = tile.warpgroups ? 1 : tile.m;
  const bool packed = weights.layout == Layout::packed;

  std::string constants;
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, std::int64_t>>{
           {"C", s.channels},
           {"H", s.in[0]},
           {"W", s.in[1]},
           {"M", s.maps},
           {"OH", s.out[0]},
           {"OW", s.out[1]},
           {"KW", s.kernel[1]},
           {"SH", s.stride[0]},
           {"SW", s.stride[1]},
           {"TOP", s.pad[0]},
           {"LEFT", s.pad[1]},
           {"LEAD", s.lead},
           {"WORDS", s.words},
           {"ALL_WORDS", s.all_words},
           {"STEPS", s.steps},
           {"TILES", s.tiles},
           {"GROUP", s.group},
           {"LOAD", s.load},
           {"NT", s.tiles_of_warp},
           {"COPIES", s.copies},
           {"QUADS", memory.quads},
           {"ROW", memory.row},
           {"COPY", memory.copy},
           {"LINES", memory.rows * s.channels},
           {"THREADS", threads},
           {"TH", height},
           {"TW", width},
           {"MT", rows},
           {"CHUNK", tile.m},
           {"WORK", divide_up(height * width, 16 * rows * unit) * (s.tiles / s.tiles_of_warp)},
           {"UNIT", unit},
           {"COLUMNS", memory.columns},
           {"AT_ONCE", tile.warpgroups ? 1 : rows * s.step[0]},
           {"X_BLOCKS", x_blocks},
           {"Y_BLOCKS", y_blocks},
           {"PH", s.result[0]},
           {"PW", s.result[1]},
           {"STEP_H", s.step[0]},
           {"STEP_W", s.step[1]},
           {"WINDOW_W", s.window[1]},
           {"MARGIN_W", s.margin[1]},
           {"OVERLAP", overlap},
           {"COLUMN_TILES", tile.w},
           {"RESULT_COLUMNS", columns},
           {"CHUNKS", s.maps / (2 * s.group)},
           {"LINE", memory.columns * s.tiles * 4},
           {"SWIZZLE", s.group == 4 && s.tiles % 8 == 0}})
    constants += fmt::format("constexpr int {} = {};\n", name, value);

  std::string parameters = fmt::format("const {}* __restrict__ src, const f16* __restrict__ weights",
                                       type_name(src.dtype)),
              declared, arguments, bias = "0.0f";
  KernelSource k;
  k.operands = {0, 1};
  std::size_t next = 2;
  if (op.has_bias) {
    parameters += fmt::format(", const {}* __restrict__ bias", type_name(p.srcs[2].dtype));
    bias = fmt::format("m < M ? (float)reg(bias[m * (idx){}]) : 0.0f", p.srcs[2].strides[0]);
    k.operands.push_back(next++);
  }
  for (std::size_t q = 0; q < post_operands(op.post); ++q) {
    declared += fmt::format(", const {}* __restrict__ q{}", type_name(p.srcs[next + q].dtype), q);
    arguments += fmt::format(", q{}", q);
    k.operands.push_back(next + q);
  }
  parameters += declared;
  k.operands.push_back(p.srcs.size());
  // The convolution's result, which post operands broadcast against.
  const TensorDesc between = TensorDesc::dense(dst.dtype, {s.batch, s.maps, s.out[0], s.out[1]}, dst.layout);
  const bool relu = op.post == std::vector<Post>{{PwOp::relu}};  // comes with the rounding
  const PostCode post = post_code(relu ? std::vector<Post>{} : op.post, p.srcs, next, between, 2 * s.group,
                                  s.pooled ? "acc[group * GROUP + v / 2][p * 2 + v % 2]"
                                           : "acc[i][group * GROUP + v / 2][p * 2 + v % 2]");
  const auto size = static_cast<std::int64_t>(size_bytes(src.dtype));
  const bool whole = src.strides[3] == 1 && s.in[1] % 4 == 0 &&
                     access_bytes(4, size, {src.strides[0], src.strides[1], src.strides[2]}) == 4 * size;
  const std::vector<Field> fields{
      {"ENTRY", kEntry},
      {"PARAMETERS", parameters},
      {"S", type_name(src.dtype)},
      {"WEIGHT_AT",
       packed ? ""
              : fmt::format("map * (idx){} + row % C * (idx){} + row / C * (idx){} + x * (idx){}",
                            weights.strides[0], weights.strides[1], weights.strides[2], weights.strides[3])},
      {"NSTRIDE", number(src.strides[0])},
      {"CSTRIDE", number(src.strides[1])},
      {"YSTRIDE", number(src.strides[2])},
      {"XSTRIDE", number(src.strides[3])},
      {"STRIP",
       whole ? fmt::format(
                   "  const u32 special = is_aligned(src, {}) ? fill_strip<true>(strip, image, top, left, "
                   "warp, lane)\n      : fill_strip<false>(strip, image, top, left, warp, lane);\n",
                   4 * size)
             : "  const u32 special = fill_strip<false>(strip, image, top, left, warp, lane);\n"},
      {"DST_CHUNK", number(access_bytes(2 * s.group, 2, {dst.strides[0], dst.strides[2], dst.strides[3]}))},
      {"UNROLL", number(s.steps <= 24 ? s.steps : 4)},
      {"POSITION",
       s.pooled
           ? fmt::format("  const int result0 = y_block * TH, result_column0 = x_block * RESULT_COLUMNS;\n"
                         "  const int row0 = result0 * STEP_H - {}, column0 = {};\n",
                         s.margin[0], one ? "0" : "result_column0 * STEP_W - MARGIN_W")
           : "  const int row0 = y_block * TH, column0 = x_block * TW;\n"},
      {"WEIGHTS", packed ? "  for (int w = thread; w < STEPS * TILES * 16; w += THREADS)\n"
                           "    shared[w] = ((const uint4*)weights)[w];\n"
                         : "  for (int w = thread; w < STEPS * TILES * 64; w += THREADS)\n"
                           "    weight_words[w] = packed_weight(weights, w);\n"},
      {"FENCE",
       tile.warpgroups ? "  asm volatile(\"fence.proxy.async.shared::cta;\" ::: \"memory\");\n" : ""},
      {"MINE", tile.warpgroups ? "tiles * 32" : "(tiles / LOAD * 32 + lane) * (2 * LOAD)"},
      {"WARPGROUPS", tile.warpgroups ? "1" : "0"},
      {"CONVERT", relu ? "convert_relu" : "convert"},
      {"BLOCKS", tile.warpgroups ? ", " + number(std::max<std::int64_t>(1, 512 / threads)) : ""},
      {"BIAS", bias},
      {"LOADS", post.loads},
      {"CALL", post.call},
      {"TO", offset_text(dst, 0, 4)},
      {"DECLARED", declared},
      {"OPERANDS", arguments},
      {"VALID", arguments.empty() ? "true" : "i1 < M && i3 >= 0 && i3 < OW"}};
  std::vector<Field> all = fields;
  all.push_back({"BODY", fill(s.pooled ? kStemPooled : kStemPlain, fields)});
  k.source =
      std::string(kPrelude) + std::string(kTensorCore) + index_types(is_wide({&src, &dst, &between})) +
      (op.post.empty() || relu ? "" : print_post("post", op.post, dst.dtype)) + constants +
      (packed ? "" : fill(kStemPacking, fields)) + fill(kStemProduct, fields) +
      (tile.warpgroups ? warpgroup_core(static_cast<int>(s.tiles_of_warp)) + std::string(kStemWarpgroup)
                       : fill(kStemWarp, fields)) +
      (s.pooled ? fill(kStemPoolFunctions, fields) : "") + fill(kStemEntry, all);
  k.geometry = linear_geometry(s.batch * x_blocks * y_blocks * threads, static_cast<unsigned>(threads));
  k.geometry.shared_bytes = static_cast<unsigned>(memory.bytes);
  return k;
}

}  // namespace headrace::cuda
