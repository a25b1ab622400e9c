#include "backends/cuda/stem.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <tuple>

#include <fmt/format.h>

#include <headrace/error.h>

#include "core/post.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kMaxChannels = 4, kMaxWeightBytes = 64 << 10, kSharedBytes = 200 << 10;
constexpr std::int64_t kProcessors = 132;

/// The least n >= value with n % modulus == remainder.
std::int64_t up_to(std::int64_t value, std::int64_t modulus, std::int64_t remainder) {
  const std::int64_t at = value % modulus;
  return value + (remainder - at + modulus) % modulus;
}

}  // namespace

Stem::Stem(const Problem& p) {
  const Conv& op = *op_as<Conv>(p);
  const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
  batch = src.shape[0], channels = src.shape[1], maps = weights.shape[0];
  pooled = !op.pool_kernel.empty();
  for (std::size_t a = 0; a < 2; ++a) {
    in[a] = src.shape[2 + a], kernel[a] = weights.shape[2 + a], stride[a] = op.strides[a];
    pad[a] = op.pads_begin[a].value, result[a] = dst.shape[2 + a];
    out[a] = pooled ? (in[a] + pad[a] + op.pads_end[a].value - kernel[a]) / stride[a] + 1 : result[a];
    if (!pooled) continue;
    window[a] = op.pool_kernel[a], step[a] = op.pool_strides[a], margin[a] = op.pool_begin[a].value;
  }
  copies = stride[1] % 2 == 0 ? 1 : 2;
  lead = copies == 1 ? pad[1] % 2 : 0;
  for (words = 1; 2 * words < kernel[1] + lead;) words *= 2;
  all_words = kernel[0] * channels * words;
  steps = divide_up(all_words, 8);
  tiles = divide_up(maps, 8);
  for (group = 4; tiles % group != 0 || maps % (2 * group) != 0;) group /= 2;
  load = tiles % 2 == 0 ? 2 : 1;
  const std::int64_t least = std::max(group, load);
  for (tiles_of_warp = std::max<std::int64_t>(least, 8 / least * least); tiles % tiles_of_warp != 0;)
    tiles_of_warp -= least;
}

std::optional<Refusal> refuse_stem(const Problem& p) {
  const Conv* op = op_as<Conv>(p);
  if (!op) return refuse("not a Conv");
  const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
  if (src.shape.size() != 4) return refuse("not two spatial axes");
  if (op->groups != 1) return refuse("groups");
  if (src.shape[1] > kMaxChannels || src.shape[1] < 1)
    return refuse(fmt::format("{} channels: this is for up to {}", src.shape[1], kMaxChannels));
  if ((src.dtype != DType::f32 && src.dtype != DType::f16) || weights.dtype != DType::f16 ||
      dst.dtype != DType::f16)
    return refuse("not f32 or f16 with f16 weights to f16");
  if (src.layout == Layout::packed || dst.strides[1] != 1) return refuse("dst is not channels_last");
  for (std::size_t a = 0; a < 2; ++a) {
    if (op->dilations[a] != 1) return refuse("dilation");
    if (op->pads_begin[a].value < 0 || op->pads_end[a].value < 0) return refuse("negative padding");
  }
  if (weights.shape[0] < 2 || weights.shape[0] % 2 != 0) return refuse("an odd number of output channels");
  if (weights.shape[3] > 15 || op->strides[1] > 16) return refuse("a kernel or stride above 15");
  if (weights.layout == Layout::packed && weights.format != stem_format(false) &&
      weights.format != stem_format(true))
    return refuse("weights packed as " + weights.format);
  for (std::size_t i = 2; i < p.srcs.size(); ++i)
    if (!is_float(p.srcs[i].dtype)) return refuse("an operand that is not floating-point");
  for (std::size_t a = 0; a < op->pool_kernel.size(); ++a) {
    const std::int64_t more = op->pool_kernel[a] - op->pool_strides[a];
    if (more < 0 || more > 1 || op->pool_kernel[a] > 4 || op->pool_begin[a].value >= op->pool_kernel[a])
      return refuse("a max-pool whose windows overlap by more than one, or that is wide");
  }
  if (Stem(p).weight_words() * 4 > kMaxWeightBytes) return refuse("weights beyond shared memory");
  return std::nullopt;
}

const char* stem_format(bool warpgroups) { return warpgroups ? "stem.warpgroup" : "stem.warp"; }

std::vector<std::byte> pack_stem(const Stem& s, bool warpgroups, const HostTensor& weights) {
  std::vector<std::byte> packed(static_cast<std::size_t>(s.weight_words()) * 4);
  const std::byte* from = weights.bytes().data();
  for (std::int64_t w = 0; w < s.weight_words(); ++w) {
    std::int64_t lane, tile, word;
    if (warpgroups) {
      lane = w % 32, tile = w / 32 % s.tiles, word = w / (32 * s.tiles) * 4 + lane % 4;
    } else {
      const std::int64_t part = w % (2 * s.load), rest = w / (64 * s.load), sets = s.tiles / s.load;
      lane = w / (2 * s.load) % 32, tile = rest % sets * s.load + part / 2;
      word = rest / sets * 8 + part % 2 * 4 + lane % 4;
    }
    const std::int64_t column = lane / 4;
    const std::int64_t row = word / s.words, y = row / s.channels, c = row % s.channels;
    const std::int64_t map =
        tile / s.group * 8 * s.group + column / 2 * 2 * s.group + tile % s.group * 2 + column % 2;
    for (std::int64_t half = 0; half < 2; ++half) {
      const std::int64_t x = word % s.words * 2 + half - s.lead;
      if (word >= s.all_words || map >= s.maps || x < 0 || x >= s.kernel[1]) continue;
      const std::int64_t at = ((map * s.channels + c) * s.kernel[0] + y) * s.kernel[1] + x;
      std::memcpy(packed.data() + w * 4 + half * 2, from + at * 2, 2);
    }
  }
  return packed;
}

std::string to_string(const StemTile& tile, const Stem& s) {
  const char* by = tile.warpgroups ? "wg " : "";
  return s.pooled ? fmt::format("{}pool h={} w={} m={}", by, tile.h, tile.w, tile.m)
                  : fmt::format("{}h={} w={} m={} t={}", by, tile.h, tile.w, tile.m, tile.t);
}

StemTile parse_stem_tile(const std::string& text, const Stem& s) {
  const bool by = text.starts_with("wg ");
  const char* rest = text.c_str() + (by ? 3 : 0);
  long long h = 0, w = 0, m = 0, t = 0;
  const bool fits = s.pooled ? std::sscanf(rest, "pool h=%lld w=%lld m=%lld", &h, &w, &m) == 3
                             : std::sscanf(rest, "h=%lld w=%lld m=%lld t=%lld", &h, &w, &m, &t) == 4;
  if (s.pooled) t = w * (s.tiles / s.tiles_of_warp);
  const StemTile tile{h, w, m, t, by};
  if (!fits || h < 1 || h > 1024 || w < 1 || w > 4096 || m < 1 || m > 4 || t < 1 || t > 32 ||
      (s.pooled && ((!by && h % m != 0) || 16 * w < s.window[1])) || (by && t % 4 != 0) ||
      (by && s.pooled && w % 4 != 0) || StemMemory(s, tile).bytes > kSharedBytes)
    throw Error(ErrorCode::invalid_plan, "cuda.stem has no choice '" + text + "' for this problem");
  return tile;
}

StemMemory::StemMemory(const Stem& s, const StemTile& tile) {
  columns = std::max<std::int64_t>(1, std::min(s.pooled ? 16 * tile.w : tile.w, s.out[1]));
  const std::int64_t lines_of_conv =
      s.pooled ? (tile.h - 1) * s.step[0] + s.window[0] : std::min(tile.h, s.out[0]);
  rows = (lines_of_conv - 1) * s.stride[0] + s.kernel[0];
  quads = divide_up((columns - 1) * s.stride[1] + 4 + 2 * s.words, 4);
  // Rows, and the copies, that a warp reads at once lie in different banks.
  row = s.words >= 4 ? 2 * quads : up_to(2 * quads, 32, s.words == 2 ? 16 : 8);
  copy = up_to(rows * s.channels * row, 32, s.words >= 4 ? 16 : s.words == 2 ? 8 : 4);
  lines = s.pooled ? 2 * (tile.warpgroups ? 1 : tile.m) * columns * s.tiles * 4 : 0;
  bytes = 4 * (s.weight_words() + s.tiles * 8 + s.copies * copy + lines);
}

std::vector<StemTile> stem_tiles(const Stem& s, bool warpgroups) {
  std::vector<StemTile> tiles;
  const auto add = [&](StemTile tile, std::int64_t most_lines) {
    const bool too_high = tile.h > 1 && tile.h >= 2 * most_lines;
    if (too_high || tile.t > 16 || (tile.warpgroups && !warpgroups)) return;
    if (StemMemory(s, tile).bytes <= kSharedBytes) tiles.push_back(tile);
  };
  if (s.pooled) {
    const std::int64_t groups = s.tiles / s.tiles_of_warp, all = divide_up(s.out[1], 16);
    for (const std::int64_t h : {14, 8, 7, 4, 2, 1}) {
      for (const std::int64_t w : {4, 8, 12})
        if (w < all + 4) add({h, w, 2, w * groups, true}, s.result[0]);
      for (const std::int64_t w :
           {all, std::min<std::int64_t>(all - 1, 7), std::min<std::int64_t>(all - 1, 4)})
        if (w > 0 && 16 * w >= s.window[1] && s.step[0] * s.tiles_of_warp <= 32)
          add({h, w, 1, w * groups, false}, s.result[0]);
    }
    if (tiles.empty()) tiles.push_back({1, 1, 1, groups, false});
  } else {
    const std::int64_t full = std::max<std::int64_t>(1, s.out[1]);
    std::vector<std::int64_t> widths{full};
    if (full > 64) widths.push_back(divide_up(full, 2));
    for (const std::int64_t narrow : {128, 32})
      if (narrow < full) widths.push_back(narrow);
    for (const std::int64_t w : widths)
      for (const std::int64_t h : {16, 8, 4, 2, 1})
        for (const auto& [m, t, by] : {std::tuple<std::int64_t, std::int64_t, bool>{2, 4, true},
                                       {2, 8, true},
                                       {2, 12, true},
                                       {2, 8, false},
                                       {2, 4, false},
                                       {1, 8, false},
                                       {1, 4, false}})
          if (h * w >= 16 * (by ? 1 : m) * t || (h == 1 && t == 4 && (by || m == 1)))
            add({h, w, m, t, by}, s.out[0]);
    if (tiles.empty()) tiles.push_back({1, std::min<std::int64_t>(full, 64), 1, 4, false});
  }
  // By rule: two blocks at least for every processor, then what reads and computes least twice.
  const auto score = [&](const StemTile& tile) {
    const StemMemory memory(s, tile);
    const std::int64_t lines = s.pooled ? tile.h * s.step[0] : tile.h, down = divide_up(s.out[0], lines),
                       along = divide_up(s.out[1], memory.columns);
    const double blocks = static_cast<double>(s.batch * down * along);
    const double waste =
        static_cast<double>(down * lines * along * memory.columns) / static_cast<double>(s.out[0] * s.out[1]);
    const double halo = static_cast<double>(memory.rows) / static_cast<double>(lines * s.stride[0]);
    return std::min(1.0, blocks / (2 * kProcessors)) / (waste * (0.7 + 0.3 * halo)) *
           (memory.bytes > (110 << 10) ? 0.6 : 1) * (tile.warpgroups ? 1.3 : 1);
  };
  std::stable_sort(tiles.begin(), tiles.end(),
                   [&](const StemTile& a, const StemTile& b) { return score(a) > score(b); });
  tiles.resize(std::min<std::size_t>(tiles.size(), 14));
  return tiles;
}

}  // namespace headrace::cuda
