// The convolution at the entrance of an image network, as a matrix product: geometry, tiles and weights.
//
// Problem: with three channels, libraries pad the product's inner dimension to eight and want f16 in
// channels_last, which an own pass must make. Here one kernel reads the image as it is. A block holds a strip
// of the image in shared memory, rounded to f16, rows of one channel after the other: [y][c][x]. Two taps
// that are neighbours in x are one 32-bit word of it, so that the operand of mma.m16n8k16 is read from the
// strip itself: sixteen pixels by eight words, no rearranging.
//   inner dimension: words of two taps, ordered [kernel row][channel][word of the kernel row]; a kernel row
//   is
//                    padded to 1, 2, 4 or 8 words, in front as well where that makes words begin at even x
//   strides that are odd need the strip twice, the second time shifted by one element
// Weights are packed in the order of the product's registers, so that a warp reads them 16 bytes per thread;
// the eight columns of its tiles are channels chosen so that a thread's results lie together.
#pragma once

#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/codegen.h"

namespace headrace::cuda {

/// A resolved problem's numbers. Lower-case: extents; all spatial ones first h, then w.
struct Stem {
  explicit Stem(const Problem& problem);
  std::int64_t batch = 0, channels = 0, maps = 0;
  std::int64_t in[2] = {}, kernel[2] = {}, stride[2] = {}, pad[2] = {}, out[2] = {};
  bool pooled = false;
  std::int64_t window[2] = {}, step[2] = {}, margin[2] = {}, result[2] = {};  ///< of the pool

  std::int64_t lead = 0;           ///< zero taps in front of a kernel row
  std::int64_t words = 0;          ///< of a kernel row: 1, 2, 4 or 8
  std::int64_t all_words = 0;      ///< of the inner dimension
  std::int64_t steps = 0;          ///< of eight words
  std::int64_t tiles = 0;          ///< of eight channels
  std::int64_t group = 0;          ///< tiles whose results lie together: 4, 2 or 1
  std::int64_t load = 0;           ///< tiles per access to the weights: 2 or 1
  std::int64_t tiles_of_warp = 0;  ///< up to eight
  std::int64_t copies = 0;         ///< of the strip: 2 for odd strides
  std::int64_t weight_words() const { return steps * tiles * 64; }
};
/// Why there is no such product for this problem, or nothing.
std::optional<Refusal> refuse_stem(const Problem& problem);
std::vector<std::byte> pack_stem(const Stem& stem, bool warpgroups, const HostTensor& weights);

/// What a block does, by single warps or by warpgroups: four warps that share the weights (Hopper). Without a
/// pool: h rows of w pixels by t warps, m times 16 pixels at once per warp. With one: h rows of the pool's
/// result below each other, over w times 16 columns of the convolution; a warp has 16 columns and m rows of
/// the pool at once. For warpgroups m is how many steps of the product are loaded while as many are
/// multiplied.
struct StemTile {
  std::int64_t h = 1, w = 1, m = 1, t = 1;
  bool warpgroups = false;
};
/// Weights are packed for the one or the other.
const char* stem_format(bool warpgroups);
std::string to_string(const StemTile& tile, const Stem& stem);
/// Error(invalid_plan) for what is none.
StemTile parse_stem_tile(const std::string& text, const Stem& stem);
/// Tiles worth trying, the best by rule first; never empty. `warpgroups`: whether the GPU has them.
std::vector<StemTile> stem_tiles(const Stem& stem, bool warpgroups);

/// Places in a block's shared memory, in 32-bit words.
struct StemMemory {
  StemMemory(const Stem& stem, const StemTile& tile);
  std::int64_t columns = 0;  ///< of the convolution
  std::int64_t rows = 0;     ///< of the image
  std::int64_t quads = 0;    ///< of four elements that are loaded of a row
  std::int64_t row = 0;      ///< words of a row of one channel
  std::int64_t copy = 0;     ///< words of the strip
  std::int64_t lines = 0;    ///< words of the lines between convolution and pool
  std::int64_t bytes = 0;
};

KernelSource stem_source(const Problem& problem, const Stem& stem, const StemTile& tile);

}  // namespace headrace::cuda
