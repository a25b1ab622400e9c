// headrace bench ladder: the same batches through ten schedules, each better than the one before.
#include <utility>

#include <fmt/format.h>

#include <headrace/ladder.h>

#include "cli.h"

namespace headrace::cli {
namespace {

struct Options {
  LadderOptions ladder;
  std::string json;
};

Json probes_json(const LadderProbes& p) {
  return {{"allocate_ms", p.allocate_ms},
          {"upload_pageable_ms", p.upload_pageable_ms},
          {"upload_pinned_ms", p.upload_pinned_ms},
          {"upload_narrow_ms", p.upload_narrow_ms},
          {"staging_ms", p.staging_ms},
          {"compute_fp32_ms", p.compute_fp32_ms},
          {"compute_fp16_ms", p.compute_fp16_ms},
          {"consumed_ms", p.consumed_ms},
          {"download_ms", p.download_ms},
          {"post_ms", p.post_ms},
          {"upload_bytes", p.upload_bytes},
          {"download_bytes", p.download_bytes}};
}

Json rung_json(const LadderRung& r) {
  return {{"rung", r.rung},
          {"name", r.name},
          {"ms_per_batch", r.ms_per_batch},
          {"p10_ms", r.p10_ms},
          {"p90_ms", r.p90_ms},
          {"n", r.repeats},
          {"predicted_ms_per_batch", r.predicted_ms_per_batch},
          {"ratio_to_previous", r.ratio_to_previous},
          {"ratio_to_first", r.ratio_to_first},
          {"images_per_s", r.images_per_s},
          {"total_ms", r.total_ms},
          {"steady_ms_per_batch", r.steady_ms},
          {"latency_ms", r.latency_ms},
          {"busy", {{"upload", r.busy_upload}, {"compute", r.busy_compute}, {"download", r.busy_download}}},
          {"busy_measured", r.busy_measured},
          {"launches", r.launches},
          {"enqueue_us", r.enqueue_us},
          {"allocations", r.allocations},
          {"io_bytes", r.io_bytes},
          {"activation_bytes", r.activation_bytes},
          {"outputs_equal", r.outputs_equal},
          {"max_error", r.max_error},
          {"top1_agreement", r.top1_agreement},
          {"hazards", r.hazards},
          {"sentence", r.sentence}};
}

void print_rung(const LadderRung& r) {
  fmt::print(
      "{:>4} {:<42} {:>8.3f} {:>9.3f} {:>7.2f}x {:>10.0f} {:>4.0f} {:>4.0f} {:>4.0f} {:>6.4g} {:>6.4g} {}\n",
      r.rung, r.name, r.ms_per_batch, r.predicted_ms_per_batch, r.ratio_to_previous, r.images_per_s,
      100 * r.busy_upload, 100 * r.busy_compute, 100 * r.busy_download, r.launches, r.allocations,
      r.outputs_equal ? "equal" : fmt::format("DIFFERENT by {:.2g}", r.max_error));
  fmt::print("     {}\n", r.sentence);
  for (const std::string& line : r.hazards) fmt::print("     hazard: {}\n", line);
  std::fflush(stdout);
}

int run(Options& o) {
  const bool quiet = o.json == "-";
  if (!quiet) {
    o.ladder.progress = [first = true](const LadderRung& rung) mutable {
      if (std::exchange(first, false))
        fmt::print("{:>4} {:<42} {:>8} {:>9} {:>8} {:>10} {:>14} {:>6} {:>6}\n", "rung", "", "ms/batch",
                   "predicted", "ratio", "images/s", "busy % u  c  d", "launch", "allocs");
      print_rung(rung);
    };
  }
  const LadderReport report = run_ladder(o.ladder);
  const LadderGates& g = report.gates;
  Json json = {{"device", report.device}, {"model", report.model},
               {"batch", o.ladder.batch}, {"batches", o.ladder.batches},
               {"timed", o.ladder.timed}, {"seed", o.ladder.seed},
               {"tracing", false}};
  json["probes"] = probes_json(report.probes);
  json["rungs"] = Json::array();
  for (const LadderRung& rung : report.rungs) json["rungs"].push_back(rung_json(rung));
  json["bound_ms"] = report.bound_ms;
  json["share_of_bound"] = report.share_of_bound;
  json["end_to_end_ratio"] = report.end_to_end_ratio;
  json["gates"] = {{"g1", g.outputs_agree}, {"g2", g.none_slower}, {"g3", g.as_predicted},
                   {"g4", g.reaches_bound}, {"g5", g.end_to_end},  {"g6", g.no_allocations},
                   {"g7", g.no_hazards}};
  if (!quiet) {
    const auto gate = [](const char* name, bool holds, const std::string& what) {
      fmt::print("{} {} {}\n", name, holds ? "holds " : "FAILS ", what);
    };
    fmt::print("\n{} repeats of a window of {} batches of {}, tracing off; {}\n", o.ladder.repeat,
               o.ladder.timed, o.ladder.batch, report.model);
    gate("g1", g.outputs_agree, "all outputs agree");
    gate("g2", g.none_slower, "no rung is more than 3 % slower than the one before (2s left out)");
    gate("g3", g.as_predicted, "every rung is within 20 % of its prediction");
    gate("g4", g.reaches_bound,
         fmt::format("the last rung reaches {:.1f} % of its bound, {:.3f} ms (99 % wanted)",
                     100 * report.share_of_bound, report.bound_ms));
    gate("g5", g.end_to_end,
         fmt::format("end to end {:.2f}x (5.34 reported, no gate)", report.end_to_end_ratio));
    gate("g6", g.no_allocations, "no allocation per batch from rung 1 on");
    gate("g7", g.no_hazards, "the hazard checker is clean");
  }
  write_json(o.json, json);
  if (!g.outputs_agree) return kMismatch;
  if (!g.no_hazards) return kHazard;
  return g.all() ? kOk : kGate;
}

}  // namespace

void add_bench_ladder(CLI::App& bench, int& exit) {
  auto o = std::make_shared<Options>();
  LadderOptions& l = o->ladder;
  CLI::App* sub =
      bench.add_subcommand("ladder", "Climb from blocking calls to the pipeline, measuring each rung");
  sub->add_option("--onnx", l.onnx, "the model; on sim it may be left out");
  sub->add_option("--device", l.device, "sim, cpu, cuda:0")->capture_default_str();
  sub->add_option("--sim-spec", l.sim_spec, "figures of the simulated machine, JSON");
  sub->add_option("--batch", l.batch, "images of a batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  sub->add_option("--batches", l.batches, "different batches")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  sub->add_option("--timed", l.timed, "of them, the last ones, in the window")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  sub->add_option("--repeat", l.repeat, "windows measured per rung")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str();
  sub->add_option("--steady", l.steady, "batches of the long run; 0: none")
      ->check(CLI::Range(0, 100'000))
      ->capture_default_str();
  sub->add_option("--seed", l.seed, "of the inputs")->capture_default_str();
  sub->add_option("--threads", l.threads, "0: all usable cores")->check(CLI::Range(0, 1024));
  sub->add_option("--break-rung", l.break_rung, "for tests: this rung gets a wrong batch")->group("");
  sub->add_option("--json", o->json, "write the figures as JSON ('-': standard output)");
  sub->callback([o, &exit] { exit = run(*o); });
}

}  // namespace headrace::cli
