// What the examples share: the engine of the model on the command line, figures, and checks that print.
//
//   PROGRAM MODEL.onnx|MODEL.plan [COUNT] [quick]
//
// A plan is loaded; an .onnx file is built first, in memory: `headrace build` does that once and for all.
// `quick` chooses kernels by rule and not by timing: the build takes a second, the inference some percent
// longer.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <headrace/headrace.h>

namespace example {

namespace hr = headrace;
using Clock = std::chrono::steady_clock;

inline double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}
inline double ms_between(std::int64_t begin_ns, std::int64_t end_ns) {
  return static_cast<double>(end_ns - begin_ns) / 1e6;
}

/// The value below which that share of all values lies: 0.5 is the median.
inline double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

struct Arguments {
  std::string model;
  int count = 0;
  bool quick = false;
};

inline hr::Engine engine_of(const Arguments& arguments,
                            std::vector<std::vector<hr::ShapeRange>> profiles = {}) {
  if (!arguments.model.ends_with(".onnx")) return hr::Engine::load(arguments.model);
  const Clock::time_point start = Clock::now();
  const hr::PlanFile plan =
      hr::build(arguments.model, {.profiles = std::move(profiles), .opt_level = arguments.quick ? 0 : 1});
  const hr::Engine engine = hr::Engine::load(plan);
  std::printf("built %s for %s in %.1f s\n", arguments.model.c_str(), engine.device().c_str(),
              ms_since(start) / 1e3);
  return engine;
}

/// Prints what was checked; the program fails when one thing does not hold.
class Checks {
 public:
  void that(bool holds, const std::string& what) {
    std::printf("%s %s\n", holds ? "holds:" : "FAILS:", what.c_str());
    failed_ = failed_ || !holds;
  }
  int exit_code() const { return failed_ ? 1 : 0; }

 private:
  bool failed_ = false;
};

/// Reads the command line, runs the example, prints an Error as what it is.
inline int run(int argc, char** argv, int usual_count, const std::function<int(const Arguments&)>& example) {
  Arguments arguments{.model = argc > 1 ? argv[1] : "", .count = usual_count};
  for (int i = 2; i < argc; ++i) {
    if (std::string_view(argv[i]) == "quick")
      arguments.quick = true;
    else
      arguments.count = std::atoi(argv[i]);
  }
  if (arguments.model.empty() || arguments.count < 1) {
    std::printf("usage: %s MODEL.onnx|MODEL.plan [COUNT, %d] [quick]\n", argv[0], usual_count);
    return 2;
  }
  try {
    return example(arguments);
  } catch (const hr::Error& error) {
    std::printf("%s: %s\n", std::string(hr::to_string(error.code())).c_str(), error.what());
    return 1;
  }
}

}  // namespace example
