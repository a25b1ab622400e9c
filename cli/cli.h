// Shared by the commands of the CLI: options, JSON output, shapes, exit codes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <headrace/headrace.h>
#include <headrace/workload.h>

namespace headrace::cli {

using Json = nlohmann::ordered_json;

/// Exit codes, one per class of failure. Documented in docs/cli.md and `headrace --help`.
enum Exit : int {
  kOk = 0,
  kInternal = 1,
  kUsage = 2,  ///< flags
  kInvalidArgument = 3,
  kInvalidModel = 4,
  kUnsupported = 5,
  kInvalidPlan = 6,
  kIo = 7,
  kOutOfMemory = 8,
  kDevice = 9,
  kMisuse = 10,
  kMismatch = 11,  ///< verify, bench: outputs differ
  kHazard = 12,    ///< --check-hazards found something
  kCancelled = 13,
  kGate = 14,  ///< bench ladder, bench timing: a gate fails
};
int exit_code(ErrorCode code);

/// "1x3x224x224" -> extents; Error(invalid_argument) names the text.
Shape parse_shape(const std::string& text);
/// "4G", "512M", "100K", "1234" -> bytes.
std::uint64_t parse_bytes(const std::string& text);
/// "NAME=value" split at the first '='.
std::pair<std::string, std::string> split_assignment(const std::string& text, const std::string& flag);
/// Writes to the file, or to standard output for "-"; nothing when `path` is empty.
void write_json(const std::string& path, const Json& json);
/// Writes the engine's trace to `path`, says what it shows unless `quiet`, and adds it to `json` as "trace";
/// nothing when `path` is empty.
void save_trace(const Engine& engine, const std::string& path, bool quiet, Json& json);

/// --input-format, and what it says.
void add_input_formats(CLI::App& command, std::vector<std::string>& texts);
std::map<std::string, InputFormat> parse_input_formats(const std::vector<std::string>& texts);

double element(const Tensor& tensor, std::size_t i);
/// Seeded inputs: floats uniform in [-1, 1), integers in [0, 10), bool 0/1; of an input with a format what
/// such data are (`sample`).
Tensor random_tensor(const TensorInfo& info, const Shape& shape, std::uint64_t seed);
/// What the model itself takes, f32 and channels first, of inputs that are as the engine's formats say; for
/// peers, by plain loops.
std::vector<NamedTensor> as_model_inputs(const Engine& engine, const std::vector<NamedTensor>& inputs);
/// NAME=1x3x224x224, each.
ShapeMap parse_shapes(const std::vector<std::string>& assignments);
/// Shapes for every input: given ones, else `batch` for dynamic axis 0, else opt of the profile.
ShapeMap choose_shapes(const Engine& engine, const std::vector<std::string>& assignments, std::int64_t batch);
/// What says where an engine runs: --device, --threads, --recordings and the like, and the line about it.
struct LoadFlags {
  std::string device, memory_budget, trace, expect;
  int threads = 0, recordings = 16;
  bool check_hazards = false, foreign_plans = false;
  void add_to(CLI::App& command);
  LoadOptions options() const;
  /// "cuda:0 (NVIDIA H200, sm_90), the plan's own device"
  std::string where(const Engine& engine) const;
};
/// A tensor name as a file name: '/' becomes '_'.
std::string file_name(const std::string& tensor_name);

/// Each adds its subcommand to `app`; the callback sets `exit` and may throw Error.
void add_build(CLI::App& app, int& exit);
void add_run(CLI::App& app, int& exit);
void add_bench(CLI::App& app, int& exit);
void add_bench_copy(CLI::App& bench, int& exit);    ///< headrace bench copy
void add_bench_ladder(CLI::App& bench, int& exit);  ///< headrace bench ladder
void add_bench_timing(CLI::App& bench, int& exit);  ///< headrace bench timing
void add_bench_camera(CLI::App& bench, int& exit);  ///< headrace bench camera
void add_bench_serve(CLI::App& bench, int& exit);   ///< headrace bench serve
void add_inspect(CLI::App& app, int& exit);
void add_verify(CLI::App& app, int& exit);
void add_env(CLI::App& app, int& exit);
void add_demo(CLI::App& app, int& exit);       ///< examples/ocr
void add_node_test(CLI::App& app, int& exit);  ///< hidden: ONNX's node tests

}  // namespace headrace::cli
