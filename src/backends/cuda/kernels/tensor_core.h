// The tensor cores' smallest product, as generated kernels use it.
#pragma once

#include <string_view>

namespace headrace::cuda {

/// `tensor_core(acc, a, b0, b1)`: acc += a * b of a warp, 16 x 8 += 16 x 16 times 16 x 8, f16 to f32. Lane l
/// has g = l / 4 and t = l % 4, words are two halves:
///   a[0], a[1]: rows g and g + 8, words t (of 8); a[2], a[3]: the same rows, words t + 4
///   b0, b1: words t and t + 4 of column g
///   acc[0], acc[1]: columns 2t and 2t + 1 of row g; acc[2], acc[3]: of row g + 8
extern const std::string_view kTensorCore;

}  // namespace headrace::cuda
