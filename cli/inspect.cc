#include <cerrno>
#include <cstring>
#include <fstream>

#include <fmt/format.h>

#include "cli.h"

namespace headrace::cli {
namespace {

bool is_plan(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorCode::io, fmt::format("cannot read '{}': {}", path, std::strerror(errno)));
  char magic[8] = {};
  file.read(magic, 8);
  const auto seen = static_cast<std::size_t>(file.gcount());
  return seen > 0 &&
         std::string_view("HEADRACE").starts_with(std::string_view(magic, seen));  // also a truncated plan
}

std::string shapes_of(const Json& tensors) {
  std::string text;
  for (const Json& t : tensors) text += (text.empty() ? "" : ", ") + t["shape"].get<std::string>();
  return text;
}

void print_tried(const Json& tried, const std::string& profile) {
  for (const Json& t : tried)
    fmt::print("       {}tried   {} [{}]: {:.1f} us\n", profile, t["tactic"].get<std::string>(),
               t["choice"].get<std::string>(), t["us"].get<double>());
}

void inspect_plan(const std::string& path, bool verbose, const std::string& json_path) {
  const Json json = Json::parse(PlanFile::load(path).describe_json());
  write_json(json_path, json);
  if (json_path == "-") return;
  fmt::print("{}: plan format {}, device {} ({}), tuned for {} threads\n", path,
             json["format_version"].get<int>(), json["device"].get<std::string>(),
             json["device_model"].get<std::string>(), json["threads"].get<int>());
  for (const char* kind : {"inputs", "outputs"})
    for (const Json& t : json[kind])
      fmt::print("  {:<8} {:<24} {} {}{}\n", kind, t["name"].get<std::string>(),
                 t["dtype"].get<std::string>(), t["shape"].get<std::string>(),
                 t.contains("format") ? ", converted: " + t["format"].get<std::string>() : "");
  std::size_t number = 0;
  for (const Json& profile : json["profiles"]) {
    for (const Json& range : profile)
      fmt::print("  profile {} {:<22} min {} opt {} max {}\n", number, range["input"].get<std::string>(),
                 range["min"].dump(), range["opt"].dump(), range["max"].dump());
    ++number;
  }
  for (const Json& gap : json["profile_gaps"]) fmt::print("  gap      {}\n", gap.get<std::string>());
  fmt::print("  weights  {:.2f} MB; {} tensors, {} of them views without memory of their own\n",
             json["memory_bytes"]["weights"].get<double>() / 1e6, json["tensors"].get<int>(),
             json["views"].get<int>());
  if (const Json& memory = json["memory_bytes"]; memory.contains("activations"))
    fmt::print("  memory   at opt shapes: activations {:.2f} MB, inputs {:.2f} MB, outputs {:.2f} MB\n",
               memory["activations"].get<double>() / 1e6, memory["inputs"].get<double>() / 1e6,
               memory["outputs"].get<double>() / 1e6);
  int index = 0;
  for (const Json& layer : json["layers"]) {
    std::string origin = layer["origins"].empty() ? "" : layer["origins"][0].get<std::string>();
    if (layer["origins"].size() > 1) origin += fmt::format(" +{}", layer["origins"].size() - 1);
    fmt::print("{:4d} {:<26} {:<40} {}\n", index++, layer["tactic"].get<std::string>(),
               layer.contains("outputs") ? shapes_of(layer["outputs"]) : "", origin);
    for (const Json& v : layer["variants"])
      if (verbose || v["tactic"] != layer["tactic"] || v["choice"] != layer["choice"])
        fmt::print("       profile {}: {} [{}]\n", v["profile"].get<int>(), v["tactic"].get<std::string>(),
                   v["choice"].get<std::string>());
    if (!verbose) continue;
    fmt::print("       {}\n", layer["op"].get<std::string>());
    print_tried(layer["tried"], "");
    for (const Json& v : layer["variants"])
      print_tried(v["tried"], fmt::format("profile {}: ", v["profile"].get<int>()));
    for (const Json& r : layer["refused"])
      fmt::print("       refused {}: {}\n", r["tactic"].get<std::string>(), r["reason"].get<std::string>());
  }
}

}  // namespace

void add_inspect(CLI::App& app, int&) {
  struct Options {
    std::string file, json;
    bool verbose = false;
  };
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("inspect", "Show what is in a plan or an ONNX model");
  sub->add_option("file", o->file, "a plan or an .onnx file")->required();
  sub->add_flag("-v,--verbose", o->verbose, "operators, timings, and why tactics were refused");
  sub->add_option("--json", o->json, "write it as JSON ('-': standard output)");
  sub->callback([o] {
    if (is_plan(o->file)) return inspect_plan(o->file, o->verbose, o->json);
    const std::string text = describe_onnx(o->file);
    write_json(o->json, {{"onnx", o->file}, {"graph", text}});
    if (o->json != "-") fmt::print("{}", text);
  });
}

}  // namespace headrace::cli
