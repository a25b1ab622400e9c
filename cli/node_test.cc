// Hidden command for tests/onnx/node_tests.py: each folder holds model.onnx and
// test_data_set_N/{input,output}_I.pb. Every model goes through build -> save -> load -> run; one line of
// JSON per folder is flushed as it ends.
#include <cmath>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "cli.h"

namespace headrace::cli {
namespace fs = std::filesystem;
namespace {

struct Tolerance {
  double relative = 1e-3, absolute = 1e-7;
};

double element(const ConstTensorView& t, std::size_t i) {
  switch (t.dtype()) {
    case DType::f32: return t.as<float>()[i];
    case DType::f64: return t.as<double>()[i];
    case DType::f16: return to_float(t.as<Half>()[i]);
    case DType::bf16: return to_float(t.as<BHalf>()[i]);
    default: return 0;
  }
}

/// Empty when equal enough, else what differs.
std::string compare(const ConstTensorView& ours, const ConstTensorView& expected,
                    const Tolerance& tolerance) {
  if (ours.dtype() != expected.dtype())
    return fmt::format("dtype {} instead of {}", to_string(ours.dtype()), to_string(expected.dtype()));
  if (ours.shape() != expected.shape())
    return fmt::format("shape {} instead of {}", to_string(ours.shape()), to_string(expected.shape()));
  if (!is_float(ours.dtype()))
    return std::equal(ours.data(), ours.data() + ours.size_bytes(), expected.data())
               ? ""
               : "integer values differ";
  const auto count = static_cast<std::size_t>(element_count(ours.shape()));
  for (std::size_t i = 0; i < count; ++i) {
    const double a = element(ours, i), b = element(expected, i);
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!(std::abs(a - b) <= tolerance.absolute + tolerance.relative * std::abs(b)))
      return fmt::format("element {} is {:.9g} instead of {:.9g}", i, a, b);
  }
  return {};
}

std::string run_folder(const fs::path& folder, const BuildOptions& options, const fs::path& scratch) {
  Tolerance tolerance;
  if (std::ifstream file(folder / "tol.json"); file) {
    const Json json = Json::parse(file);
    tolerance.relative = json.value("rtol", tolerance.relative);
    tolerance.absolute = json.value("atol", tolerance.absolute);
  }
  const std::string plan = (scratch / "node.plan").string();
  build((folder / "model.onnx").string(), options).save(plan);
  const Engine engine = Engine::load(plan);
  Context context{engine};
  for (int set = 0; fs::exists(folder / fmt::format("test_data_set_{}", set)); ++set) {
    const fs::path data = folder / fmt::format("test_data_set_{}", set);
    std::vector<NamedTensor> inputs;
    std::vector<NamedView> views;
    for (std::size_t i = 0; i < engine.inputs().size(); ++i) {
      NamedTensor tensor = load_tensor_proto((data / fmt::format("input_{}.pb", i)).string());
      tensor.name = engine.inputs()[i].name;
      inputs.push_back(std::move(tensor));
    }
    for (const NamedTensor& t : inputs) views.push_back({t.name, t.tensor.view()});
    const std::vector<NamedTensor> outputs = context.infer(views);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const NamedTensor expected = load_tensor_proto((data / fmt::format("output_{}.pb", i)).string());
      const std::string wrong = compare(outputs[i].tensor.view(), expected.tensor.view(), tolerance);
      if (!wrong.empty()) return fmt::format("output {}: {}", i, wrong);
    }
  }
  return {};
}

void run(const std::string& list, const std::string& json_path, const std::string& device) {
  std::ifstream folders(list);
  std::ofstream out(json_path);
  if (!folders || !out) throw Error(ErrorCode::io, "node-test needs a readable --list and a writable --json");
  std::string scratch = (fs::temp_directory_path() / "headrace-node-XXXXXX").string();
  if (!mkdtemp(scratch.data())) throw Error(ErrorCode::io, "could not make a temporary folder");
  const BuildOptions options{.device = device, .profiles = {}, .opt_level = 0};
  for (std::string folder; std::getline(folders, folder);) {
    if (folder.empty()) continue;
    std::string status = "pass", message;
    try {
      message = run_folder(folder, options, scratch);
      if (!message.empty()) status = "fail";
    } catch (const std::exception& e) {
      status = "error";
      message = e.what();
    }
    out << Json({{"dir", folder}, {"status", status}, {"message", message}})
               .dump(-1, ' ', false, Json::error_handler_t::replace)
        << "\n"
        << std::flush;
  }
  std::error_code ignored;
  fs::remove_all(scratch, ignored);
}

}  // namespace

void add_node_test(CLI::App& app, int&) {
  struct Options {
    std::string list, json, device = "cpu";
  };
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("node-test", "Run folders of ONNX's node tests");
  sub->group("");
  sub->add_option("--list", o->list)->required();
  sub->add_option("--json", o->json)->required();
  sub->add_option("--device", o->device);
  sub->callback([o] { run(o->list, o->json, o->device); });
}

}  // namespace headrace::cli
