#include "ocr/models.h"

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include <headrace/build.h>

namespace headrace::ocr {
namespace {

namespace fs = std::filesystem;

// What distinguishes a network's file name, and the shapes it is used with. One thread: for Session's
// workers.
struct Network {
  const char* part;
  Shape min, opt, max;
  bool one_thread;
};
const Network kDetection = {"_det_", {1, 3, 32, 32}, {1, 3, 736, 1280}, {1, 3, 8192, 8192}, false};
const Network kClassification = {"_cls_", {1, 3, 48, 192}, {8, 3, 48, 192}, {8, 3, 48, 192}, true};
const Network kRecognition = {"_rec_", {1, 3, 48, 128}, {1, 3, 48, 320}, {1, 3, 48, 8192}, true};

fs::path find_model(const std::string& folder, const char* part) {
  std::error_code failed;
  std::optional<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, failed)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".onnx" || name.find(part) == std::string::npos) continue;
    if (!found || entry.path() < *found) found = entry.path();
  }
  if (!found)
    throw Error(
        ErrorCode::io,
        fmt::format(
            "no *{}*.onnx in the folder '{}'{}; `./dev demo` fetches the networks, or give --models DIR",
            part, folder, failed ? " (" + failed.message() + ")" : ""));
  return *found;
}

std::vector<fs::path> plan_paths(const fs::path& model) {
  std::vector<fs::path> paths = {fs::path(model).replace_extension(".plan")};
  fs::path cache;
  if (const char* folder = std::getenv("XDG_CACHE_HOME"); folder && *folder)
    cache = folder;
  else if (const char* home = std::getenv("HOME"); home && *home)
    cache = fs::path(home) / ".cache";
  if (cache.is_absolute()) {
    std::error_code failed;
    const std::string whole = fs::weakly_canonical(model, failed).string();
    paths.push_back(cache / "headrace" /
                    fmt::format("{}-{:016x}.plan", model.stem().string(), std::hash<std::string>{}(whole)));
  }
  return paths;
}

// The engine of a plan that was made before, or nothing if it has to be made again.
std::optional<Engine> load_existing(const fs::path& plan, const fs::path& model, const Network& network,
                                    const LoadOptions& load) {
  std::error_code failed;
  const auto plan_time = fs::last_write_time(plan, failed);
  if (failed) return std::nullopt;
  const auto model_time = fs::last_write_time(model, failed);
  if (failed || plan_time < model_time) return std::nullopt;
  try {
    Engine engine = Engine::load(plan.string(), load);
    const TensorInfo& input = engine.inputs().at(0);
    if (input.min == network.min && input.opt == network.opt && input.max == network.max) return engine;
  } catch (const Error& e) {
    if (e.code() == ErrorCode::out_of_memory) throw;
  }
  return std::nullopt;
}

Engine load_network(const Network& network, const ModelOptions& options) {
  const fs::path model = find_model(options.folder, network.part);
  const LoadOptions load{.device = {}, .threads = network.one_thread ? 1 : options.threads};
  const std::vector<fs::path> paths = plan_paths(model);
  for (const fs::path& path : paths)
    if (std::optional<Engine> engine = load_existing(path, model, network, load)) return *engine;
  if (options.report)
    options.report(fmt::format("building the plan of {} (once)", model.filename().string()));
  BuildOptions build_options;
  build_options.device = "cpu";  // texts have hundreds of widths, each a new set of kernels for a GPU
  build_options.profiles = {{{"x", network.min, network.opt, network.max}}};
  build_options.threads = load.threads;
  const PlanFile plan = build(model.string(), build_options);
  bool saved = false;
  for (const fs::path& path : paths) {
    std::error_code failed;
    fs::create_directories(path.parent_path(), failed);
    try {
      plan.save(path.string());
      saved = true;
      break;
    } catch (const Error&) {  // a folder that cannot be written: the next one
    }
  }
  if (!saved && options.report)
    options.report("the plan could not be saved; it will be built again next time");
  return Engine::load(plan, load);
}

}  // namespace

Models load_models(const ModelOptions& options) {
  return {load_network(kDetection, options), load_network(kClassification, options),
          load_network(kRecognition, options)};
}

}  // namespace headrace::ocr
