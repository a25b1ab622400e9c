// headrace run: one inference on .npy files or random inputs.
#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "cli.h"

namespace headrace::cli {
namespace {

struct Options {
  std::string plan, output, json;
  LoadFlags load;
  std::vector<std::string> inputs, shapes;
  std::int64_t batch = 0;
  std::uint64_t seed = 0;
  bool seeded = false;
};

Json summary(const NamedTensor& result) {
  Json json = {{"name", result.name},
               {"dtype", std::string(to_string(result.tensor.dtype()))},
               {"shape", result.tensor.shape()}};
  if (result.tensor.dtype() != DType::f32) return json;
  double sum = 0, low = INFINITY, high = -INFINITY;
  std::size_t nans = 0;
  for (float v : result.tensor.as<float>()) {
    if (std::isnan(v)) {
      ++nans;
      continue;
    }
    sum += v;
    low = std::min<double>(low, v);
    high = std::max<double>(high, v);
  }
  const std::size_t count = result.tensor.as<float>().size();
  if (count > nans) {
    json["min"] = low;
    json["max"] = high;
    json["mean"] = sum / static_cast<double>(count - nans);
  }
  json["nan"] = nans;
  return json;
}

int run(const Options& o) {
  const Engine engine = Engine::load(o.plan, o.load.options());
  std::vector<NamedTensor> tensors;
  for (const std::string& text : o.inputs) {
    auto [name, path] = split_assignment(text, "--input");
    tensors.push_back({name, load_npy(path)});
  }
  const auto given = [&](const std::string& name) {
    return std::any_of(tensors.begin(), tensors.end(), [&](const NamedTensor& t) { return t.name == name; });
  };
  const ShapeMap shapes = choose_shapes(engine, o.shapes, o.batch);
  for (const std::string& text : o.shapes)
    if (const std::string name = split_assignment(text, "--shapes").first; given(name))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("input '{}' has a file, which has a shape; drop its --shapes", name));
  std::uint64_t seed = o.seed;
  for (const TensorInfo& info : engine.inputs()) {
    if (given(info.name)) continue;
    if (!o.seeded)
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format(
              "input '{}' ({} {}) is missing; give --input '{}=FILE.npy', or --seed N for random inputs",
              info.name, to_string(info.dtype), info.shape_text, info.name));
    tensors.push_back({info.name, random_tensor(info, shapes.at(info.name), seed++)});
  }
  std::vector<NamedView> views;
  for (const NamedTensor& t : tensors) views.push_back({t.name, t.tensor.view()});
  Context context{engine};
  const std::vector<NamedTensor> results = context.infer(views);
  Json json = {{"plan", o.plan},
               {"device", engine.device()},
               {"device_model", engine.device_model()},
               {"outputs", Json::array()}};
  if (o.json != "-") fmt::print("device: {}\n", o.load.where(engine));
  if (!o.output.empty()) {
    std::error_code failed;
    std::filesystem::create_directories(o.output, failed);
    if (failed)
      throw Error(ErrorCode::io,
                  fmt::format("could not make the folder '{}': {}", o.output, failed.message()));
  }
  for (const NamedTensor& result : results) {
    Json item = summary(result);
    if (!o.output.empty()) {
      const std::string path = (std::filesystem::path(o.output) / (file_name(result.name) + ".npy")).string();
      save_npy(path, result.tensor.view());
      item["file"] = path;
    }
    if (o.json != "-") {
      fmt::print("{} {} {}", result.name, to_string(result.tensor.dtype()), to_string(result.tensor.shape()));
      if (item.contains("mean"))
        fmt::print("  min {:.6g}  mean {:.6g}  max {:.6g}", item["min"].get<double>(),
                   item["mean"].get<double>(), item["max"].get<double>());
      if (item.contains("file")) fmt::print("  -> {}", item["file"].get<std::string>());
      fmt::print("\n");
    }
    json["outputs"].push_back(std::move(item));
  }
  save_trace(engine, o.load.trace, o.json == "-", json);
  json["hazards"] = engine.hazards();
  for (const std::string& line : engine.hazards()) fmt::print(stderr, "hazard: {}\n", line);
  write_json(o.json, json);
  return engine.hazards().empty() ? kOk : kHazard;
}

}  // namespace

void add_run(CLI::App& app, int& exit) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("run", "Run a plan once");
  sub->add_option("plan", o->plan, "the plan file")->required();
  sub->add_option("--input", o->inputs, "NAME=FILE.npy, once for each input")->allow_extra_args(false);
  CLI::Option* seed = sub->add_option("--seed", o->seed, "random inputs where no file is given");
  CLI::Option* shapes = sub->add_option("--shapes", o->shapes, "NAME=1x3x224x224: shape of a random input")
                            ->needs(seed)
                            ->allow_extra_args(false);
  sub->add_option("--batch", o->batch, "batch of random inputs")
      ->needs(seed)
      ->check(CLI::PositiveNumber)
      ->excludes(shapes);
  sub->add_option("--output", o->output, "folder that gets one NAME.npy per output ('/' written as '_')");
  o->load.add_to(*sub);
  sub->add_option("--json", o->json, "write a summary as JSON ('-': standard output)");
  sub->callback([o, seed, &exit] {
    o->seeded = seed->count() > 0;
    exit = run(*o);
  });
}

}  // namespace headrace::cli
