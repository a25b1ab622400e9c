// The build-time half of headrace: an .onnx file in, a plan out.
//
//   hr::PlanFile plan = hr::build("resnet18.onnx", {.profiles = {{{"*", {1}, {8}, {16}}}}});
//   plan.save("resnet18.plan");
//
// Needs the library headrace_build. `build` is a pure function of model, options and timing cache; it may run
// in several threads at once. A failing build leaves no file behind.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <headrace/input_format.h>
#include <headrace/runtime.h>

namespace headrace {

/// Allowed extents of one input: min <= actual <= max, tuned for opt. `input` "*": one extent each, for axis
/// 0 of every input whose axis 0 is dynamic.
struct ShapeRange {
  std::string input;
  Shape min, opt, max;
};

/// How far numbers are from those of the f32 reference: the largest error over the reference's largest
/// number.
struct Deviation {
  std::string name;     ///< of an output; of a layer: its first ONNX node
  double relative = 0;  ///< infinity where a number is finite on one side only
};

/// What a plan was found to compute after it was built.
struct AccuracyReport {
  std::string reference;           ///< device of the f32 plan that it was compared with
  std::vector<Deviation> outputs;  ///< the floating-point ones, worst first
  std::vector<Deviation> layers;   ///< of the layers' results, worst first; empty unless they were measured
  std::vector<std::string> kept_f32;  ///< layers that the budget moved back to f32
  int builds = 1;                     ///< plans built to hold the budget, the first one included
};

struct BuildOptions {
  std::string device;  ///< "cpu", "reference", "cuda:0"; "": default_device()
  Precision precision = Precision::fp32;
  std::vector<std::vector<ShapeRange>> profiles;  ///< empty: every dynamic extent from 1 to 1048576
  int opt_level = 1;         ///< 0: kernels by rule; 1: by timing; 5: by timing everything there is
  int threads = 0;           ///< to tune for; 0: all usable cores
  std::string timing_cache;  ///< file, read and merged; "": none
  /// Refuses a plan that needs more: weights, activations and workspace at the largest shapes of the profiles
  /// (without profiles: at opt).
  std::uint64_t memory_budget_bytes = UINT64_MAX;
  /// Called from the building thread with a stage name and its share done in [0, 1]; false cancels:
  /// Error(cancelled).
  std::function<bool(std::string_view, double)> progress;
  std::vector<std::string> extra_outputs;  ///< tensors to expose as further outputs
  /// Data that the caller has instead of what the model takes, converted on the device, by input; "*": of
  /// every float input with 4 axes that is not named. Profiles then give shapes as the format has them.
  std::map<std::string, InputFormat> input_formats;
  std::vector<std::string> disabled_passes;
  /// Compare a plan of less than f32 with an f32 plan (of the CPU where it has all kernels) on inputs from
  /// `check_inputs`, a folder with one NAME.npy for each, or random ones.
  bool check = true;
  bool check_layers = false;  ///< the results of all layers too: one more build
  std::string check_inputs;
  std::uint64_t check_seed = 1;
  /// Largest deviation allowed of any output; 0: any. Layers go back to f32 until it holds, those first that
  /// add most error for the least work; Error(unsupported) with the best that was reached when it cannot.
  double accuracy_budget = 0;
  AccuracyReport* accuracy = nullptr;  ///< filled when not null
  /// Filled when not null: what the build warned of, each once, whether the log's level let it pass or not.
  std::vector<std::string>* warnings = nullptr;
};

[[nodiscard]] PlanFile build(const std::string& onnx_path, const BuildOptions& options = {});
/// From memory; external data is refused.
[[nodiscard]] PlanFile build(std::span<const std::byte> onnx_bytes, const BuildOptions& options = {});

/// The imported model before any pass, in the graph text form (headrace inspect model.onnx).
std::string describe_onnx(const std::string& onnx_path);

/// Reads an ONNX TensorProto file (.pb), as ONNX's own test data comes.
NamedTensor load_tensor_proto(const std::string& path);

/// Names of the ONNX operators that `build` reads.
std::vector<std::string> supported_operators();

}  // namespace headrace
