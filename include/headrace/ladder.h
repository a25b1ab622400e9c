// The ladder: the same batches through ten ways of feeding an accelerator, each better than the one before.
//
//   hr::LadderReport report = hr::run_ladder({.onnx = "resnet18.onnx", .device = "cuda:0"});
//   for (const hr::LadderRung& rung : report.rungs) use(rung.ms_per_batch, rung.sentence);
//
// Every rung is a schedule that really runs: on "sim" in virtual time with the figures of a file (by default
// a V100's, and no model is needed), else on the device. Every result of every rung is compared with rung
// 0's. Before the rungs, probes measure the parts, and from them each rung's time is predicted. Needs the
// library headrace_build. Throws Error; a rung that gives other results, or a gate that fails, is in the
// report.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <headrace/build.h>

namespace headrace {

struct LadderRung;

struct LadderOptions {
  std::string onnx;            ///< may be empty on "sim"
  std::string device = "sim";  ///< "sim", "cpu", "cuda:0"
  std::string sim_spec;        ///< file of figures for "sim", see docs/cli.md; empty: a V100's
  std::int64_t batch = 128;
  int batches = 10;  ///< different ones; the last `timed` of them are the window
  int timed = 3;
  int repeat = 20;
  int steady = 100;  ///< batches of the long run; 0: none
  std::uint64_t seed = 10088;
  int threads = 0;         ///< CPU: 0 all usable cores
  std::string break_rung;  ///< for tests: this rung uploads one batch in place of another
  std::function<void(const LadderRung&)> progress;  ///< called after each rung
};

/// Milliseconds of the parts of one batch. Of the parts on the device alone where nothing else runs.
struct LadderProbes {
  double allocate_ms = 0, upload_pageable_ms = 0, upload_pinned_ms = 0, upload_narrow_ms = 0, staging_ms = 0;
  double compute_fp32_ms = 0, compute_fp16_ms = 0, consumed_ms = 0, download_ms = 0, post_ms = 0;
  std::int64_t upload_bytes = 0, download_bytes = 0;
};

struct LadderRung {
  std::string rung, name;         ///< "4r", "a ring of inputs, downloads apart"
  double ms_per_batch = 0;        ///< median of the repeats: window / timed
  double p10_ms = 0, p90_ms = 0;  ///< of the repeats
  int repeats = 0;
  double predicted_ms_per_batch = 0;
  double ratio_to_previous = 0, ratio_to_first = 0;  ///< above 1: faster
  double images_per_s = 0;
  double total_ms = 0;  ///< of all batches, from first submit to last delivery: filling and draining included
  double steady_ms = 0;   ///< per batch of the long run; 0: not run
  double latency_ms = 0;  ///< median, submit to delivery, of the window's batches
  double busy_upload = 0, busy_compute = 0, busy_download = 0;  ///< share of the window
  bool busy_measured = false;                                   ///< else: probes over ms_per_batch
  double launches = 0;                                          ///< per batch; a recording is one
  double enqueue_us = 0;                                        ///< host time to hand over one batch
  double allocations = 0;                                       ///< per batch
  std::int64_t io_bytes = 0, activation_bytes = 0;  ///< memory of all kinds for that use, at the window's end
  bool outputs_equal = false;
  double max_error = 0;       ///< over the output's scale, against rung 0
  double top1_agreement = 0;  ///< of rows whose first place is not a near tie
  std::vector<std::string> hazards;
  std::string sentence;  ///< what bounds it, and which rung removes that
};

struct LadderGates {
  bool outputs_agree = false;   ///< g1
  bool none_slower = false;     ///< g2: at most 3 % than its predecessor; rung 2s left out
  bool as_predicted = false;    ///< g3: within 20 %
  bool reaches_bound = false;   ///< g4: the last rung at 99 % of it or better
  bool end_to_end = false;      ///< g5: at least 5.34 in all; no gate, reported
  bool no_allocations = false;  ///< g6: from rung 1 on
  bool no_hazards = false;      ///< g7
  bool all() const {
    return outputs_agree && none_slower && as_predicted && reaches_bound && no_allocations && no_hazards;
  }
};

struct LadderReport {
  std::string device, model;
  LadderProbes probes;
  std::vector<LadderRung> rungs;
  double bound_ms = 0, share_of_bound = 0;  ///< the longest part of the last rung, and what it reaches of it
  double end_to_end_ratio = 0;
  LadderGates gates;
};

[[nodiscard]] LadderReport run_ladder(const LadderOptions& options);

}  // namespace headrace
