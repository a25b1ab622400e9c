// Context on streams and memory of the caller's own.
#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include <headrace/dlpack.h>
#include <headrace/runtime.h>

#include "api/context_state.h"
#include "api/device_state.h"
#include "base/busy.h"
#include "base/hooks.h"
#include "core/tensor.h"
#include "runtime/engine_state.h"

namespace headrace {

namespace {

std::size_t find(const std::vector<TensorInfo>& infos, std::string_view name) {
  return static_cast<std::size_t>(
      std::find_if(infos.begin(), infos.end(), [&](const TensorInfo& i) { return i.name == name; }) -
      infos.begin());
}

std::size_t input_index(const Engine& engine, std::string_view name) {
  const std::size_t i = find(engine.inputs(), name);
  if (i == engine.inputs().size())
    throw Error(ErrorCode::invalid_argument, fmt::format("the engine has no input '{}'", name));
  return i;
}

bool overlap(const detail::Held& a, const detail::Held& b) {
  return a.size > 0 && b.size > 0 && a.memory == b.memory && a.offset < b.offset + b.size &&
         b.offset < a.offset + a.size;
}

}  // namespace

std::string Context::State::misfit() const {
  const auto find_misfit = [](const char* side, const std::vector<TensorInfo>& infos,
                              const std::vector<detail::Held>& bound, const std::vector<TensorDesc>& descs) {
    for (std::size_t i = 0; i < bound.size(); ++i) {
      if (!bound[i].memory)
        return fmt::format("{} '{}' is not bound; bind device memory of {} bytes to it", side, infos[i].name,
                           descs[i].span_bytes());
      if (bound[i].size < descs[i].span_bytes())
        return fmt::format("{} '{}' is {} {}, which takes {} bytes, but the memory bound to it has {}", side,
                           infos[i].name, to_string(descs[i].dtype), to_string(descs[i].shape),
                           descs[i].span_bytes(), bound[i].size);
    }
    return std::string();
  };
  if (std::string why = find_misfit("input", engine.inputs(), bound_inputs, prepared->inputs); !why.empty())
    return why;
  if (std::string why = find_misfit("output", engine.outputs(), bound_outputs, prepared->outputs);
      !why.empty())
    return why;
  for (std::size_t o = 0; o < bound_outputs.size(); ++o) {
    const auto clash = [&](const char* side, const std::string& other) {
      return fmt::format("output '{}' and {} '{}' are bound to overlapping memory", engine.outputs()[o].name,
                         side, other);
    };
    for (std::size_t i = 0; i < bound_inputs.size(); ++i)
      if (overlap(bound_outputs[o], bound_inputs[i])) return clash("input", engine.inputs()[i].name);
    for (std::size_t i = 0; i < o; ++i)
      if (overlap(bound_outputs[o], bound_outputs[i])) return clash("output", engine.outputs()[i].name);
  }
  return {};
}

void Context::State::hand_over() {
  for (std::size_t i = 0; i < bound_inputs.size(); ++i)
    context.bind_input(i, bound_inputs[i].buffer(), bound_inputs[i].offset);
  for (std::size_t i = 0; i < bound_outputs.size(); ++i)
    context.bind_output(i, bound_outputs[i].buffer(), bound_outputs[i].offset);
}

void Context::set_shape(std::string_view input, const Shape& shape) {
  const Busy busy(state_->busy, api::kContext);
  const TensorInfo& info = state_->engine.inputs()[input_index(state_->engine, input)];
  Shape& known = state_->set_shapes[info.name];
  if (known == shape && !shape.empty()) return;
  known = shape;
  state_->prepared = nullptr;
}

void Context::set_value(std::string_view input, const ConstTensorView& value) {
  const Busy busy(state_->busy, api::kContext);
  const TensorInfo& info = state_->engine.inputs()[input_index(state_->engine, input)];
  if (value.dtype() != info.dtype)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("input '{}' takes {}, but the value given holds {}", info.name,
                            to_string(info.dtype), to_string(value.dtype())));
  HostTensor copy(value.dtype(), value.shape());
  if (const std::span<std::byte> bytes = copy.mutable_bytes(); !bytes.empty())
    std::memcpy(bytes.data(), value.data(), bytes.size());
  state_->set_values.insert_or_assign(info.name, std::move(copy));
  state_->set_shapes[info.name] = value.shape();
  state_->prepared = nullptr;
}

void Context::bind_memory(std::string_view tensor, const detail::Range& memory, DType dtype, bool writable) {
  const Busy busy(state_->busy, api::kContext);
  State& s = *state_;
  std::size_t index = find(s.engine.inputs(), tensor);
  const bool is_output = index == s.engine.inputs().size();
  if (is_output && (index = find(s.engine.outputs(), tensor)) == s.engine.outputs().size())
    throw Error(ErrorCode::invalid_argument, fmt::format("the engine has no input or output '{}'", tensor));
  const DType expected = (is_output ? s.engine.outputs() : s.engine.inputs())[index].dtype;
  const std::string what = fmt::format("{} '{}'", is_output ? "output" : "input", tensor);
  if (dtype != expected)
    throw Error(ErrorCode::invalid_argument, fmt::format("{} takes {}, but the memory given holds {}", what,
                                                         to_string(expected), to_string(dtype)));
  if (is_output && !writable)
    throw Error(ErrorCode::misuse, fmt::format("{} was given read-only memory", what));
  const DeviceRef device = api::device_of(s.engine);
  detail::Held held = api::hold(memory, device, what);
  detail::check_alignment(held, size_bytes(dtype), what);
  (is_output ? s.bound_outputs : s.bound_inputs)[index] = std::move(held);
  s.checked = false;
}

void Context::bind(std::string_view tensor, const DeviceTensor& memory) {
  bind_memory(tensor, memory.range_, memory.dtype(), !memory.read_only());
  if (find(state_->engine.inputs(), tensor) < state_->engine.inputs().size())
    set_shape(tensor, memory.shape());
}

ShapeMap Context::prepare() {
  const Busy busy(state_->busy, api::kContext);
  State& s = *state_;
  s.prepared = nullptr;
  const runtime::Prepared& prepared = s.context.prepare(s.set_shapes, s.set_values);
  s.prepared = &prepared;
  s.checked = s.misfit().empty();
  if (s.checked) {
    s.hand_over();
    s.context.record_bound();
  }
  return api::output_shapes(s.engine, prepared);
}

DeviceEvent Context::enqueue(DeviceStream& stream, const EnqueueOptions& options) {
  const Busy busy(state_->busy, api::kContext);
  detail::SharedStream& shared = stream.shared();
  const Busy stream_busy(shared.busy, detail::kStream);
  State& s = *state_;
  if (shared.device() != api::device_of(s.engine))
    throw Error(ErrorCode::misuse,
                "enqueue: this stream belongs to another engine's device; make it with the context's engine");
  if (!s.prepared)
    throw Error(ErrorCode::misuse,
                "enqueue: the shapes are not prepared; call prepare() after set_shape, set_value and infer");
  if (!s.checked) {
    if (const std::string why = s.misfit(); !why.empty()) throw Error(ErrorCode::misuse, "enqueue: " + why);
    s.checked = true;
  }
  const hooks::Range range("enqueue", ++s.inferences);
  s.hand_over();
  shared.make_room(s.bound_inputs.size() + s.bound_outputs.size());
  const detail::MomentRef done = shared.next_moment();
  const detail::MomentRef consumed = options.input_consumed ? shared.next_moment() : nullptr;
  for (const auto* side : {&s.bound_inputs, &s.bound_outputs})
    for (const detail::Held& held : *side) shared.keep(held.memory);
  s.context.enqueue(shared.stream(), *done->event,
                    {.input_consumed = consumed ? consumed->event.get() : nullptr, .independent = false});
  shared.recorded(done);
  if (consumed) {
    consumed->recorded = true;
    *options.input_consumed = DeviceEvent(consumed);
  }
  return DeviceEvent(done);
}

}  // namespace headrace
