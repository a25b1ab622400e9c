// headrace verify: the optimised plan against the reference loops, or against ONNX Runtime.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "cli.h"
#include "peer.h"

namespace headrace::cli {
namespace {

struct Options {
  std::string model, against = "reference", json, device = "cpu";
  std::vector<std::string> shapes, input_formats;
  std::int64_t batch = 0;
  std::uint64_t seed = 1;
  double tolerance = 1e-4;
  bool per_layer = false;
};

struct Difference {
  std::string name;
  double max_error = 0, mean_error = 0, scale = 0;
  std::int64_t worst_index = 0;
  double relative() const { return scale > 0 ? max_error / scale : max_error; }
};

Difference compare(const std::string& name, const Tensor& ours, const Tensor& theirs) {
  Difference d{.name = name};
  if (ours.shape() != theirs.shape()) {
    d.max_error = INFINITY;
    return d;
  }
  const auto count = static_cast<std::size_t>(element_count(ours.shape()));
  for (std::size_t i = 0; i < count; ++i) {
    const double a = element(ours, i), b = element(theirs, i);
    double error = a == b || (std::isnan(a) && std::isnan(b)) ? 0 : std::abs(a - b);
    if (std::isnan(error)) error = INFINITY;
    if (std::isfinite(b)) d.scale = std::max(d.scale, std::abs(b));
    d.mean_error += error / static_cast<double>(count);
    if (error > d.max_error) {
      d.max_error = error;
      d.worst_index = static_cast<std::int64_t>(i);
    }
  }
  return d;
}

/// Origins of layers are "name (Op)"; their first output tensors are what --per-layer compares.
std::vector<std::string> layer_outputs(const std::string& model) {
  std::vector<std::string> names;
  const Json plan = Json::parse(
      build(model, {.device = "reference", .opt_level = 0, .disabled_passes = {}}).describe_json());
  for (const Json& layer : plan["layers"])
    if (layer.contains("outputs"))
      for (const Json& out : layer["outputs"])
        if (!out["name"].get<std::string>().empty() && !out["name"].get<std::string>().starts_with("%"))
          names.push_back(out["name"]);
  return names;
}

int run(const Options& o) {
  BuildOptions fast{
      .device = o.device, .opt_level = 0, .input_formats = parse_input_formats(o.input_formats)};
  if (o.per_layer) fast.extra_outputs = layer_outputs(o.model);
  BuildOptions slow = fast;
  slow.device = "reference";
  const Engine engine = Engine::load(build(o.model, fast));
  const ShapeMap shapes = choose_shapes(engine, o.shapes, o.batch);
  std::uint64_t seed = o.seed;
  std::vector<NamedTensor> inputs;
  std::vector<NamedView> views;
  for (const TensorInfo& info : engine.inputs())
    inputs.push_back({info.name, random_tensor(info, shapes.at(info.name), seed++)});
  for (const NamedTensor& t : inputs) views.push_back({t.name, t.tensor.view()});
  Context context{engine};
  std::vector<NamedTensor> ours = context.infer(views);
  // Layers in the order of computation, then the model's outputs: the first that differs is where it begins.
  const auto rank = [&](const NamedTensor& t) {
    return std::find(fast.extra_outputs.begin(), fast.extra_outputs.end(), t.name) -
           fast.extra_outputs.begin();
  };
  std::stable_sort(ours.begin(), ours.end(),
                   [&](const NamedTensor& a, const NamedTensor& b) { return rank(a) < rank(b); });
  std::map<std::string, Tensor> theirs;
  if (o.against == "onnxruntime") {
    Peer peer("onnxruntime", default_peer_script(), o.model, engine.threads(), fast.extra_outputs);
    peer.prepare(as_model_inputs(engine, inputs));
    theirs = peer.outputs();
  } else {
    const Engine reference = Engine::load(build(o.model, slow));
    Context reference_context{reference};
    for (NamedTensor& t : reference_context.infer(views)) theirs.emplace(t.name, std::move(t.tensor));
  }
  Json json = {
      {"model", o.model}, {"against", o.against}, {"tolerance", o.tolerance}, {"outputs", Json::array()}};
  std::string first;
  std::size_t compared = 0;
  for (const NamedTensor& mine : ours) {
    const auto it = theirs.find(mine.name);
    if (it == theirs.end()) continue;
    ++compared;
    const Difference d = compare(mine.name, mine.tensor, it->second);
    const bool bad = !(d.relative() <= o.tolerance);
    if (bad && first.empty()) first = d.name;
    json["outputs"].push_back({{"name", d.name},
                               {"max_error", d.max_error},
                               {"mean_error", d.mean_error},
                               {"scale", d.scale},
                               {"relative", d.relative()},
                               {"ok", !bad}});
    if (o.json != "-")
      fmt::print("{} {:<40} max {:.3g} (element {}), mean {:.3g}, scale {:.3g}, relative {:.3g}\n",
                 bad ? "DIFFERS" : "ok     ", d.name, d.max_error, d.worst_index, d.mean_error, d.scale,
                 d.relative());
  }
  if (compared == 0) throw Error(ErrorCode::internal, "no output has a counterpart to compare with");
  json["first_diverging"] = first;
  if (o.json != "-" && first.empty())
    fmt::print("all {} tensors agree with {} within {:g} of their scale\n", compared, o.against, o.tolerance);
  write_json(o.json, json);
  if (first.empty()) return kOk;
  fmt::print(stderr, "headrace: '{}' is the first that differs from {} by more than {:g} of its scale\n",
             first, o.against, o.tolerance);
  return kMismatch;
}

}  // namespace

void add_verify(CLI::App& app, int& exit) {
  auto o = std::make_shared<Options>();
  CLI::App* sub =
      app.add_subcommand("verify", "Check a model's plan against the reference loops or ONNX Runtime");
  sub->add_option("model", o->model, "the .onnx file")->required();
  sub->add_option("--against", o->against, "reference or onnxruntime")
      ->check(CLI::IsMember({"reference", "onnxruntime"}))
      ->capture_default_str();
  CLI::Option* shapes = sub->add_option("--shapes", o->shapes, "NAME=1x3x224x224, once for each input")
                            ->allow_extra_args(false);
  sub->add_option("--batch", o->batch, "batch of every dynamic input")
      ->check(CLI::PositiveNumber)
      ->excludes(shapes);
  add_input_formats(*sub, o->input_formats);
  sub->add_option("--seed", o->seed, "of the random inputs")->capture_default_str();
  sub->add_option("--tolerance", o->tolerance, "largest error over the output's scale")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  sub->add_flag("--per-layer", o->per_layer,
                "compare intermediate tensors too, and name the first that differs");
  sub->add_option("--json", o->json, "write it as JSON ('-': standard output)");
  sub->callback([o, &exit] { exit = run(*o); });
}

}  // namespace headrace::cli
