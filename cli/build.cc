#include <algorithm>
#include <chrono>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "cli.h"

namespace headrace::cli {
namespace {

struct Options {
  std::string model, output, device, precision = "fp32", timing_cache, memory_budget, json;
  std::vector<std::string> profiles, outputs, disabled, input_formats;
  int opt_level = 1, threads = 0;
  bool verbose = false, no_check = false, check_layers = false;
  std::string check_inputs;
  std::uint64_t check_seed = 1;
  double accuracy_budget = 0;
};

/// NAME=MIN:OPT:MAX, or NAME=SHAPE for one fixed shape.
ShapeRange parse_range(const std::string& text) {
  auto [name, value] = split_assignment(text, "--profile");
  std::vector<std::string> parts;
  for (std::size_t i = 0; i <= value.size();) {
    const std::size_t end = std::min(value.find(':', i), value.size());
    parts.push_back(value.substr(i, end - i));
    i = end + 1;
  }
  if (parts.size() == 1) parts = {parts[0], parts[0], parts[0]};
  if (parts.size() != 3)
    throw Error(ErrorCode::invalid_argument, fmt::format("--profile takes NAME=MIN:OPT:MAX, not '{}'", text));
  return {name, parse_shape(parts[0]), parse_shape(parts[1]), parse_shape(parts[2])};
}

/// A flag that names an input which the profile at hand has already begins the next profile.
std::vector<std::vector<ShapeRange>> parse_profiles(const std::vector<std::string>& texts) {
  std::vector<std::vector<ShapeRange>> profiles;
  for (const std::string& text : texts) {
    ShapeRange range = parse_range(text);
    const bool next =
        profiles.empty() || std::any_of(profiles.back().begin(), profiles.back().end(),
                                        [&](const ShapeRange& r) { return r.input == range.input; });
    if (next) profiles.emplace_back();
    profiles.back().push_back(std::move(range));
  }
  return profiles;
}

Json to_json(const std::vector<Deviation>& list) {
  Json json = Json::array();
  for (const Deviation& d : list) json.push_back({{"name", d.name}, {"relative", d.relative}});
  return json;
}
Json to_json(const AccuracyReport& accuracy) {
  return {{"reference", accuracy.reference},
          {"outputs", to_json(accuracy.outputs)},
          {"layers", to_json(accuracy.layers)},
          {"kept_f32", accuracy.kept_f32},
          {"builds", accuracy.builds}};
}

void print_accuracy(const AccuracyReport& accuracy, const Options& o) {
  if (accuracy.outputs.empty()) return;
  const auto print = [](const char* what, const std::vector<Deviation>& list) {
    for (std::size_t i = 0; i < std::min<std::size_t>(list.size(), 5); ++i)
      fmt::print("  {:<8} {:<40} {:.2e}\n", i == 0 ? what : "", list[i].name, list[i].relative);
  };
  fmt::print("  largest error over the output's scale, {} against fp32 on {}:\n", o.precision,
             accuracy.reference);
  print("outputs", accuracy.outputs);
  print("layers", accuracy.layers);
  if (o.accuracy_budget > 0)
    fmt::print("  budget {} held, {} layers in fp32, {} builds\n", o.accuracy_budget,
               accuracy.kept_f32.size(), accuracy.builds);
  for (const std::string& name : accuracy.kept_f32) fmt::print("    fp32   {}\n", name);
}

void run(const Options& o) {
  using Seconds = std::chrono::duration<double>;
  if (std::filesystem::is_directory(o.output))
    throw Error(ErrorCode::invalid_argument, fmt::format("--output '{}' is a folder; name a file", o.output));
  const auto begin = std::chrono::steady_clock::now();
  const DefaultDevice device =
      o.device.empty() ? default_device() : DefaultDevice{o.device, "asked for by --device"};
  BuildOptions options{.device = device.name,
                       .precision = try_precision(o.precision).value(),
                       .profiles = {},
                       .opt_level = o.opt_level,
                       .threads = o.threads,
                       .timing_cache = o.timing_cache,
                       .memory_budget_bytes = UINT64_MAX,
                       .progress = nullptr,
                       .extra_outputs = o.outputs,
                       .input_formats = parse_input_formats(o.input_formats),
                       .disabled_passes = o.disabled,
                       .check = !o.no_check,
                       .check_layers = o.check_layers,
                       .check_inputs = o.check_inputs,
                       .check_seed = o.check_seed,
                       .accuracy_budget = o.accuracy_budget};
  AccuracyReport accuracy;
  options.accuracy = &accuracy;
  std::vector<std::string> warnings;
  options.warnings = &warnings;
  if (!o.memory_budget.empty()) options.memory_budget_bytes = parse_bytes(o.memory_budget);
  options.profiles = parse_profiles(o.profiles);
  const bool terminal = isatty(2) != 0;
  int last = -1;
  options.progress = [&](std::string_view stage, double done) {
    const int percent = static_cast<int>(done * 100);
    if (terminal && percent != last) fmt::print(stderr, "\r  {:<24} {:3d} %\x1b[K", stage, last = percent);
    return true;
  };
  const PlanFile plan = build(o.model, options);
  if (terminal) fmt::print(stderr, "\r\x1b[K");
  plan.save(o.output);
  const double seconds = Seconds(std::chrono::steady_clock::now() - begin).count();
  const Json described = Json::parse(plan.describe_json());
  const auto size = std::filesystem::file_size(o.output);
  Json json = {
      {"plan", o.output}, {"seconds", seconds}, {"bytes", size}, {"layers", described["layers"].size()}};
  json["device"] = {{"name", device.name}, {"why", device.why}};
  if (!accuracy.reference.empty()) json["accuracy"] = to_json(accuracy);
  json["warnings"] = warnings;
  json["inputs"] = described["inputs"];
  json["outputs"] = described["outputs"];
  if (o.json != "-") {
    fmt::print("{}: {} layers, {:.1f} MB, built in {:.2f} s\n", o.output, described["layers"].size(),
               static_cast<double>(size) / 1e6, seconds);
    if (o.device.empty()) fmt::print("device: {}, by default ({})\n", device.name, device.why);
    print_accuracy(accuracy, o);
    if (o.verbose)
      for (const Json& layer : described["layers"]) {
        fmt::print("  {:<28} {}\n", layer["tactic"].get<std::string>(), layer["op"].get<std::string>());
        for (const Json& refused : layer["refused"])
          fmt::print("      {}: {}\n", refused["tactic"].get<std::string>(),
                     refused["reason"].get<std::string>());
      }
  }
  if (!warnings.empty())
    fmt::print(stderr, "headrace: {} warning{} in this build:\n", warnings.size(),
               warnings.size() == 1 ? "" : "s");
  for (const std::string& warning : warnings) fmt::print(stderr, "  {}\n", warning);
  write_json(o.json, json);
}

}  // namespace

void add_build(CLI::App& app, int&) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("build", "Make a plan from an ONNX model");
  sub->add_option("model", o->model, "the .onnx file")->required();
  sub->add_option("-o,--output", o->output, "the plan file to write; replaced only when the build succeeds")
      ->required();
  sub->add_option("--device", o->device,
                  "cpu, cuda:0, or reference (slow, exact loops); otherwise the first GPU if it can be used, "
                  "else cpu");
  sub->add_option(
         "--precision", o->precision,
         "of what lies between the model's inputs and outputs: fp32, tf32 (cuda), fp16 or bf16 (cuda, "
         "reference); sums are always f32")
      ->check(CLI::IsMember({"fp32", "tf32", "fp16", "bf16"}))
      ->capture_default_str();
  auto* no_check =
      sub->add_flag("--no-check", o->no_check, "do not compare a lower precision with fp32 after the build");
  const auto add_check = [&](CLI::Option* option) { option->excludes(no_check); };
  add_check(
      sub->add_option("--accuracy-budget", o->accuracy_budget,
                      "largest error of an output over its scale; layers go back to fp32 until it holds")
          ->check(CLI::Range(1e-15, 1.0)));
  add_check(sub->add_flag("--check-layers", o->check_layers, "compare the results of all layers, too"));
  add_check(sub->add_option("--check-inputs", o->check_inputs,
                            "folder with NAME.npy for each input of the comparison; otherwise random ones"));
  sub->add_option("--check-seed", o->check_seed, "of the random inputs")->capture_default_str();
  sub->add_option("--profile", o->profiles,
                  "NAME=MIN:OPT:MAX, shapes like 1x3x224x224; '*=1:8:16' sets the batch of every dynamic "
                  "input; naming an "
                  "input again begins a further profile, which gets kernels of its own")
      ->allow_extra_args(false);
  add_input_formats(*sub, o->input_formats);
  sub->add_option("--timing-cache", o->timing_cache, "file of measured times, read and merged");
  sub->add_option("--opt-level", o->opt_level,
                  "0: kernels by rule; 1: by timing; 5: by timing everything there is")
      ->check(CLI::Range(0, 5))
      ->capture_default_str();
  sub->add_option("--threads", o->threads, "threads to tune for; 0: all usable cores")
      ->check(CLI::Range(0, 1024));
  sub->add_option("--memory-budget", o->memory_budget,
                  "refuse a plan that needs more at the largest shapes of its profiles: 4G, 512M");
  sub->add_option("--extra-output", o->outputs, "expose this tensor as a further output")
      ->allow_extra_args(false);
  sub->add_option("--disable-pass", o->disabled, "skip this pass")->allow_extra_args(false);
  sub->add_flag("-v,--verbose", o->verbose, "list layers, tactics, and why others were refused");
  sub->add_option("--json", o->json, "write the summary as JSON ('-': standard output)");
  sub->callback([o] { run(*o); });
}

}  // namespace headrace::cli
