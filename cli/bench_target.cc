// What the workloads of `headrace bench` share: flags of their target, series as JSON.
#include "bench.h"

namespace headrace::cli {

void TargetFlags::add_to(CLI::App& command) {
  CLI::Option* plan = command.add_option("plan", target.plan, "the plan file");
  command.add_option("--onnx", target.onnx, "a model, for which a plan is built; on sim it may be left out")
      ->excludes(plan);
  command.add_option("--device", target.device,
                     "sim, cpu, cuda:0; otherwise the plan's own, for a model the default device");
  command.add_option("--sim-spec", target.sim_spec, "figures of the simulated machine, JSON");
  command.add_option("--shapes", shapes, "NAME=1x3x224x224, once for each input")->allow_extra_args(false);
  command.add_option("--threads", target.threads, "CPU: 0: all usable cores")->check(CLI::Range(0, 1024));
  command.add_option("--seed", target.seed, "of all that is random")->capture_default_str();
}

WorkloadTarget TargetFlags::resolve() const {
  WorkloadTarget resolved = target;
  resolved.shapes = parse_shapes(shapes);
  return resolved;
}

Json run_json(const WorkloadRun& r) {
  return {{"run", r.run},       {"started", r.started}, {"device", r.device}, {"device_model", r.model},
          {"shapes", r.shapes}, {"tracing", false}};
}

Json summary_json(const std::vector<std::chrono::nanoseconds>& samples) {
  const Summary s = summarize(samples);
  const auto us = [](std::chrono::nanoseconds t) { return static_cast<double>(t.count()) * 1e-3; };
  return {{"n", s.n},
          {"min_us", us(s.min)},
          {"median_us", us(s.median)},
          {"p10_us", us(s.p10)},
          {"p90_us", us(s.p90)},
          {"p99_us", us(s.p99)},
          {"max_us", us(s.max)},
          {"spread_us", us(s.spread())}};
}

Json series_json(const Series& series) {
  Json json = {{"name", series.name}};
  if (series.samples.empty()) {
    json["why_not"] = series.why_not;
    return json;
  }
  json.update(summary_json(series.samples));
  json["run"] = series.run;
  json["began_ns"] = series.began_ns;
  json["samples_ns"] = Json::array();
  for (const std::chrono::nanoseconds t : series.samples) json["samples_ns"].push_back(t.count());
  return json;
}

}  // namespace headrace::cli
