// Operators without inputs: Iota, HostValue.
#include "backends/reference/reference.h"

namespace headrace::reference {

Work make(const Iota& op, const Problem& problem) {
  const TensorDesc dst = problem.dsts[0];
  const auto start = static_cast<std::uint64_t>(op.start.value),
             step = static_cast<std::uint64_t>(op.step.value);
  return {[=](Data data, std::byte*) {
    for (std::int64_t i = 0; i < dst.shape[0]; ++i)
      put_int(dst.dtype, data[0], i * dst.strides[0],
              static_cast<std::int64_t>(start + static_cast<std::uint64_t>(i) * step));
  }};
}

Work make(const HostValue& op, const Problem& problem) {
  const TensorDesc dst = problem.dsts[0];
  std::vector<std::int64_t> values;
  for (const Dim& d : op.values) values.push_back(d.value);
  const Nest nest{dst.shape, {dst.strides}};
  if (static_cast<std::int64_t>(values.size()) != dst.elements())
    throw Error(ErrorCode::invalid_model,
                "HostValue: " + std::to_string(values.size()) + " values for " + to_string(dst));
  return {[=](Data data, std::byte*) {
    std::int64_t offset[1] = {0};
    std::size_t i = 0;
    nest.each(offset, [&] { put_int(dst.dtype, data[0], offset[0], values[i++]); });
  }};
}

}  // namespace headrace::reference
