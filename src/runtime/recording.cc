// Recordings of a context: all launches of one shape key, once for each slot of the ring.
//
// A recording binds addresses. Inputs and outputs of a context's inferences go round its ring in one order,
// so that one recording per slot is enough: no copies between device buffers, and their number is that of the
// ring's slots (2 by default), not that of inputs times outputs.
#include <algorithm>
#include <cstring>

#include <headrace/error.h>

#include "base/log.h"
#include "runtime/context_state.h"

namespace headrace::runtime {
namespace {

/// Whatever fails: what was submitted ends before the memory that it uses is given back.
struct Settle {
  Stream& stream;
  ~Settle() {
    try {
      stream.synchronize();
    } catch (...) {  // the failure is on its way already
    }
  }
};

}  // namespace

void Context::State::drop_recordings(std::size_t keep) {
  for (Entry& entry : entries) {
    if (entry.recordings.empty()) continue;
    if (keep > 0) {
      --keep;
      continue;
    }
    engine->state().stats.dropped.fetch_add(entry.recordings.size() + entry.bound.size(),
                                            std::memory_order_relaxed);
    entry.recordings.clear();
    entry.bound.clear();
    entry.generation = 0;  // recorded again when it is prepared again
  }
}

void Context::State::record(Entry& entry) {
  const Engine::State& owner = engine->state();
  Device& device = *owner.device;
  if (!entry.recordings.empty() || !entry.bound.empty()) drain();
  entry.recordings.clear();
  entry.bound.clear();
  if (!device.can_record() || ring.empty() || entry.launches.empty() || owner.max_recordings < ring.size())
    return;
  drain();
  drop_recordings(owner.max_recordings / ring.size() - 1);
  if (!recorder) recorder = device.make_stream({.name = "record"});
  // Once for real, on zeros: vendors load kernels when they first run, which a capture does not allow.
  if (const std::size_t bytes = entry.prepared->input_layout.size_bytes; bytes > 0) {
    const BufferRef zeros = device.allocate(bytes, MemoryKind::pinned, MemoryUse::io);
    const Settle settle{*recorder};
    std::memset(zeros->host_data(), 0, bytes);
    for (const RingSlot& slot : ring)
      recorder->copy({slot.inputs.get(), 0, bytes, Access::write}, {zeros.get(), 0, bytes, Access::read});
    recorder->synchronize();
  }
  const auto launch_all = [&] {
    for (const Launch& l : entry.launches) launch(*recorder, entry, l);
  };
  const Settle settle{*recorder};
  patch_ring(entry, ring.front());
  launch_all();
  recorder->synchronize();
  std::vector<std::unique_ptr<Recording>> made;  // all of them or none
  try {
    for (const RingSlot& slot : ring) {
      patch_ring(entry, slot);
      made.push_back(recorder->make_recording(launch_all));
      owner.stats.recorded.fetch_add(1, std::memory_order_relaxed);
    }
    entry.recordings = std::move(made);
  } catch (const Error& e) {
    owner.stats.count_unrecorded(e.what());
    log(LogSeverity::warning, "these shapes run launch by launch, they could not be recorded: ", e.what());
  }
}

void Context::record_bound() {
  Busy busy(state_->busy, kContext);
  State& s = *state_;
  if (!s.current) throw Error(ErrorCode::misuse, "no shapes are prepared; call prepare before record_bound");
  Entry& entry = *s.current;
  s.patch(entry, s.inputs, s.outputs, nullptr);
  // No recording of the ring's slots: this device does not record, or not these shapes, or was told not to.
  if (entry.recordings.empty() || s.any_staged(s.inputs) || s.any_staged(s.outputs) ||
      s.find_recording(entry))
    return;
  s.drain();  // what is dropped may be running
  if (entry.bound.size() == State::kMaxBound) entry.bound.erase(entry.bound.begin());
  entry.bound.push_back({s.inputs, s.outputs, s.recorder->make_recording([&] {
                           for (const Launch& l : entry.launches) s.launch(*s.recorder, entry, l);
                         })});
  s.engine->state().stats.recorded.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace headrace::runtime
