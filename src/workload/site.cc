#include "workload/site.h"

#include <algorithm>
#include <ctime>
#include <random>

#include <fmt/format.h>

#include <headrace/error.h>

#include "api/registry.h"
#include "compiler/compiler.h"
#include "ladder/model.h"

namespace headrace::workload {
namespace {

void require(bool holds, const std::string& what) {
  if (!holds) throw Error(ErrorCode::invalid_argument, what);
}

/// Ranges for what the target says; axis 0 from 1 on where it is dynamic.
std::vector<compiler::InputRange> ranges(const Graph& graph, const WorkloadTarget& target,
                                         std::int64_t rows) {
  std::vector<compiler::InputRange> list;
  bool batched = false;
  for (const ValueId input : graph.inputs()) {
    const std::string& name = graph.value(input).names.front();
    const Dims& dims = graph.value(input).type.shape;
    const auto given = target.shapes.find(name);
    if (given == target.shapes.end()) {
      for (std::size_t a = 1; a < dims.size(); ++a)
        require(dims[a].is_constant(),
                fmt::format("axis {} of input '{}' is dynamic; say which shape to measure with --shapes", a,
                            name));
      batched = batched || (!dims.empty() && !dims[0].is_constant());
      continue;
    }
    Shape low = given->second;
    if (!low.empty() && !dims.empty() && !dims[0].is_constant()) low[0] = 1;
    list.push_back({name, low, given->second, given->second});
  }
  if (batched) list.push_back({"*", {1}, {rows}, {rows}});
  return list;
}

}  // namespace

Site::Site(const WorkloadTarget& target, std::int64_t rows)
    : target_(target), rows_(rows > 0 ? rows : std::max<std::int64_t>(target.batch, 1)) {
  simulated_ = target.device == "sim";
  require(target.plan.empty() || target.onnx.empty(), "give a plan or a model, not both");
  require(simulated_ || target.sim_spec.empty(),
          fmt::format("figures for the simulator do not apply to '{}'; use --device sim", target.device));
  if (simulated_ && !target.sim_spec.empty()) spec_ = sim::load_spec(target.sim_spec);
  if (target.plan.empty()) {
    require(
        simulated_ || !target.onnx.empty(),
        "there is nothing to run: give a plan or --onnx MODEL; only --device sim has a network of its own");
    plan_device_ = simulated_ ? "reference" : target.device.empty() ? default_device().name : target.device;
    plan_ = compile(false);
  } else {
    plan_ = PlanFile::load(target.plan).data();
    plan_device_ = simulated_ || target.device.empty() ? plan_->device : target.device;
    require(!simulated_ || plan_->device == "reference",
            fmt::format("the simulated machine computes with the reference kernels, but '{}' is a plan for "
                        "{}; pass the model with --onnx, or build a plan with --device reference",
                        target.plan, plan_->device));
  }
  const Engine engine =
      Engine::load(PlanFile(plan_), {.device = simulated_ ? "" : target.device, .threads = target.threads});
  shapes_ = choose_shapes(engine, target.shapes, target.batch);
  if (rows > 0)
    for (const TensorInfo& info : engine.inputs())
      if (!info.shape.empty() && info.shape[0] < 0) shapes_[info.name][0] = rows;
  runtime::Context context(engine.data());
  const runtime::Prepared& prepared = context.prepare(shapes_);
  for (const TensorDesc& desc : prepared.inputs) upload_bytes_ += desc.span_bytes();
  for (const TensorDesc& desc : prepared.outputs) download_bytes_ += desc.span_bytes();
  model_ = simulated_ ? "simulated machine" : engine.device_model();
}

WorkloadRun Site::begin() const {
  std::random_device random;  // of the system
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  return {.run = fmt::format("{:08x}{:08x}", random(), random()),
          .started = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                                 utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec),
          .device = simulated_ ? "sim" : plan_device_,
          .model = model_,
          .shapes = shapes_};
}

std::shared_ptr<const Plan> Site::compile(bool narrow) const {
  Graph graph = ladder::load_network(target_.onnx);
  compiler::Options options{.device = plan_device_};
  if (auto profile = ranges(graph, target_, rows_); !profile.empty()) options.profiles = {std::move(profile)};
  if (narrow) options.input_formats = ladder::narrow_formats(graph);
  options.threads = target_.threads;
  return std::make_shared<const Plan>(compiler::compile(std::move(graph), api::registry(), options));
}

std::shared_ptr<const Plan> Site::narrow_plan() const {
  require(
      target_.plan.empty(),
      fmt::format("inputs of bytes need another plan than '{}'; give the model with --onnx", target_.plan));
  return compile(true);
}

Placed Site::place(const std::shared_ptr<const Plan>& plan, runtime::EngineOptions options) const {
  options.threads = target_.threads;
  if (!simulated_ && !target_.device.empty()) options.device = target_.device;
  std::optional<ladder::SimSpeeds> speeds;
  if (simulated_) speeds = {spec_, spec_.compute_fp32_ms, upload_bytes_, download_bytes_};
  Placed placed = ladder::place(plan, api::registry(), options, speeds);
  runtime::Context(placed.engine).prepare(shapes_);
  return placed;
}

void Site::run(const std::function<void()>& body) const {
  if (!simulated_) return body();
  ladder::in_virtual_time(target_.seed, body);
}

}  // namespace headrace::workload

namespace headrace {

ShapeMap choose_shapes(const Engine& engine, const ShapeMap& given, std::int64_t batch) {
  ShapeMap shapes;
  bool batched = false;
  for (const TensorInfo& info : engine.inputs()) {
    Shape shape = info.opt.size() == info.shape.size() ? info.opt : info.shape;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      if (info.shape[i] >= 0) shape[i] = info.shape[i];
      if (i == 0 && batch > 0 && info.shape[i] < 0) {
        shape[i] = batch;
        batched = true;
      }
    }
    shapes[info.name] = shape;
  }
  if (batch > 0 && !batched)
    throw Error(ErrorCode::invalid_argument,
                "--batch does not apply: no input of this model has a dynamic first axis");
  for (const auto& [name, shape] : given) {
    const auto it = shapes.find(name);
    if (it == shapes.end())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the plan has no input '{}'; `headrace inspect` lists them", name));
    it->second = shape;
  }
  return shapes;
}

}  // namespace headrace
