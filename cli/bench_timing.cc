// headrace bench timing: where the time of one inference goes, part by part, at one batch or several.
#include <fmt/format.h>

#include <headrace/timing.h>

#include "bench.h"

namespace headrace::cli {
namespace {

struct Options {
  TargetFlags target;
  TimingOptions timing;
  std::vector<std::int64_t> batches;
  std::string json;
};

Json report_json(const TimingReport& r) {
  Json json = run_json(r);
  json["warm_up"] = r.warm_up;
  json["stable"] = r.stable;
  json["series"] = Json::array();
  for (const Series* series : r.parts()) json["series"].push_back(series_json(*series));
  json["enqueue_share"] = r.enqueue_share();
  json["enqueue_bound"] = r.enqueue_bound();
  json["sum_holds"] = r.sum_holds();
  return json;
}

int run(const Options& o) {
  TimingOptions timing = o.timing;
  timing.target = o.target.resolve();
  int code = kOk;
  Json json = {{"batches", Json::array()}};
  for (const std::int64_t batch : o.batches.empty() ? std::vector<std::int64_t>{0} : o.batches) {
    timing.target.batch = batch;
    const TimingReport report = run_timing(timing);
    if (o.json != "-") fmt::print("{}{}", json["batches"].empty() ? "" : "\n", to_text(report));
    json["batches"].push_back(report_json(report));
    if (!report.sum_holds()) code = kGate;
    if (!report.stable)
      fmt::print(stderr, "warning: the figures were not stable after {} items; is the machine at rest?\n",
                 report.warm_up);
    if (report.enqueue_bound())
      fmt::print(stderr,
                 "warning: enqueue-bound: the host needs {:.0f} % of the device's time to enqueue; record "
                 "inferences (--recordings), or use larger batches\n",
                 100 * report.enqueue_share());
  }
  write_json(o.json, json);
  return code;
}

}  // namespace

void add_bench_timing(CLI::App& bench, int& exit) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = bench.add_subcommand("timing", "Measure the parts of one inference, each by itself");
  o->target.add_to(*sub);
  sub->add_option("--batch", o->batches, "of inputs whose first axis is dynamic; more than once for more")
      ->allow_extra_args(false)
      ->check(CLI::Range(1, 1 << 20));
  sub->add_option("--repeats", o->timing.repeats, "samples of each part")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  sub->add_option("--recordings", o->timing.recordings, "GPU: 0: launch by launch")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  sub->add_option("--json", o->json, "write the figures as JSON ('-': standard output)");
  sub->callback([o, &exit] { exit = run(*o); });
}

}  // namespace headrace::cli
