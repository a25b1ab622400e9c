// headrace env: versions, this machine, which device is the default, and why.
#include <fstream>
#include <thread>

#include <fmt/format.h>

#include "cli.h"

namespace headrace::cli {

void add_env(CLI::App& app, int&) {
  auto json_path = std::make_shared<std::string>();
  CLI::App* sub = app.add_subcommand("env", "Show versions, this machine, and what is supported");
  sub->add_option("--json", *json_path, "write it as JSON ('-': standard output)");
  sub->callback([json_path] {
    std::string model;
    std::ifstream cpu("/proc/cpuinfo");
    for (std::string line; std::getline(cpu, line) && model.empty();)
      if (line.starts_with("model name")) model = line.substr(line.find(':') + 2);
    const auto operators = supported_operators();
    const std::vector<DeviceInfo> list = devices();
    const DefaultDevice chosen = default_device();
    Json device_json = Json::array();
    for (const DeviceInfo& d : list)
      device_json.push_back({{"name", d.name},
                             {"model", d.model},
                             {"usable", d.why_not.empty()},
                             {"why_not", d.why_not},
                             {"notes", d.notes}});
    const Json json = {{"headrace", std::string(version())},
                       {"compiler", __VERSION__},
                       {"cpu", model},
                       {"cores", std::thread::hardware_concurrency()},
                       {"devices", device_json},
                       {"default_device", {{"name", chosen.name}, {"why", chosen.why}}},
                       {"onnx_operators", operators}};
    write_json(*json_path, json);
    if (*json_path == "-") return;
    fmt::print("headrace {}\ncompiler {}\ncpu      {}, {} cores\n", version(), __VERSION__, model,
               std::thread::hardware_concurrency());
    for (const DeviceInfo& d : list) {
      fmt::print("device   {:<10} {}\n", d.name, d.why_not.empty() ? d.model : "not usable: " + d.why_not);
      for (const std::string& note : d.notes) fmt::print("         {:<10} {}\n", "", note);
    }
    fmt::print("default  {:<10} {}\n", chosen.name, chosen.why);
    fmt::print("onnx     {} operators, opset 7 to 28:\n", operators.size());
    std::string line = "        ";
    for (const std::string& name : operators) {
      if (line.size() + name.size() > 100) {
        fmt::print("{}\n", line);
        line = "        ";
      }
      line += " " + name;
    }
    fmt::print("{}\n", line);
  });
}

}  // namespace headrace::cli
