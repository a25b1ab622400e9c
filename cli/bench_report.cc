// Figures of `headrace bench` as text and JSON: times, memory by purpose, layers against the roofline.
#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "bench.h"

namespace headrace::cli {
namespace {

double mb(std::uint64_t bytes) { return static_cast<double>(bytes) / 1e6; }

std::string joined(const std::vector<std::string>& texts) {
  std::string result;
  for (const std::string& text : texts) result += (result.empty() ? "" : ", ") + text;
  return result;
}

struct Use {
  const char* name;
  MemoryFigure figure;
};
std::vector<Use> uses(const EngineStatistics& s) {
  return {{"weights", s.weights},
          {"activations", s.activations},
          {"io", s.io},
          {"workspace", s.workspace},
          {"recordings", s.recordings}};
}

Json pool_json(const PoolFigure& pool) {
  return {{"in_use", pool.in_use},
          {"cached", pool.cached},
          {"limit", pool.limit},
          {"high_water", pool.high_water},
          {"system_allocations", pool.system_allocations}};
}

void print_pool(const char* name, const PoolFigure& pool) {
  if (pool.limit == 0) return;
  fmt::print(
      "pool        {}: {:.1f} MB in use, {:.1f} MB kept (at most {:.1f}), high water {:.1f} MB, {} calls of "
      "the driver\n",
      name, mb(pool.in_use), mb(pool.cached), mb(pool.limit), mb(pool.high_water), pool.system_allocations);
}

}  // namespace

Json times_json(const std::vector<double>& us) {
  return {{"n", us.size()},
          {"min", percentile(us, 0)},
          {"median", percentile(us, 0.5)},
          {"p90", percentile(us, 0.9)}};
}

Json latency_json(const std::vector<double>& ms) {
  Json json = times_json(ms);
  json["p99"] = percentile(ms, 0.99);
  return json;
}

Json memory_json(const EngineStatistics& s) {
  Json json;
  for (const Use& use : uses(s))
    json[use.name] = {{"now", use.figure.now}, {"high_water", use.figure.high_water}};
  json["allocations"] = s.allocations;
  json["waiting_copies"] = s.waiting_copies;
  if (s.device_pool.limit == 0) return json;
  json["device_pool"] = pool_json(s.device_pool);
  json["pinned_pool"] = pool_json(s.pinned_pool);
  json["recorded"] = {{"made", s.recordings_made},
                      {"dropped", s.recordings_dropped},
                      {"failed", s.recordings_failed},
                      {"failed_why", s.recordings_failed_why}};
  return json;
}

void print_memory(const EngineStatistics& s) {
  std::string line;
  for (const Use& use : uses(s)) {
    line += fmt::format("{}{} {:.1f}", line.empty() ? "" : ", ", use.name, mb(use.figure.now));
    if (use.figure.high_water > use.figure.now)
      line += fmt::format(" (high water {:.1f})", mb(use.figure.high_water));
  }
  fmt::print("memory      MB: {}\n", line);
  print_pool("device", s.device_pool);
  print_pool("pinned", s.pinned_pool);
  if (s.recordings_made + s.recordings_failed > 0)
    fmt::print("recordings  {} made, {} dropped, {} failed{}{}\n", s.recordings_made, s.recordings_dropped,
               s.recordings_failed, s.recordings_failed > 0 ? ": " : "", s.recordings_failed_why);
}

LayerReport profile_layers(const Engine& engine, Context& context, double whole_us) {
  LayerReport report{
      .layers = context.profile(9), .roofline = measure_roofline(engine), .sum_us = 0, .whole_us = whole_us};
  for (const LayerTime& layer : report.layers) report.sum_us += layer.us;
  return report;
}

Json LayerReport::json() const {
  Json rows = Json::array();
  for (const LayerTime& t : layers) {
    const double least = roofline.least_us(t.bytes, t.flops, t.dtype);
    rows.push_back({{"name", t.name},
                    {"nodes", t.nodes},
                    {"tactic", t.tactic},
                    {"choice", t.choice},
                    {"inputs", t.inputs},
                    {"outputs", t.outputs},
                    {"us", t.us},
                    {"bytes", t.bytes},
                    {"flops", t.flops},
                    {"roofline_share", least > 0 ? Json(least / t.us) : Json()},
                    {"impossible", roofline.impossible(t.us, t.bytes, t.flops, t.dtype)}});
  }
  Json arithmetic = Json::array();
  for (const Roofline::Arithmetic& a : roofline.arithmetic)
    arithmetic.push_back(
        {{"dtype", std::string(to_string(a.dtype))}, {"flops_per_s", a.flops_per_s}, {"how", a.how}});
  return {{"layers", rows},
          {"roofline",
           {{"bytes_per_s", roofline.bytes_per_s},
            {"bytes_how", roofline.bytes_how},
            {"arithmetic", arithmetic}}},
          {"sum_us", sum_us},
          {"whole_us", whole_us}};
}

void LayerReport::print() const {
  fmt::print("roofline    {:.1f} GB/s ({})\n", roofline.bytes_per_s / 1e9, roofline.bytes_how);
  for (const Roofline::Arithmetic& a : roofline.arithmetic)
    fmt::print("            {:.2f} TFLOP/s in {} ({})\n", a.flops_per_s / 1e12, to_string(a.dtype), a.how);
  fmt::print("{:>10} {:>6} {:>9}  {:<26} {}\n", "us", "%", "roofline", "tactic",
             "layer: ONNX nodes, tensors");
  for (const LayerTime& t : layers) {
    const double least = roofline.least_us(t.bytes, t.flops, t.dtype);
    fmt::print("{:10.1f} {:6.1f} {:>9}  {:<26} {}: {} -> {}\n", t.us, 100 * t.us / sum_us,
               least > 0 ? fmt::format("{:.0f} %", 100 * least / t.us) : "-", t.tactic,
               t.nodes.empty() ? t.name : joined(t.nodes), t.inputs.empty() ? "" : t.inputs.front(),
               joined(t.outputs));
  }
  for (const LayerTime& t : layers)
    if (roofline.impossible(t.us, t.bytes, t.flops, t.dtype))
      fmt::print("IMPOSSIBLE  {} in {:.1f} us: faster than this machine is; that time is not its own\n",
                 t.name, t.us);
  fmt::print("{:10.1f}  sum of the layers, one by one; a whole inference takes {:.1f} us, {:.2f} of it\n",
             sum_us, whole_us, whole_us / sum_us);
  fmt::print(
      "            roofline: share of the least time that this machine's memory or arithmetic allows, "
      "above 100 %: from caches\n");
}

}  // namespace headrace::cli
