#include "backends/cuda/stem.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

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
  if (weights.layout == Layout::packed && weights.format != kStemFormat)
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

std::vector<std::byte> pack_stem(const Stem& s, const HostTensor& weights) {
  std::vector<std::byte> packed(static_cast<std::size_t>(s.weight_words()) * 4);
  const std::byte* from = weights.bytes().data();
  for (std::int64_t w = 0; w < s.weight_words(); ++w) {
    const std::int64_t part = w % (2 * s.load), lane = w / (2 * s.load) % 32, rest = w / (64 * s.load),
                       tile = rest % (s.tiles / s.load) * s.load + part / 2, t = lane % 4, column = lane / 4,
                       word = rest / (s.tiles / s.load) * 8 + part % 2 * 4 + t;
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
  return s.pooled ? fmt::format("pool h={} w={} m={}", tile.h, tile.w, tile.m)
                  : fmt::format("h={} w={} m={} t={}", tile.h, tile.w, tile.m, tile.t);
}

StemTile parse_stem_tile(const std::string& text, const Stem& s) {
  long long h = 0, w = 0, m = 0, t = 0;
  if (text.empty()) return stem_tiles(s).front();
  const bool fits = s.pooled ? std::sscanf(text.c_str(), "pool h=%lld w=%lld m=%lld", &h, &w, &m) == 3
                             : std::sscanf(text.c_str(), "h=%lld w=%lld m=%lld t=%lld", &h, &w, &m, &t) == 4;
  if (s.pooled) t = w * (s.tiles / s.tiles_of_warp);
  StemTile tile{h, w, m, t};
  if (!fits || h < 1 || h > 1024 || w < 1 || w > 4096 || m < 1 || m > 4 || t < 1 || t > 32 ||
      (s.pooled && (h % m != 0 || 16 * w < s.window[1])) || StemMemory(s, tile).bytes > kSharedBytes)
    throw Error(ErrorCode::invalid_plan, "cuda.stem has no choice '" + text + "' for this problem");
  return tile;
}

StemMemory::StemMemory(const Stem& s, const StemTile& tile) {
  const std::int64_t columns = s.pooled ? 16 * tile.w : std::min(tile.w, s.out[1]);
  const std::int64_t lines_of_conv =
      s.pooled ? (tile.h - 1) * s.step[0] + s.window[0] : std::min(tile.h, s.out[0]);
  rows = (lines_of_conv - 1) * s.stride[0] + s.kernel[0];
  quads = divide_up((columns - 1) * s.stride[1] + 4 + 2 * s.words, 4);
  // Rows, and the copies, that a warp reads at once lie in different banks.
  row = s.words >= 4 ? 2 * quads : up_to(2 * quads, 32, s.words == 2 ? 16 : 8);
  copy = up_to(rows * s.channels * row, 32, s.words >= 4 ? 16 : s.words == 2 ? 8 : 4);
  lines = s.pooled ? 2 * tile.m * columns * s.tiles * 4 : 0;
  bytes = 4 * (s.weight_words() + s.tiles * 8 + s.copies * copy + lines);
}

std::vector<StemTile> stem_tiles(const Stem& s) {
  std::vector<StemTile> tiles;
  const auto add = [&](StemTile tile) {
    if (tile.t > 16 || StemMemory(s, tile).bytes > kSharedBytes) return;
    tiles.push_back(tile);
  };
  const std::int64_t groups = s.tiles / s.tiles_of_warp;
  if (s.pooled) {
    const std::int64_t all = divide_up(s.out[1], 16);
    std::vector<std::int64_t> widths;
    for (const std::int64_t w : {all, std::int64_t{8}, std::int64_t{7}, std::int64_t{4}, std::int64_t{2}})
      if (w <= all && w <= 10 && 16 * w >= s.window[1] &&
          std::find(widths.begin(), widths.end(), w) == widths.end())
        widths.push_back(w);
    for (const std::int64_t w : widths)
      for (const std::int64_t h : {14, 8, 7, 4, 2, 1})
        for (const std::int64_t m : {1, 2})
          if (h % m == 0 && (h == 1 || h < 2 * s.result[0]) && m * s.step[0] * s.tiles_of_warp <= 32)
            add({h, w, m, w * groups});
    if (tiles.empty()) tiles.push_back({1, 1, 1, groups});
  } else {
    const std::int64_t full = std::max<std::int64_t>(1, s.out[1]);
    std::vector<std::int64_t> widths{full};
    if (full > 64) widths.push_back(divide_up(full, 2));
    for (const std::int64_t narrow : {128, 64, 32})
      if (narrow < full) widths.push_back(narrow);
    for (const std::int64_t w : widths)
      for (const std::int64_t h : {16, 8, 4, 2, 1})
        for (const auto& [m, t] :
             {std::pair<std::int64_t, std::int64_t>{4, 4}, {2, 8}, {2, 4}, {1, 8}, {1, 4}})
          if ((h == 1 || h < 2 * s.out[0]) && (h * w >= 16 * m * t || (h == 1 && m == 1 && t == 4)) &&
              h * w <= 16 * m * t * 32)
            add({h, w, m, t});
    if (tiles.empty()) tiles.push_back({1, std::min<std::int64_t>(full, 64), 1, 4});
  }
  // By rule: two blocks at least for every processor, then the most pixels in half a processor's memory.
  const auto score = [&](const StemTile& tile) {
    const std::int64_t columns = s.pooled ? 16 * tile.w : tile.w,
                       lines = s.pooled ? tile.h * s.step[0] : tile.h,
                       blocks = s.batch * divide_up(s.out[0], lines) * divide_up(s.out[1], columns),
                       used = divide_up(s.out[0], lines) * divide_up(s.out[1], columns) * lines * columns,
                       bytes = StemMemory(s, tile).bytes;
    const double waste = static_cast<double>(used) / static_cast<double>(s.out[0] * s.out[1]);
    const double fill = std::min(1.0, static_cast<double>(blocks) / (2 * kProcessors));
    const double halo =
        static_cast<double>(StemMemory(s, tile).rows) / static_cast<double>(lines * s.stride[0]);
    return fill / (waste * (0.7 + 0.3 * halo) * (bytes > (110 << 10) ? 1.5 : 1)) *
           (tile.m * (s.pooled ? 2 : 1) > 1 ? 1.0 : 0.9);
  };
  std::stable_sort(tiles.begin(), tiles.end(),
                   [&](const StemTile& a, const StemTile& b) { return score(a) > score(b); });
  tiles.resize(std::min<std::size_t>(tiles.size(), 12));
  return tiles;
}

}  // namespace headrace::cuda
