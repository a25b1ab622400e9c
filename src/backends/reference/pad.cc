// Pad: per axis a table of source offsets; -1 stands for the constant.
#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

/// The index of src that position i (may lie outside [0, extent)) takes, or -1.
std::int64_t source_index(PadMode mode, std::int64_t i, std::int64_t extent) {
  if (i >= 0 && i < extent) return i;
  if (mode == PadMode::constant || extent == 0) return -1;
  if (mode == PadMode::edge) return i < 0 ? 0 : extent - 1;
  if (mode == PadMode::wrap) return ((i % extent) + extent) % extent;
  if (extent == 1) return 0;
  const std::int64_t period = 2 * (extent - 1);
  const std::int64_t folded = ((i % period) + period) % period;
  return folded < extent ? folded : period - folded;
}

}  // namespace

Work make(const Pad& op, const Problem& problem) {
  const TensorDesc &src = problem.srcs[0], &dst = problem.dsts[0];
  const Nest nest{dst.shape, {dst.strides}};
  std::vector<std::vector<std::int64_t>> tables;
  for (std::size_t axis = 0; axis < dst.shape.size(); ++axis) {
    std::vector<std::int64_t>& table = tables.emplace_back();
    for (std::int64_t i = 0; i < dst.shape[axis]; ++i) {
      const std::int64_t at = source_index(op.mode, i - op.before[axis].value, src.shape[axis]);
      table.push_back(at < 0 ? -1 : at * src.strides[axis]);
    }
  }
  const std::size_t size = size_bytes(src.dtype);
  const bool has_value = problem.srcs.size() > 1;
  return {[=](Data data, std::byte*) {
    std::byte value[8] = {};
    if (has_value) std::memcpy(value, data[1], size);
    std::byte* to = data.back();
    std::array<std::int64_t, kMaxRank> index{};
    std::int64_t offset[1] = {0};
    nest.each(offset, [&] {
      std::int64_t from = 0;
      bool inside = true;
      for (std::size_t axis = 0; axis < tables.size(); ++axis) {
        const std::int64_t step = tables[axis][static_cast<std::size_t>(index[axis])];
        inside &= step >= 0;
        from += step;
      }
      std::memcpy(to + static_cast<std::size_t>(offset[0]) * size,
                  inside ? data[0] + static_cast<std::size_t>(from) * size : value, size);
      for (std::size_t axis = tables.size(); axis-- > 0;) {
        if (++index[axis] < nest.shape[axis]) break;
        index[axis] = 0;
      }
    });
  }};
}

}  // namespace headrace::reference
