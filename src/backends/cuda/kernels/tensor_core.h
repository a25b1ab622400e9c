// The tensor cores' smallest product, as generated kernels use it.
#pragma once

#include <string>
#include <string_view>

namespace headrace::cuda {

/// `tensor_core(acc, a, b0, b1)`: acc += a * b of a warp, 16 x 8 += 16 x 16 times 16 x 8, f16 to f32. Lane l
/// has g = l / 4 and t = l % 4, words are two halves:
///   a[0], a[1]: rows g and g + 8, words t (of 8); a[2], a[3]: the same rows, words t + 4
///   b0, b1: words t and t + 4 of column g
///   acc[0], acc[1]: columns 2t and 2t + 1 of row g; acc[2], acc[3]: of row g + 8
extern const std::string_view kTensorCore;
/// Hopper's product of four neighbouring warps, the first a multiple of four: 64 x 8N += 64 x 16 times 16 x
/// 8N, warp w has rows 16w ... 16w+15. `weights`: in shared memory, words [half of the 16][tile of 8 columns,
/// TILES in all][column][4]; written before `fence.proxy.async` and a barrier. acc and a as above, for N
/// tiles.
///   warpgroup_begin(acc); [load a; warpgroup_fix(a); warpgroup_fence(); warpgroup_core<TILES>(acc, a,
///   weights); warpgroup_commit();] as often as needed, a under way untouched; warpgroup_wait<0>();
///   warpgroup_end(acc);
std::string warpgroup_core(int tiles);

}  // namespace headrace::cuda
