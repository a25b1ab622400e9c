#include "backends/nest.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <numeric>

namespace headrace {

std::int64_t Nest::count() const {
  return std::accumulate(extents.begin(), extents.end(), std::int64_t{1}, std::multiplies<>());
}

std::int64_t Nest::span(std::size_t operand) const {
  std::int64_t sum = 0;
  for (std::size_t a = 0; a < extents.size(); ++a)
    sum += std::max<std::int64_t>(0, extents[a] - 1) * std::abs(strides[operand][a]);
  return sum;
}

Nest Nest::without(std::size_t axis) const {
  Nest nest = *this;
  const auto at = static_cast<std::ptrdiff_t>(axis);
  nest.extents.erase(nest.extents.begin() + at);
  for (Strides& s : nest.strides) s.erase(s.begin() + at);
  return nest;
}

Nest make_nest(const Shape& shape, const std::vector<Strides>& operands, std::int64_t single) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(operands[0][a]) > std::abs(operands[0][b]);
  });
  Nest nest;
  nest.strides.resize(operands.size());
  for (const std::size_t axis : order) {
    bool merges = !nest.extents.empty();
    for (std::size_t o = 0; o < operands.size() && merges; ++o)
      merges = nest.strides[o].back() == operands[o][axis] * shape[axis];
    if (merges) {
      nest.extents.back() *= shape[axis];
      for (std::size_t o = 0; o < operands.size(); ++o) nest.strides[o].back() = operands[o][axis];
      continue;
    }
    nest.extents.push_back(shape[axis]);
    for (std::size_t o = 0; o < operands.size(); ++o) nest.strides[o].push_back(operands[o][axis]);
  }
  if (nest.extents.empty()) {
    nest.extents.push_back(1);
    for (Strides& s : nest.strides) s.push_back(single);
  }
  return nest;
}

}  // namespace headrace
