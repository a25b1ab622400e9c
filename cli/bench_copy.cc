// headrace bench copy: how fast memory goes to and from a device.
#include <fmt/format.h>

#include "cli.h"

namespace headrace::cli {
namespace {

struct Options {
  std::string device, json;
  std::vector<std::string> sizes = {"64K", "1M", "16M", "256M"};
  int repeats = 15;
};

int run(const Options& o) {
  std::vector<std::uint64_t> sizes;
  for (const std::string& text : o.sizes) sizes.push_back(parse_bytes(text));
  const DefaultDevice device =
      o.device.empty() ? default_device() : DefaultDevice{o.device, "asked for by --device"};
  const CopySpeeds result = measure_copies(device.name, sizes, o.repeats);
  Json json = {{"device", result.device}, {"device_model", result.model},
               {"why", device.why},       {"separate_memory", result.separate_memory},
               {"n", o.repeats},          {"copies", Json::array()}};
  for (const CopySpeed& c : result.speeds)
    json["copies"].push_back(
        {{"path", c.path}, {"bytes", c.bytes}, {"us", c.us}, {"gb_per_s", c.bytes_per_s / 1e9}});
  write_json(o.json, json);
  if (o.json == "-") return kOk;
  fmt::print("device: {} ({}), {}\n", result.device, result.model,
             o.device.empty() ? fmt::format("by default ({})", device.why) : device.why);
  if (!result.separate_memory)
    fmt::print("Device memory is host memory here: inferences copy nothing. What the host copies:\n");
  fmt::print("{:<34} {:>12} {:>12} {:>10}   medians, awaited, n = {}\n", "path", "bytes", "us a copy", "GB/s",
             o.repeats);
  for (const CopySpeed& c : result.speeds)
    fmt::print("{:<34} {:>12} {:>12.1f} {:>10.2f}\n", c.path, c.bytes, c.us, c.bytes_per_s / 1e9);
  return kOk;
}

}  // namespace

void add_bench_copy(CLI::App& bench, int& exit) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = bench.add_subcommand(
      "copy", "Measure copies between host and device: pageable, pinned, both ways at once");
  sub->add_option("--device", o->device, "cpu, cuda:0; otherwise the first GPU if it can be used, else cpu");
  sub->add_option("--size", o->sizes, "of one copy: 64K, 16M; more than once for more sizes")
      ->allow_extra_args(false)
      ->capture_default_str();
  sub->add_option("--repeats", o->repeats, "timed batches of each figure")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  sub->add_option("--json", o->json, "write the figures as JSON ('-': standard output)");
  sub->callback([o, &exit] { exit = run(*o); });
}

}  // namespace headrace::cli
