#include "onnx/ops/runtime_axes.h"

namespace headrace::onnx {

Dims axis_flags(ShapeProgram& s, const Dims& axes, std::int64_t rank) {
  if (rank > 64) invalid("rank " + std::to_string(rank) + " is too high");
  Dims flags(static_cast<std::size_t>(rank), Dim(0));
  for (const Dim& given : axes) {
    const Dim axis = given.is_constant() ? Dim(normal_axis(given.value, rank))
                                         : s.select(s.lt(given, Dim(0)), s.add(given, Dim(rank)), given);
    for (std::int64_t k = 0; k < rank; ++k) {
      Dim& flag = flags[static_cast<std::size_t>(k)];
      flag = s.max(flag, s.eq(axis, Dim(k)));
    }
  }
  return flags;
}

Dims pick_extents(ShapeProgram& s, const Dims& shape, const Dims& flags, Dim wanted, std::size_t count) {
  Dims out(count, Dim(1));
  Dim at = 0;  // number of wanted axes so far
  for (std::size_t k = 0; k < shape.size(); ++k) {
    const Dim hit = s.eq(flags[k], wanted);
    for (std::size_t j = 0; j < count && j <= k; ++j) {
      out[j] = s.select(s.mul(hit, s.eq(at, Dim(static_cast<std::int64_t>(j)))), shape[k], out[j]);
    }
    at = s.add(at, hit);
  }
  return out;
}

}  // namespace headrace::onnx
