// What runs when a workload is measured, and what all such measurements share: raw samples and their summary.
//
//   hr::TimingReport report = hr::run_timing({.target = {.onnx = "resnet18.onnx", .device = "sim"}});
//   fmt::print("{}", hr::to_text(report));
//
// The workloads: timing.h (the parts of one inference), camera.h (frames through a pipeline), serve.h
// (requests that come when they like). On "sim" they run in virtual time on a machine that takes what a file
// of figures says, and give the same figures every time. Need the library headrace_build.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <headrace/runtime.h>

namespace headrace {

/// A plan, or a model for which one is built; on "sim" neither is needed: a small network with rows of 48
/// numbers.
struct WorkloadTarget {
  std::string plan, onnx;  ///< files, at most one of them. On "sim" a plan has to be one of "reference"
  std::string device;      ///< "sim", "cpu", "cuda:0"; "": the plan's own, of a model the default device
  std::string sim_spec;    ///< file of figures for "sim", see docs/cli.md; empty: a V100's
  ShapeMap shapes;         ///< of inputs; left out: the plan's opt, of a model the extents that are fixed
  std::int64_t batch = 0;  ///< of inputs whose first axis is dynamic and that are left out; 0: opt, or 1
  int threads = 0;         ///< CPU: 0 all usable cores
  std::uint64_t seed = 1;  ///< of inputs, arrivals, and on "sim" of the order in which threads go on
};

/// `given`, and for inputs that it leaves out the opt shape, with `batch` (not 0) along a dynamic first axis.
/// Error(invalid_argument): an unknown input, or a batch that applies to none.
ShapeMap choose_shapes(const Engine& engine, const ShapeMap& given, std::int64_t batch);

/// Which run it was, of what, and where: the beginning of every report.
struct WorkloadRun {
  std::string run;      ///< 16 hexadecimal digits, unlike those of any other run
  std::string started;  ///< UTC, "2026-01-31T10:00:00Z"
  std::string device, model;
  ShapeMap shapes;  ///< of one inference, frame or request
};

/// Raw samples of one quantity in one run, or the reason why there are none.
struct Series {
  std::string name, why_not;
  std::string run;            ///< WorkloadRun::run
  std::int64_t began_ns = 0;  ///< when measuring it began, on the session's clock
  std::vector<std::chrono::nanoseconds> samples;
  /// Takes in more of the same. Error(misuse) for another quantity or run: figures of different runs are
  /// compared, never mixed.
  void append(const Series& more);
};

/// Interpolated; 0 of no values. q: 0 the least, 0.5 the median, 1 the largest.
double percentile(std::vector<double> values, double q);

struct Summary {
  std::size_t n = 0;
  std::chrono::nanoseconds min{0}, median{0}, p10{0}, p90{0}, p99{0}, max{0};
  std::chrono::nanoseconds spread() const { return p90 - p10; }
};
/// All zero of no samples.
Summary summarize(const std::vector<std::chrono::nanoseconds>& samples);

/// With its unit: "12.4 us", "7.957 ms", "2.50 s".
std::string to_text(std::chrono::nanoseconds time);

}  // namespace headrace
