#ifdef HEADRACE_CUDNN
#include "backends/cuda/cudnn_plan.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <headrace/error.h>

#include "backends/cuda/driver.h"
#include "backends/cuda/module.h"
#include "base/hash.h"
#include "base/sched.h"

namespace headrace::cuda {
namespace {

constexpr std::size_t kMaxOperands = 16;

Descriptor engine_descriptor(const OpGraph& graph, const CudnnTarget& target, std::int64_t id) {
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR, "engine");
  engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph.get());
  engine.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, id);
  if (target.device()) engine.set(CUDNN_ATTR_ENGINE_DEVICEPROP, *target.device());
  return engine;
}

Engine describe(const Descriptor& engine, std::int64_t id) {
  Engine result{.id = id, .traits = {}, .knobs = {}};
  for (std::int32_t note : engine.get_enums(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE))
    if (note == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) result.traits.runtime_compiled = true;
  for (std::int32_t note : engine.get_enums(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE)) {
    if (note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) result.traits.deterministic = false;
    if (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)
      result.traits.exact = false;
    if (note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION || note == CUDNN_NUMERICAL_NOTE_FFT ||
        (note >= CUDNN_NUMERICAL_NOTE_WINOGRAD && note <= CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13))
      result.traits.reduced_sums = true;
  }
  for (const Descriptor& info :
       engine.get_all(CUDNN_ATTR_ENGINE_KNOB_INFO, CUDNN_BACKEND_KNOB_INFO_DESCRIPTOR, "knob description")) {
    result.knobs.push_back({info.get_enum(CUDNN_ATTR_KNOB_INFO_TYPE, CUDNN_TYPE_KNOB_TYPE),
                            info.get_int(CUDNN_ATTR_KNOB_INFO_MINIMUM_VALUE),
                            info.get_int(CUDNN_ATTR_KNOB_INFO_MAXIMUM_VALUE),
                            info.get_int(CUDNN_ATTR_KNOB_INFO_STRIDE)});
  }
  std::sort(result.knobs.begin(), result.knobs.end(),
            [](const KnobRange& a, const KnobRange& b) { return a.type < b.type; });
  return result;
}

/// The finalized plan, or nothing.
std::optional<Descriptor> plan_descriptor(const OpGraph& graph, const CudnnTarget& target,
                                          const EngineConfig& config, std::string* why) {
  Descriptor engine = engine_descriptor(graph, target, config.engine);
  if (!engine.try_finalize(why)) return std::nullopt;
  std::vector<Descriptor> knobs;
  for (const auto& [type, value] : config.knobs) {
    Descriptor& knob = knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, "knob choice");
    const auto type_enum = static_cast<cudnnBackendKnobType_t>(type);
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type_enum);
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value);
    if (!knob.try_finalize(why)) return std::nullopt;
  }
  Descriptor chosen(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "engine configuration");
  chosen.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
  if (!knobs.empty()) chosen.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, std::span<const Descriptor>(knobs));
  if (!chosen.try_finalize(why)) return std::nullopt;
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "execution plan");
  cudnnHandle_t handle = target.handle();
  if (handle)
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  else
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.device());
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, chosen);
  if (!plan.try_finalize(why)) return std::nullopt;
  return plan;
}

bool is_runtime_compiled(const OpGraph& graph, const CudnnTarget& target, const EngineConfig& config) {
  const auto engine = find_engine(graph, target, config.engine);
  return engine && engine->traits.runtime_compiled;
}

/// The current device's name and architecture.
std::string device_text(const CudnnTarget& target) {
  if (!target.handle()) return "described";
  CUdevice device = 0;
  check(driver().cuCtxGetDevice(&device));
  char name[256] = {};
  check(driver().cuDeviceGetName(name, sizeof name - 1, device));
  return fmt::format("{} {}", name, current_arch());
}

}  // namespace

cudnnDataType_t to_cudnn(DType dtype) {
  switch (dtype) {
    case DType::f32: return CUDNN_DATA_FLOAT;
    case DType::f16: return CUDNN_DATA_HALF;
    case DType::bf16: return CUDNN_DATA_BFLOAT16;
    default:
      throw Error(ErrorCode::internal, fmt::format("no cuDNN type for {}", std::string(to_string(dtype))));
  }
}

Descriptor& OpGraph::add_tensor(const char* what, cudnnDataType_t type, std::span<const std::int64_t> dims,
                                std::span<const std::int64_t> strides, std::int64_t alignment) {
  Descriptor& d = tensors_.emplace_back(CUDNN_BACKEND_TENSOR_DESCRIPTOR, what);
  d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, dims);
  d.set(CUDNN_ATTR_TENSOR_STRIDES, strides);
  d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, static_cast<std::int64_t>(tensors_.size()));
  text_ += fmt::format("{} {} [{}] [{}] {};", what, static_cast<int>(type), fmt::join(dims, ","),
                       fmt::join(strides, ","), alignment);
  return d;
}

std::int64_t OpGraph::tensor(DType dtype, std::span<const std::int64_t> dims,
                             std::span<const std::int64_t> strides, std::int64_t alignment) {
  add_tensor("tensor", to_cudnn(dtype), dims, strides, alignment).finalize();
  return static_cast<std::int64_t>(tensors_.size());
}

std::int64_t OpGraph::scalar(float value, std::size_t rank) {
  const std::vector<std::int64_t> ones(rank, 1);
  Descriptor& d = add_tensor("scalar", CUDNN_DATA_FLOAT, ones, ones, 4);
  d.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  d.finalize();
  const auto uid = static_cast<std::int64_t>(tensors_.size());
  text_ += "by value;";
  scalars_.emplace_back(uid, value);
  return uid;
}

std::int64_t OpGraph::virtual_tensor(std::span<const std::int64_t> dims,
                                     std::span<const std::int64_t> strides) {
  Descriptor& d = add_tensor("virtual tensor", CUDNN_DATA_FLOAT, dims, strides, 16);
  d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  d.finalize();
  return static_cast<std::int64_t>(tensors_.size());
}

namespace {

Descriptor window_descriptor(const ConvWindow& window) {
  Descriptor d(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "convolution");
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  d.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  d.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, static_cast<std::int64_t>(window.strides.size()));
  d.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, window.strides);
  d.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, window.dilations);
  d.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, window.pads_begin);
  d.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, window.pads_end);
  d.finalize();
  return d;
}

}  // namespace

namespace {

std::string window_text(const char* what, std::int64_t src, std::int64_t weights, std::int64_t dst,
                        const ConvWindow& w) {
  return fmt::format("{} {} {} {} [{}] [{}] [{}] [{}];", what, src, weights, dst, fmt::join(w.strides, ","),
                     fmt::join(w.dilations, ","), fmt::join(w.pads_begin, ","), fmt::join(w.pads_end, ","));
}

}  // namespace

void OpGraph::convolution(std::int64_t src, std::int64_t weights, std::int64_t dst,
                          const ConvWindow& window) {
  const Descriptor& geometry = parts_.emplace_back(window_descriptor(window));
  Descriptor& op =
      ops_.emplace_back(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, "convolution operation");
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, geometry);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, at(src));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, at(weights));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, at(dst));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 1.0f);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 0.0f);
  op.finalize();
  text_ += window_text("convolution", src, weights, dst, window);
}

void OpGraph::convolution_transposed(std::int64_t src, std::int64_t weights, std::int64_t dst,
                                     const ConvWindow& window) {
  const Descriptor& geometry = parts_.emplace_back(window_descriptor(window));
  Descriptor& op = ops_.emplace_back(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                     "transposed convolution operation");
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, geometry);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, at(src));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, at(weights));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, at(dst));
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 1.0f);
  op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 0.0f);
  op.finalize();
  text_ += window_text("transposed", src, weights, dst, window);
}

void OpGraph::pointwise(const PointwiseMode& mode, std::int64_t a, std::int64_t b, std::int64_t dst) {
  Descriptor& pw = parts_.emplace_back(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "pointwise");
  pw.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode.mode);
  pw.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  if (mode.mode == CUDNN_POINTWISE_RELU_FWD && (mode.lower != 0 || mode.has_upper || mode.slope != 0)) {
    const double lower = mode.lower, upper = mode.upper, slope = mode.slope;
    pw.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, 1, &lower);
    if (mode.has_upper) pw.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, &upper);
    pw.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, 1, &slope);
  }
  const double parameter = mode.parameter;
  if (mode.mode == CUDNN_POINTWISE_ELU_FWD)
    pw.set(CUDNN_ATTR_POINTWISE_ELU_ALPHA, CUDNN_TYPE_DOUBLE, 1, &parameter);
  if (mode.mode == CUDNN_POINTWISE_SWISH_FWD)
    pw.set(CUDNN_ATTR_POINTWISE_SWISH_BETA, CUDNN_TYPE_DOUBLE, 1, &parameter);
  pw.finalize();
  Descriptor& op = ops_.emplace_back(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, "pointwise operation");
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pw);
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, at(a));
  if (b >= 0) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, at(b));
  op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, at(dst));
  op.finalize();
  text_ += fmt::format("pointwise {} {} {} {}, {} {} {} {} {};", static_cast<int>(mode.mode), a, b, dst,
                       mode.lower, mode.has_upper ? mode.upper : INFINITY, mode.slope, mode.has_upper,
                       mode.parameter);
}

bool OpGraph::finalize(const CudnnTarget& target, std::string* why) {
  if (graph_) return true;
  graph_.emplace(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "operation graph");
  graph_->set(CUDNN_ATTR_OPERATIONGRAPH_OPS, std::span<const Descriptor>(ops_));
  if (cudnnHandle_t handle = target.handle())
    graph_->set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  if (graph_->try_finalize(why)) return true;
  graph_.reset();
  return false;
}

std::string to_string(const EngineConfig& config) {
  std::string text = fmt::format("e{}", config.engine);
  for (const auto& [type, value] : config.knobs) text += fmt::format(",k{}={}", type, value);
  return text;
}

std::optional<EngineConfig> parse_engine_config(std::string_view text) {
  const auto number = [&](std::int64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
  };
  const auto literal = [&](std::string_view expected) {
    if (!text.starts_with(expected)) return false;
    text.remove_prefix(expected.size());
    return true;
  };
  EngineConfig config;
  if (!literal("e") || !number(config.engine)) return std::nullopt;
  while (!text.empty()) {
    auto& [type, value] = config.knobs.emplace_back();
    if (!literal(",k") || !number(type) || !literal("=") || !number(value)) return std::nullopt;
  }
  return config;
}

std::vector<EngineConfig> heuristic_configs(const OpGraph& graph, const CudnnTarget& target,
                                            cudnnBackendHeurMode_t mode) {
  Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "heuristic");
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.get());
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (target.device()) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.device());
  std::vector<EngineConfig> result;
  if (!heuristic.try_finalize()) return result;
  for (const Descriptor& chosen : heuristic.get_all(
           CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "engine configuration")) {
    EngineConfig& config = result.emplace_back();
    config.engine = chosen.get_one(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, "engine")
                        .get_int(CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
    for (const Descriptor& knob :
         chosen.get_all(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR,
                        "knob choice", CUDNN_KNOB_TYPE_COUNTS))
      config.knobs.emplace_back(knob.get_enum(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE),
                                knob.get_int(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
    std::sort(config.knobs.begin(), config.knobs.end());
  }
  return result;
}

std::optional<Engine> find_engine(const OpGraph& graph, const CudnnTarget& target, std::int64_t id) {
  Descriptor engine = engine_descriptor(graph, target, id);
  if (!engine.try_finalize()) return std::nullopt;
  return describe(engine, id);
}

std::vector<Engine> engines(const OpGraph& graph, const CudnnTarget& target) {
  std::vector<Engine> result;
  const std::int64_t count = graph.get().get_int(CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT);
  for (std::int64_t id = 0; id < count; ++id)
    if (auto engine = find_engine(graph, target, id)) result.push_back(std::move(*engine));
  return result;
}

CudnnPlan::CudnnPlan(OpGraph graph, Descriptor plan)
    : graph_(std::move(graph)),
      plan_(std::move(plan)),
      workspace_(static_cast<std::size_t>(
          std::max<std::int64_t>(0, plan_.get_int(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)))) {}

std::string CudnnPlan::json() const {
  const auto attribute = CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION;
  std::int64_t size = 0;
  check_cudnn(cudnn().cudnnBackendGetAttribute(plan_.get(), attribute, CUDNN_TYPE_CHAR, 0, &size, nullptr),
              "writing a plan as text");
  std::string text(static_cast<std::size_t>(size), '\0');
  check_cudnn(
      cudnn().cudnnBackendGetAttribute(plan_.get(), attribute, CUDNN_TYPE_CHAR, size, &size, text.data()),
      "writing a plan as text");
  return text;
}

void CudnnPlan::launch(HandlePool& pool, CUstream_st* stream, std::span<const std::int64_t> ids,
                       std::span<std::byte* const> data, std::byte* workspace) const {
  std::array<std::int64_t, kMaxOperands> all_ids;
  std::array<void*, kMaxOperands> pointers;
  std::size_t count = 0;
  for (; count < ids.size(); ++count) {
    all_ids[count] = ids[count];
    pointers[count] = data[count];
  }
  for (const auto& [id, value] : graph_.scalars()) {
    all_ids[count] = id;
    pointers[count++] = const_cast<float*>(&value);
  }
  const auto n = static_cast<std::int64_t>(count);
  void* scratch = workspace;
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, "operands of a launch");
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, all_ids.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, pointers.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &scratch);
  pack.finalize();
  const HandlePool::Lease handle(pool, HandlePool::For::launching);
  check_cudnn(cudnn().cudnnSetStream(handle.get(), stream), "choosing the stream");
  check_cudnn(cudnn().cudnnBackendExecute(handle.get(), plan_.get(), pack.get()), "running a plan");
}

std::optional<std::size_t> try_plan(const OpGraph& graph, const CudnnTarget& target,
                                    const EngineConfig& config, std::string* why) {
  const auto plan = plan_descriptor(graph, target, config, why);
  if (!plan) return std::nullopt;
  return static_cast<std::size_t>(
      std::max<std::int64_t>(0, plan->get_int(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE)));
}

std::optional<Descriptor> plan_from_json(const CudnnTarget& target, std::string_view json) {
  Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "execution plan");
  cudnnHandle_t handle = target.handle();
  try {
    if (handle)
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    else
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.device());
    plan.set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
             static_cast<std::int64_t>(json.size()), json.data());
  } catch (const Error&) {
    return std::nullopt;
  }
  if (!plan.try_finalize()) return std::nullopt;
  return plan;
}

namespace {

/// Of several threads that want the same plan one makes it; the others wait, and find it in the cache.
class OneAtATime {
 public:
  explicit OneAtATime(const std::string& key) : key_(hash128(std::string_view(key))) {
    sched::UniqueLock lock(mutex());
    done().wait(lock, [&] { return !busy().contains(key_); });
    busy().insert(key_);
  }
  ~OneAtATime() {
    {
      sched::LockGuard lock(mutex());
      busy().erase(key_);
    }
    done().notify_all();
  }
  OneAtATime(const OneAtATime&) = delete;
  OneAtATime& operator=(const OneAtATime&) = delete;

 private:
  static sched::Mutex& mutex() {
    static sched::Mutex m{"cudnn.plans"};
    return m;
  }
  static sched::CondVar& done() {
    static sched::CondVar c{"cudnn.plan_made"};
    return c;
  }
  static std::set<Hash128>& busy() {
    static std::set<Hash128> keys;
    return keys;
  }
  Hash128 key_;
};

}  // namespace

std::shared_ptr<const CudnnPlan> make_plan(OpGraph graph, const CudnnTarget& target,
                                           const EngineConfig& config, const DiskCache* cache) {
  std::string key;
  std::optional<OneAtATime> turn;
  if (cache) {
    key = fmt::format("cuDNN {}\n{}\n{}\n{}", cudnn().cudnnGetVersion(), device_text(target),
                      to_string(config), graph.text());
    turn.emplace(key);
    if (const auto found = cache->find(key, "cudnn"))
      if (auto plan = plan_from_json(target, {reinterpret_cast<const char*>(found->data()), found->size()}))
        return std::make_shared<const CudnnPlan>(std::move(graph), std::move(*plan));
  }
  std::string why;
  std::optional<Descriptor> descriptor;
  if (graph.finalize(target, &why)) descriptor = plan_descriptor(graph, target, config, &why);
  if (!descriptor)
    throw Error(ErrorCode::unsupported, fmt::format("cuDNN configuration {}: {}", to_string(config), why));
  const bool keep = cache && is_runtime_compiled(graph, target, config);
  auto plan = std::make_shared<const CudnnPlan>(std::move(graph), std::move(*descriptor));
  if (keep) {
    const std::string json = plan->json();
    cache->keep(key, "cudnn", std::as_bytes(std::span(json)));
  }
  return plan;
}

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
