// One problem a line: an operator in text form, then its sources' types. Shared by the suite of all tactics
// and bench.
//
//   Conv(strides=[1,1], ...) f32[2x3x17x19] f32[8x3x3x3] f32[8]      | expect=cpu
// Suffixes of a type: `:nhwc` channels_last, `:gap` a window of a tensor with a wider last axis.
// After the bar: `expect=NAME` some tactic whose id begins with NAME must take it; `dst=nhwc`, `dst=gap`
// destinations; `outputs=all` also the
// optional ones (Pool's indices, LayerNorm's statistics); `range=LOW:HIGH` of the random values (default
// -1:1; of integers -4:4); `tolerance=X` relative to the output's scale;
// `special=yes`: source 0 has some elements that are infinite, NaN, or beyond f16.
#pragma once

#include <string>
#include <vector>

#include "backends/backend.h"

namespace headrace::test {

struct ProblemLine {
  std::string file;
  int line = 0;
  std::string text;
  Problem problem;
  std::string expect;
  double low = -1, high = 1;
  bool special = false;
  double tolerance = 0;  ///< 0: by dtype
};

/// The operator of "Conv(strides=[1,1], ...)" applied to inputs of these types ("f32[2x3]"); throws Error.
Op parse_op(const std::string& text, const std::vector<std::string>& types);
/// Throws Error that names the line. Lines that are empty or begin with # are left out.
std::vector<ProblemLine> read_problem_lines(const std::string& path);

}  // namespace headrace::test
