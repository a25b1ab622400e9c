// What the printer and the parser of the graph text form share.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace headrace {

inline constexpr std::int64_t kMaxPrinted = 16;  ///< elements of a constant that are written out
inline constexpr std::uint64_t kMaxSeed =
    256;  ///< `random(seed)` with a smaller seed prints as it was written
inline constexpr std::int64_t kMaxParsedElements = 1 << 24;  ///< of one constant in a text

/// Deterministic contents: floats in [-1, 1), integers in [-8, 8), unsigned ones in [0, 8).
HostTensor random_tensor(DType dtype, const Shape& shape, std::uint64_t seed);

}  // namespace headrace
