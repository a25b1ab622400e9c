// The handles of session.h: leases and tickets move, and give back what they hold.
#include <utility>

#include <fmt/format.h>

#include <headrace/session.h>

#include "base/log.h"
#include "pipeline/session_core.h"
#include "runtime/engine_state.h"

namespace headrace {

using pipeline::InputSlot;
using pipeline::OutputSlot;
using pipeline::SessionCore;
using pipeline::TicketState;

namespace {

[[noreturn]] void throw_moved(const char* what) {
  throw Error(ErrorCode::misuse,
              fmt::format("this {} was moved away (submitted, taken or assigned) and holds nothing", what));
}

/// Memory of an output lease that device tensors share.
struct LeasedMemory {
  detail::Memory memory;
  std::shared_ptr<SessionCore> core;
  OutputSlot* slot = nullptr;
  ~LeasedMemory() {
    if (slot) core->return_output(slot);
  }
};

template <class Infos>
std::size_t index_of(const Infos& infos, std::string_view name, const char* kind) {
  for (std::size_t i = 0; i < infos.size(); ++i)
    if (infos[i].name == name) return i;
  std::string names;
  for (const auto& info : infos) names += (names.empty() ? "'" : ", '") + info.name + "'";
  throw Error(ErrorCode::invalid_argument,
              fmt::format("the engine has no {} '{}'; it has {}", kind, name, names));
}

}  // namespace

InputLease::InputLease(std::shared_ptr<SessionCore> core, InputSlot* slot)
    : core_(std::move(core)), slot_(slot) {}
InputLease::InputLease(InputLease&& other) noexcept
    : core_(std::move(other.core_)), slot_(std::exchange(other.slot_, nullptr)) {}
InputLease& InputLease::operator=(InputLease&& other) noexcept {
  if (this != &other) {
    release();
    core_ = std::move(other.core_);
    slot_ = std::exchange(other.slot_, nullptr);
  }
  return *this;
}
InputLease::~InputLease() { release(); }
void InputLease::release() noexcept {
  if (slot_) core_->return_input(std::exchange(slot_, nullptr));
}
TensorView InputLease::operator[](std::string_view name) const {
  if (!slot_) throw_moved("input lease");
  const auto infos = core_->engine().inputs();
  const std::size_t i = index_of(infos, name, "input");
  return {infos[i].dtype, slot_->shapes[i], slot_->arena->host_data() + slot_->layout.offsets[i]};
}

OutputLease::OutputLease(std::shared_ptr<SessionCore> core, const TicketState& state, OutputSlot* slot)
    : core_(std::move(core)),
      slot_(slot),
      row_(state.row),
      tag_(state.tag),
      sequence_(state.sequence),
      times_(state.times) {}
OutputLease::OutputLease(OutputLease&& other) noexcept
    : core_(std::move(other.core_)),
      slot_(std::exchange(other.slot_, nullptr)),
      memory_(std::move(other.memory_)),
      row_(other.row_),
      tag_(other.tag_),
      sequence_(other.sequence_),
      times_(other.times_) {}
OutputLease& OutputLease::operator=(OutputLease&& other) noexcept {
  if (this != &other) {
    release();
    core_ = std::move(other.core_);
    slot_ = std::exchange(other.slot_, nullptr);
    memory_ = std::move(other.memory_);
    row_ = other.row_;
    tag_ = other.tag_;
    sequence_ = other.sequence_;
    times_ = other.times_;
  }
  return *this;
}
OutputLease::~OutputLease() { release(); }
void OutputLease::release() noexcept {
  OutputSlot* slot = std::exchange(slot_, nullptr);
  if (std::exchange(memory_, nullptr)) return;  // the last one that has it returns the slot
  if (slot) core_->return_output(slot);
}
void OutputLease::hand_over() {
  if (!slot_) throw_moved("output lease");
  core_->hand_over(slot_);
}
ConstTensorView OutputLease::operator[](std::string_view name) const {
  if (!slot_) throw_moved("output lease");
  return (*this)[index_of(core_->engine().outputs(), name, "output")];
}
ConstTensorView OutputLease::operator[](std::size_t index) const {
  if (!slot_) throw_moved("output lease");
  const auto infos = core_->engine().outputs();
  if (index >= infos.size())
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("output index {} is out of range: the engine has {} outputs", index, infos.size()));
  if (slot_->on_device)
    throw Error(ErrorCode::misuse,
                fmt::format("output '{}' lies in device memory, as submit was told to leave "
                            "it there; take it with OutputLease::device",
                            infos[index].name));
  const std::byte* data = slot_->pinned->host_data() + slot_->layout.offsets[index];
  Shape shape = slot_->shapes[index];
  if (row_ < 0) return {infos[index].dtype, std::move(shape), data};
  if (shape.empty() || shape[0] != slot_->rows)
    throw Error(ErrorCode::unsupported,
                fmt::format("output '{}' has the shape {}: it has no axis of the batch, so that it cannot be "
                            "split into items; use the session without batching",
                            infos[index].name, to_string(shape)));
  shape[0] = 1;
  data += static_cast<std::size_t>(row_) * tensor_bytes(infos[index].dtype, shape);
  return {infos[index].dtype, std::move(shape), data};
}

DeviceTensor OutputLease::device(std::string_view name) {
  if (!slot_) throw_moved("output lease");
  const DeviceRef& device = core_->engine().state().device;
  if (row_ >= 0)
    throw Error(ErrorCode::unsupported, "an item of a batch has its outputs in host memory only");
  if (!slot_->on_device && !device->unified_memory())
    throw Error(ErrorCode::misuse,
                "this item's outputs were downloaded; submit it with SubmitOptions::outputs_on_device");
  const auto infos = core_->engine().outputs();
  const std::size_t i = index_of(infos, name, "output");
  if (!memory_) {
    const auto leased = std::make_shared<LeasedMemory>();
    leased->memory = {slot_->arena(), device};
    core_->hand_over(slot_);  // its tensors may go anywhere
    leased->core = core_;
    leased->slot = slot_;
    memory_ = {leased, &leased->memory};
  }
  const Shape& shape = slot_->shapes[i];
  return {memory_,
          {memory_, slot_->layout.offsets[i], tensor_bytes(infos[i].dtype, shape)},
          infos[i].dtype,
          shape};
}

std::string_view to_string(TicketStatus status) {
  switch (status) {
    case TicketStatus::waiting: return "waiting";
    case TicketStatus::running: return "running";
    case TicketStatus::done: return "done";
    case TicketStatus::failed: return "failed";
    case TicketStatus::taken: return "taken";
  }
  return "?";
}

Ticket::Ticket(std::shared_ptr<SessionCore> core, TicketState* state)
    : core_(std::move(core)), state_(state) {}
Ticket::Ticket(Ticket&& other) noexcept
    : core_(std::move(other.core_)), state_(std::exchange(other.state_, nullptr)) {}
Ticket& Ticket::operator=(Ticket&& other) noexcept {
  if (this != &other) {
    release();
    core_ = std::move(other.core_);
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}
Ticket::~Ticket() { release(); }
void Ticket::release() noexcept {
  if (state_) core_->drop_ticket(std::exchange(state_, nullptr));
}
bool Ticket::ready() const {
  if (!state_) throw_moved("ticket");
  sched::yield_point();
  return !state_->pending();
}
TicketStatus Ticket::status() const {
  if (!state_) throw_moved("ticket");
  sched::yield_point();
  return state_->status;
}
void Ticket::wait() const {
  if (!state_) throw_moved("ticket");
  core_->wait_ticket(*state_, sched::Clock::time_point::max());
}
bool Ticket::wait_for(std::chrono::nanoseconds timeout) const {
  if (!state_) throw_moved("ticket");
  return core_->wait_ticket(*state_, sched::Clock::after(timeout));
}
OutputLease Ticket::get() {
  if (!state_) throw_moved("ticket");
  OutputSlot* slot = core_->take_output(*state_);
  return OutputLease(core_, *state_, slot);
}
bool Ticket::cancel() const {
  if (!state_) throw_moved("ticket");
  return core_->cancel_ticket(*state_);
}
void Ticket::then(std::function<void(Ticket)> callback) && {
  if (!state_) throw_moved("ticket");
  const auto core = core_;  // the callback may assign to this ticket, or destroy it
  TicketState* state = std::exchange(state_, nullptr);
  try {
    core->call_back(state, std::move(callback));
  } catch (...) {
    state_ = state;
    throw;
  }
}
std::uint64_t Ticket::tag() const {
  if (!state_) throw_moved("ticket");
  return state_->tag;
}
std::uint64_t Ticket::sequence() const {
  if (!state_) throw_moved("ticket");
  return state_->sequence;
}
TicketTimes Ticket::times() const {
  if (!state_) throw_moved("ticket");
  return core_->ticket_times(*state_);
}

Session::Session(const Engine& engine, const SessionOptions& options)
    : core_(std::make_shared<SessionCore>(engine.data(), options)) {
  core_->start();
}
Session::Session(Session&&) noexcept = default;
Session::~Session() {
  if (!core_) return;
  try {
    core_->close(core_->options().closing);
  } catch (const std::exception& e) {
    log(LogSeverity::fatal, fmt::format("a Session was destroyed on its own worker: {}", e.what()));
    std::terminate();
  }
}
void Session::prepare(const ShapeMap& shapes) { core_->prepare(shapes); }
InputLease Session::acquire(const ShapeMap& shapes) { return InputLease(core_, core_->acquire(shapes)); }
Ticket Session::submit(InputLease&& input, SubmitOptions options) {
  if (!input.slot_) throw_moved("input lease");
  if (input.core_ != core_)
    throw Error(ErrorCode::misuse,
                "this input lease belongs to another session; submit it to the session that gave it");
  InputSlot* slot = std::exchange(input.slot_, nullptr);  // callbacks may assign to the lease
  try {
    return Ticket(core_, core_->submit(slot, std::move(options)));
  } catch (...) {
    input.slot_ = slot;
    throw;
  }
}
Ticket Session::submit(std::span<const NamedView> inputs, SubmitOptions options) {
  return Ticket(core_, core_->submit_copy(inputs, std::move(options)));
}
Ticket Session::submit_device(std::span<const NamedDeviceTensor> inputs, const DeviceEvent& ready,
                              SubmitOptions options) {
  const DeviceRef& device = core_->engine().state().device;
  std::vector<detail::Held> memory;
  for (const NamedDeviceTensor& named : inputs) {
    const detail::Range& range = named.tensor.range_;
    memory.push_back(detail::hold(range.memory, range.offset, range.size, device, named.name));
  }
  if (ready && ready.moment_->device != device)
    throw Error(ErrorCode::misuse,
                "submit_device: this event belongs to another engine's device; record it on a stream of the "
                "session's engine");
  return Ticket(core_, core_->submit_device(inputs, memory, ready.moment_, std::move(options)));
}
void Session::close() { core_->close(core_->options().closing); }
void Session::close(Closing how) { core_->close(how); }
SessionStats Session::stats() const { return core_->stats(); }

}  // namespace headrace
