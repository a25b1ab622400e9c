// Context at work: bindings, and one inference onto its streams.
#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>

#include "runtime/context_state.h"

namespace headrace::runtime {

void Context::State::bind(std::vector<Binding>& bindings, const char* what, std::size_t index,
                          BufferRef buffer, std::size_t offset) {
  if (index >= bindings.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no {} {}: the engine has {}", what, index, bindings.size()));
  Binding& binding = bindings[index];
  if (in_flight && finished->ready()) {
    in_flight = false;
    retired.clear();
  }
  if (in_flight && binding.buffer && binding.buffer != buffer &&
      std::find(retired.begin(), retired.end(), binding.buffer) == retired.end()) {
    if (retired.size() == kMaxRetired) drain();
    retired.push_back(std::move(binding.buffer));
  }
  binding.buffer = std::move(buffer);
  binding.offset = offset;
}

void Context::bind_input(std::size_t index, BufferRef buffer, std::size_t offset) {
  Busy busy(state_->busy, kContext);
  state_->bind(state_->inputs, "input", index, std::move(buffer), offset);
}

void Context::bind_output(std::size_t index, BufferRef buffer, std::size_t offset) {
  Busy busy(state_->busy, kContext);
  state_->bind(state_->outputs, "output", index, std::move(buffer), offset);
}

void Context::State::check_binding(const Binding& binding, std::size_t bytes, const char* what,
                                   std::size_t index) const {
  if (!binding.buffer) {
    if (bytes == 0) return;
    throw Error(ErrorCode::misuse,
                fmt::format("{} {} is not bound; bind memory for it before enqueue", what, index));
  }
  const std::size_t have = binding.buffer->size_bytes();
  if (binding.offset > have || bytes > have - binding.offset)
    throw Error(
        ErrorCode::misuse,
        fmt::format(
            "the memory bound for {} {} has {} bytes from offset {} on, but the prepared shapes need {}",
            what, index, have, binding.offset, bytes));
}

bool Context::State::is_staged(const Binding& binding) const {
  return binding.buffer && binding.buffer->kind() != MemoryKind::device && !ring.empty();
}

void Context::State::patch(Entry& entry, const std::vector<Binding>& in, const std::vector<Binding>& out,
                           const RingSlot* slot) const {
  for (std::size_t i = 0; i < in.size(); ++i) check_binding(in[i], entry.input_bytes[i], "input", i);
  for (std::size_t i = 0; i < out.size(); ++i) check_binding(out[i], entry.output_bytes[i], "output", i);
  for (const Patch& p : entry.patches) {
    const bool is_input = p.kind == Patch::input;
    const Binding& binding = is_input ? in[p.io] : out[p.io];
    Operand& operand = entry.operands[p.operand];
    operand.buffer = binding.buffer.get();
    std::size_t offset = binding.offset;
    if (slot && is_staged(binding)) {
      operand.buffer = (is_input ? slot->inputs : slot->outputs).get();
      offset = (is_input ? entry.prepared->input_layout : entry.prepared->output_layout).offsets[p.io];
    }
    operand.offset = operand.size == 0 ? 0 : offset + p.offset;
  }
}

void Context::State::patch_ring(Entry& entry, const RingSlot& slot) const {
  const auto bind_all = [](const BufferRef& arena, const IoLayout& layout) {
    std::vector<Binding> bindings;
    for (const std::size_t offset : layout.offsets) bindings.push_back({arena, offset});
    return bindings;
  };
  patch(entry, bind_all(slot.inputs, entry.prepared->input_layout),
        bind_all(slot.outputs, entry.prepared->output_layout), nullptr);
}

void Context::State::copy_io(Stream& stream, Direction direction, const std::vector<Binding>& bindings,
                             const std::vector<std::size_t>& bytes, const IoLayout& layout,
                             Buffer& arena) const {
  const auto copy = [&](Buffer& host, std::size_t host_offset, std::size_t offset, std::size_t size) {
    if (size == 0) return;
    const Operand outside{&host, host_offset, size, Access::read}, inside{&arena, offset, size, Access::read};
    if (direction == Direction::up)
      stream.copy(inside, outside);
    else
      stream.copy(outside, inside);
  };
  // bindings[0] lies at offset 0 of the layout
  const auto fits = [&](std::size_t i) {
    return bindings[i].buffer == bindings[0].buffer &&
           bindings[i].offset == bindings[0].offset + layout.offsets[i];
  };
  bool one = bindings.size() > 1 && is_staged(bindings[0]);
  for (std::size_t i = 0; one && i < bindings.size(); ++i) one = fits(i);
  if (one) return copy(*bindings[0].buffer, bindings[0].offset, 0, layout.size_bytes);
  for (std::size_t i = 0; i < bindings.size(); ++i)
    if (is_staged(bindings[i])) copy(*bindings[i].buffer, bindings[i].offset, layout.offsets[i], bytes[i]);
}

void Context::State::launch(Stream& stream, const Entry& entry, const Launch& l) const {
  stream.launch(
      *l.kernel, {entry.operands.data() + l.first, l.count},
      Operand{l.workspace_bytes > 0 ? workspace.get() : nullptr, 0, l.workspace_bytes, Access::read_write});
}

Recording* Context::State::find_recording(const Entry& entry) const {
  if (!entry.recordings.empty() && all_staged(inputs) && all_staged(outputs))
    return entry.recordings[next_slot].get();
  for (const BoundRecording& b : entry.bound)
    if (b.inputs == inputs && b.outputs == outputs) return b.recording.get();
  return nullptr;
}

/// All launches; the events, where given, are recorded after the last one that reads an input.
void Context::State::compute(Stream& stream, const Entry& entry, Event* input_consumed,
                             Event* slot_consumed) const {
  const auto note_consumed = [&] {
    if (input_consumed) stream.record(*input_consumed);
    if (slot_consumed) stream.record(*slot_consumed);
  };
  if (entry.last_input_launch < 0) note_consumed();
  if (Recording* recording = find_recording(entry)) {
    stream.replay(*recording);
    if (entry.last_input_launch >= 0) note_consumed();
    return;
  }
  for (std::size_t i = 0; i < entry.launches.size(); ++i) {
    launch(stream, entry, entry.launches[i]);
    if (static_cast<std::ptrdiff_t>(i) == entry.last_input_launch) note_consumed();
  }
}

void Context::enqueue(const Streams& given, Event& done, const EnqueueOptions& options) {
  Busy busy(state_->busy, kContext);
  State& s = *state_;
  const Streams streams =
      s.ring.empty() ? Streams{given.compute, given.compute, given.compute} : given;  // nothing is copied
  if (!s.current) throw Error(ErrorCode::misuse, "no shapes are prepared; call prepare before enqueue");
  RingSlot* slot = s.ring.empty() ? nullptr : &s.ring[s.next_slot];
  s.patch(*s.current, s.inputs, s.outputs, slot);
  try {
    // The slots' events order inferences on the same streams; on others the last one has to be over.
    if (s.in_flight && (s.last_upload != &streams.upload || s.last_compute != &streams.compute))
      for (Stream* stream : {&streams.upload, &streams.compute, &streams.download}) stream->wait(*s.finished);
    s.submit(streams, done, options, *s.current, slot);
    s.note_in_flight(streams);
  } catch (...) {
    s.give_up(streams);
    throw;
  }
  if (!s.ring.empty()) s.next_slot = (s.next_slot + 1) % s.ring.size();
}

void Context::State::submit(const Streams& streams, Event& done, const EnqueueOptions& options, Entry& entry,
                            RingSlot* slot) {
  Event* input_consumed = options.input_consumed;
  const bool overlaps =
      slot && (&streams.upload != &streams.compute || &streams.compute != &streams.download);
  const bool uploads = any_staged(inputs), downloads = any_staged(outputs);
  // What waits for memory only, before the failures of earlier inferences are put away.
  if (overlaps && slot->used) {
    streams.upload.wait(*slot->consumed);
    streams.compute.wait(*slot->emptied);
  }
  if (options.independent) streams.compute.start_item();
  if (options.inputs_ready) streams.compute.wait(*options.inputs_ready);
  if (overlaps && options.independent) {
    streams.upload.start_item();
    streams.download.start_item();
  }
  if (uploads) {
    copy_io(streams.upload, Direction::up, inputs, entry.input_bytes, entry.prepared->input_layout,
            *slot->inputs);
    if (overlaps) {
      streams.upload.record(*slot->filled);
      streams.compute.wait(*slot->filled);
    }
  }
  if (input_consumed && uploads && all_staged(inputs)) {
    streams.upload.record(*input_consumed);
    input_consumed = nullptr;
  }
  compute(streams.compute, entry, input_consumed, overlaps ? slot->consumed.get() : nullptr);
  if (overlaps) {
    streams.compute.record(*slot->computed);
    streams.download.wait(*slot->computed);
  }
  if (downloads)
    copy_io(streams.download, Direction::down, outputs, entry.output_bytes, entry.prepared->output_layout,
            *slot->outputs);
  if (overlaps) {
    streams.download.record(*slot->emptied);
    slot->used = true;
  }
  streams.download.record(done);
}

void Context::State::note_in_flight(const Streams& streams) {
  streams.download.record(*finished);
  in_flight = true;
  last_upload = &streams.upload;
  last_compute = &streams.compute;
}

void Context::State::give_up(const Streams& streams) noexcept {
  for (Stream* stream : {&streams.upload, &streams.compute, &streams.download}) {
    try {
      stream->synchronize();
    } catch (...) {  // whoever called enqueue gets the first error
    }
  }
  for (RingSlot& slot : ring) slot.used = false;
  in_flight = false;
  retired.clear();
}

}  // namespace headrace::runtime
