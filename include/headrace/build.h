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
#include <string>
#include <string_view>
#include <vector>

#include <headrace/runtime.h>

namespace headrace {

/// Allowed extents of one input: min <= actual <= max, tuned for opt. `input` "*": one extent each, for axis
/// 0 of every input whose axis 0 is dynamic.
struct ShapeRange {
  std::string input;
  Shape min, opt, max;
};

/// What a plan computes in. Inputs and outputs keep the model's types; accumulation is always in f32.
enum class Precision {
  fp32,
  fp16,  ///< activations and weights in f16
};

struct BuildOptions {
  std::string device;  ///< "cpu", "reference", "cuda:0"; "": default_device()
  Precision precision = Precision::fp32;
  std::vector<std::vector<ShapeRange>> profiles;  ///< empty: every dynamic extent from 1 to 1048576
  int opt_level = 1;         ///< 0: kernels by rule; 1: by timing; 5: by timing everything there is
  int threads = 0;           ///< to tune for; 0: all usable cores
  std::string timing_cache;  ///< file, read and merged; "": none
  std::uint64_t memory_budget_bytes = UINT64_MAX;
  /// Called from the building thread with a stage name and its share done in [0, 1]; false cancels:
  /// Error(cancelled).
  std::function<bool(std::string_view, double)> progress;
  std::vector<std::string> extra_outputs;  ///< tensors to expose as further outputs
  std::vector<std::string> disabled_passes;
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
