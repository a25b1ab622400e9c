// cuDNN operation graphs, engine configurations as text, and plans that can be launched.
//
// Problem: cuDNN's heuristics are not to be trusted (their first choice is up to 11 times off), and an engine
// id means something for one graph pattern only. Contract: an EngineConfig with its graph reproduces a plan
// exactly; its text ("e41,k27=1,k28=2") goes into headrace's plans and timing caches. Intermediate tensors
// are virtual, f32, and never touch memory.
//
//   OpGraph g;
//   int x = g.tensor(src), w = g.tensor(weights), y = g.virtual_like(dims);
//   g.convolution(x, w, y, window);
//   g.pointwise({CUDNN_POINTWISE_ADD}, y, bias, dst);
//   g.finalize(target);
//   for (const EngineConfig& c : heuristic_configs(g, target, CUDNN_HEUR_MODE_A)) ...
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/cudnn.h"
#include "backends/cuda/disk_cache.h"
#include "core/tensor.h"

namespace headrace::cuda {

cudnnDataType_t to_cudnn(DType dtype);  ///< f32 or f16

/// Geometry of a convolution, one entry per spatial axis.
struct ConvWindow {
  std::vector<std::int64_t> strides, dilations, pads_begin, pads_end;
};

struct PointwiseMode {
  cudnnPointwiseMode_t mode = CUDNN_POINTWISE_ADD;
  float lower = 0, upper = 0, slope = 0;  ///< of RELU_FWD
  bool has_upper = false;
  float parameter = 1;  ///< of ELU_FWD and SWISH_FWD
};

/// A graph of cuDNN operations over numbered tensors. Built once, then finalized for a target.
class OpGraph {
 public:
  /// A tensor in memory; its number is its unique id in a launch, in order of creation from 1.
  std::int64_t tensor(DType dtype, std::span<const std::int64_t> dims, std::span<const std::int64_t> strides,
                      std::int64_t alignment = 16);
  /// A float known on the host, broadcast to rank `rank`. Passed at launch by the address of `scalars()`.
  std::int64_t scalar(float value, std::size_t rank);
  std::int64_t virtual_tensor(std::span<const std::int64_t> dims, std::span<const std::int64_t> strides);

  void convolution(std::int64_t src, std::int64_t weights, std::int64_t dst, const ConvWindow& window);
  /// The transposed convolution: src has the forward convolution's dst shape.
  void convolution_transposed(std::int64_t src, std::int64_t weights, std::int64_t dst,
                              const ConvWindow& window);
  /// dst = mode(a [, b]); b is -1 for functions of one argument.
  void pointwise(const PointwiseMode& mode, std::int64_t a, std::int64_t b, std::int64_t dst);

  /// False, with the reason, when cuDNN has no pattern for the graph.
  bool finalize(const CudnnTarget& target, std::string* why = nullptr);
  const Descriptor& get() const { return *graph_; }
  const std::deque<std::pair<std::int64_t, float>>& scalars() const { return scalars_; }
  /// Names everything that a plan for this graph depends on.
  const std::string& text() const { return text_; }

 private:
  /// Not finalized. Its unique id is the number of tensors.
  Descriptor& add_tensor(const char* what, cudnnDataType_t type, std::span<const std::int64_t> dims,
                         std::span<const std::int64_t> strides, std::int64_t alignment);
  const Descriptor& at(std::int64_t uid) const { return tensors_[static_cast<std::size_t>(uid - 1)]; }
  std::deque<Descriptor> tensors_;
  std::vector<Descriptor> parts_, ops_;
  std::deque<std::pair<std::int64_t, float>> scalars_;  ///< unique id, value
  std::optional<Descriptor> graph_;
  std::string text_;
};

struct EngineConfig {
  std::int64_t engine = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> knobs;  ///< type, value; by type
  friend bool operator==(const EngineConfig&, const EngineConfig&) = default;
};
std::string to_string(const EngineConfig& config);  ///< "e41,k27=1,k28=2"
std::optional<EngineConfig> parse_engine_config(std::string_view text);

/// What an engine is like, from its notes.
struct EngineTraits {
  bool runtime_compiled = false;
  bool exact = true;          ///< f32 stays f32: no tensor cores, no Winograd
  bool reduced_sums = false;  ///< sums in less than f32, or transformed ones
  bool deterministic = true;
};

struct KnobRange {
  std::int64_t type = 0, minimum = 0, maximum = 0, stride = 1;
};
struct Engine {
  std::int64_t id = 0;
  EngineTraits traits;
  std::vector<KnobRange> knobs;
};

/// In the heuristics' order.
std::vector<EngineConfig> heuristic_configs(const OpGraph& graph, const CudnnTarget& target,
                                            cudnnBackendHeurMode_t mode);
/// All engines that take this graph.
std::vector<Engine> engines(const OpGraph& graph, const CudnnTarget& target);
std::optional<Engine> find_engine(const OpGraph& graph, const CudnnTarget& target, std::int64_t id);

/// An execution plan: immutable, to be launched by any number of threads.
class CudnnPlan {
 public:
  CudnnPlan(OpGraph graph, Descriptor plan);
  std::size_t workspace_bytes() const { return workspace_; }
  /// What cuDNN needs to make the plan again without compiling anything.
  std::string json() const;
  /// ids[i] is the unique id of data[i]. Capture-safe.
  void launch(HandlePool& pool, CUstream_st* stream, std::span<const std::int64_t> ids,
              std::span<std::byte* const> data, std::byte* workspace) const;

 private:
  OpGraph graph_;
  Descriptor plan_;
  std::size_t workspace_ = 0;
};

/// Workspace of the plan for this configuration, or nothing (and why) where cuDNN refuses it.
std::optional<std::size_t> try_plan(const OpGraph& graph, const CudnnTarget& target,
                                    const EngineConfig& config, std::string* why = nullptr);
/// The plan that wrote `json`, for the same device and version; nothing where cuDNN does not take it.
std::optional<Descriptor> plan_from_json(const CudnnTarget& target, std::string_view json);
/// For a graph that need not be finalized. Plans that were compiled at run time are kept in `cache` (null:
/// nowhere) and read from there the next time. Throws Error(unsupported) where cuDNN refuses it.
std::shared_ptr<const CudnnPlan> make_plan(OpGraph graph, const CudnnTarget& target,
                                           const EngineConfig& config, const DiskCache* cache = nullptr);

}  // namespace headrace::cuda
