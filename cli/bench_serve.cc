// headrace bench serve: requests at a rate, whatever the answers take.
#include <fmt/format.h>

#include <headrace/serve.h>

#include "bench.h"

namespace headrace::cli {
namespace {

struct Options {
  TargetFlags target;
  ServeOptions serve;
  int max_delay_us = 1000;
  double deadline_ms = 0;
  std::string json;
};

int run(Options& o) {
  o.serve.target = o.target.resolve();
  o.serve.max_delay = std::chrono::microseconds(o.max_delay_us);
  o.serve.deadline = std::chrono::nanoseconds(static_cast<std::int64_t>(o.deadline_ms * 1e6));
  const ServeReport r = run_serve(o.serve);
  Json json = run_json(r);
  json.update({{"max_batch", o.serve.max_batch},
               {"max_delay_us", o.max_delay_us},
               {"deadline_ms", o.deadline_ms > 0 ? Json(o.deadline_ms) : Json()},
               {"seed", o.serve.target.seed},
               {"closed_loop_per_s", r.closed_per_s},
               {"offered_per_s", r.offered_per_s},
               {"achieved_per_s", r.achieved_per_s},
               {"goodput_per_s", r.goodput_per_s},
               {"late", r.late},
               {"wrong", r.wrong},
               {"mean_batch", r.mean_batch},
               {"max_lag_us", static_cast<double>(r.max_lag.count()) * 1e-3},
               {"latency", summary_json(r.latencies)}});
  for (const auto& [key, times] : {std::pair{"arrivals_ns", &r.arrivals}, {"latencies_ns", &r.latencies}}) {
    json[key] = Json::array();
    for (const std::chrono::nanoseconds t : *times) json[key].push_back(t.count());
  }
  if (o.json != "-") fmt::print("{}", to_text(r));
  write_json(o.json, json);
  if (r.wrong == 0) return kOk;
  fmt::print(stderr, "headrace: {} results are not those of their request\n", r.wrong);
  return kMismatch;
}

}  // namespace

void add_bench_serve(CLI::App& bench, int& exit) {
  auto o = std::make_shared<Options>();
  ServeOptions& s = o->serve;
  CLI::App* sub = bench.add_subcommand("serve", "Single requests at random moments, through the batcher");
  o->target.add_to(*sub);
  CLI::Option* rate = sub->add_option("--rate", s.rate, "requests per second")->check(CLI::Range(1e-3, 1e7));
  sub->add_option("--load", s.load, "instead: share of what the session takes in a closed loop")
      ->check(CLI::Range(0.01, 100.0))
      ->capture_default_str()
      ->excludes(rate);
  sub->add_option("--requests", s.requests, "how many")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  sub->add_option("--max-batch", s.max_batch, "requests that run together at most; 1: no batcher")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  sub->add_option("--max-delay-us", o->max_delay_us, "a batch waits so long for more requests")
      ->check(CLI::Range(0, 60'000'000))
      ->capture_default_str();
  sub->add_option("--deadline-ms", o->deadline_ms, "later answers are no good")->check(CLI::Range(1e-3, 6e5));
  sub->add_option("--slots", s.slots, "batches in flight")->check(CLI::Range(1, 4096))->capture_default_str();
  sub->add_option("--break-request", s.broken_request, "for tests: this one asks another's question")
      ->group("");
  sub->add_option("--json", o->json, "write the figures as JSON ('-': standard output)");
  sub->callback([o, &exit] { exit = run(*o); });
}

}  // namespace headrace::cli
