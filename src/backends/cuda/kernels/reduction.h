// Reductions as accumulators: the text of `struct Acc` and of what is done with it.
//
// add(acc, x) takes an element's register, merge(acc, other) and lane(acc, mask) join threads
// (kGroupPrelude), finish(acc) gives the result as a register. Log-sum-exp keeps a running maximum; NaN wins
// max and min.
#pragma once

#include <string>

#include "core/op.h"

namespace headrace::cuda {

struct Reduction {
  std::string text;           ///< needs kPrelude and kIntegerPrelude
  std::string result;         ///< `dst[i] = $result$` of an accumulator `acc`
  std::size_t acc_bytes = 4;  ///< of one Acc
};
/// `count`: elements that make one result.
Reduction make_reduction(ReduceKind kind, DType src, DType dst, std::int64_t count);

}  // namespace headrace::cuda
