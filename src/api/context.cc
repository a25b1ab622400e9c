#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <headrace/runtime.h>

#include "api/context_state.h"
#include "base/busy.h"
#include "base/hooks.h"
#include "plan/profiles.h"

namespace headrace {

Context::State::State(const Engine& e)
    : engine(e), context(e.data()), reads_values(runtime::reads_input_values(e.data()->plan())) {
  Device& device = engine.data()->device();
  stream =
      device.make_stream({.name = "infer", .inline_execution = true, .threads = engine.data()->threads()});
  done = device.make_event();
  for (std::size_t i = 0; i < engine.inputs().size(); ++i)
    inputs.push_back(std::make_shared<api::BorrowedBuffer>());
  for (std::size_t i = 0; i < engine.outputs().size(); ++i)
    outputs.push_back(std::make_shared<api::BorrowedBuffer>());
  order.resize(inputs.size());
  bound_inputs.resize(inputs.size());
  bound_outputs.resize(outputs.size());
}

const runtime::Prepared& Context::State::take(std::span<const NamedView> views) {
  note_blocking_use();
  const std::vector<TensorInfo>& infos = engine.inputs();
  std::fill(order.begin(), order.end(), nullptr);
  for (const NamedView& view : views) {
    const auto it =
        std::find_if(infos.begin(), infos.end(), [&](const TensorInfo& i) { return i.name == view.name; });
    if (it == infos.end()) {
      std::string names;
      for (const TensorInfo& i : infos) names += (names.empty() ? "'" : ", '") + i.name + "'";
      throw Error(ErrorCode::invalid_argument, fmt::format("the engine has no input '{}'; its inputs are {}",
                                                           view.name, names.empty() ? "none" : names));
    }
    const auto index = static_cast<std::size_t>(it - infos.begin());
    if (order[index])
      throw Error(ErrorCode::invalid_argument, fmt::format("input '{}' is given twice", view.name));
    if (view.view.dtype() != it->dtype)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("input '{}' takes {}, but the tensor given holds {}", it->name,
                              to_string(it->dtype), to_string(view.view.dtype())));
    if (!view.view.data() && view.view.size_bytes() > 0)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("input '{}' has no data (null pointer)", it->name));
    order[index] = &view;
  }
  for (std::size_t i = 0; i < infos.size(); ++i) {
    if (!order[i])
      throw Error(ErrorCode::invalid_argument, fmt::format("input '{}' ({} {}) is missing", infos[i].name,
                                                           to_string(infos[i].dtype), infos[i].shape_text));
    const ConstTensorView& view = order[i]->view;
    // Kernels only read inputs; Buffer has one address for both.
    inputs[i]->point_to(const_cast<std::byte*>(view.data()), view.size_bytes());
    Shape& shape = shapes[infos[i].name];
    if (shape != view.shape()) shape = view.shape();
  }
  if (!reads_values) return context.prepare(shapes);
  std::vector<const std::byte*> data;
  std::vector<Shape> extents;
  for (const NamedView* view : order) {
    data.push_back(view->view.data());
    extents.push_back(view->view.shape());
  }
  return context.prepare(shapes, runtime::collect_input_values(*engine.data(), data, extents));
}

void Context::State::run(const runtime::Prepared& prepared, std::span<const TensorView> results) {
  if (results.size() != outputs.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} output views were given, but the engine has {} outputs", results.size(),
                            outputs.size()));
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const TensorDesc& desc = prepared.outputs[i];
    if (results[i].dtype() != desc.dtype || results[i].shape() != desc.shape)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("output '{}' is {} {}, but the view given for it is {} {}",
                              engine.outputs()[i].name, to_string(desc.dtype), to_string(desc.shape),
                              to_string(results[i].dtype()), to_string(results[i].shape())));
    outputs[i]->point_to(results[i].data(), results[i].size_bytes());
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) context.bind_input(i, inputs[i]);
  for (std::size_t i = 0; i < outputs.size(); ++i) context.bind_output(i, outputs[i]);
  const hooks::Range infer("infer", ++inferences);
  context.enqueue(*stream, *done);
  const hooks::Range wait("wait");
  done->wait();
}

Context::Context(const Engine& engine) : state_(std::make_unique<State>(engine)) {}
Context::~Context() = default;
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;

ShapeMap api::output_shapes(const Engine& engine, const runtime::Prepared& prepared) {
  ShapeMap result;
  for (std::size_t i = 0; i < prepared.outputs.size(); ++i)
    result[engine.outputs()[i].name] = prepared.outputs[i].shape;
  return result;
}

ShapeMap Context::prepare(const ShapeMap& shapes) {
  const Busy busy(state_->busy, api::kContext);
  state_->note_blocking_use();
  return api::output_shapes(state_->engine, state_->context.prepare(shapes));
}

std::vector<NamedTensor> Context::infer(std::span<const NamedView> inputs) {
  const Busy busy(state_->busy, api::kContext);
  const runtime::Prepared& prepared = state_->take(inputs);
  std::vector<NamedTensor> results;
  std::vector<TensorView> views;
  for (std::size_t i = 0; i < prepared.outputs.size(); ++i) {
    results.push_back(
        {state_->engine.outputs()[i].name, Tensor(prepared.outputs[i].dtype, prepared.outputs[i].shape)});
    views.push_back(results.back().tensor.view());
  }
  state_->run(prepared, views);
  return results;
}

void Context::infer(std::span<const NamedView> inputs, std::span<const TensorView> outputs) {
  const Busy busy(state_->busy, api::kContext);
  const runtime::Prepared& prepared = state_->take(inputs);
  state_->run(prepared, outputs);
}

std::vector<double> Context::device_times_us(int repeats) {
  return state_->context.device_times_us(*state_->stream, repeats);
}

CopyTimes Context::copy_times_us(int repeats) {
  CopyTimes times;
  for (const runtime::CopyTime& t : state_->context.copy_times_us(*state_->stream, repeats)) {
    times.upload.push_back(t.upload_us);
    times.download.push_back(t.download_us);
  }
  return times;
}

std::size_t Context::launches() const { return state_->context.launches(); }

std::vector<double> Context::enqueue_times_us(int repeats) {
  return state_->context.enqueue_times_us(*state_->stream, repeats);
}

std::vector<LayerTime> Context::profile(int repeats) {
  const Plan& plan = state_->engine.data()->plan();
  const auto texts = [](const std::vector<TensorDesc>& descs) {
    std::vector<std::string> result;
    for (const TensorDesc& desc : descs) result.push_back(to_string(desc));
    return result;
  };
  std::vector<LayerTime> result;
  for (const runtime::StepTime& time : state_->context.profile_steps(*state_->stream, repeats)) {
    const PlanStep& step = plan.steps[time.step];
    const StepWay way = way_of(step, state_->context.used_profile());
    const std::vector<TensorDesc>& typed = time.srcs.empty() ? time.dsts : time.srcs;
    result.push_back({.name = step.origins.empty() ? step.op.id : step.origins.front(),
                      .nodes = step.origins,
                      .tactic = way.tactic,
                      .choice = way.choice,
                      .inputs = texts(time.srcs),
                      .outputs = texts(time.dsts),
                      .dtype = typed.empty() ? DType::f32 : typed.front().dtype,
                      .us = time.us,
                      .bytes = time.cost.bytes,
                      .flops = time.cost.flops});
  }
  return result;
}

}  // namespace headrace
