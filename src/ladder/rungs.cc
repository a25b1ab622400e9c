#include "ladder/rungs.h"

#include <algorithm>
#include <deque>

#include "base/hooks.h"

namespace headrace::ladder {

const std::vector<Rung>& rungs() {
  static const std::vector<Rung> list = {
      {.id = "0",
       .name = "baseline: memory made and freed per batch",
       .batches = MemoryKind::host,
       .run = blocking_with_allocation},
      {.id = "1", .name = "memory made once", .batches = MemoryKind::host, .run = blocking},
      {.id = "2", .name = "inputs in pinned memory", .run = blocking},
      {.id = "2s", .name = "inputs staged into pinned memory", .batches = MemoryKind::host, .run = staged},
      {.id = "3", .name = "computing in fp16", .variant = Variant::fp16, .run = blocking},
      {.id = "4", .name = "upload under compute, one input", .variant = Variant::fp16, .run = overlapped},
      {.id = "4r", .name = "a ring of inputs, downloads apart", .variant = Variant::fp16, .run = lockstep},
      {.id = "5", .name = "post-processing on its own thread", .variant = Variant::fp16, .run = threaded},
      {.id = "6",
       .name = "session: recorded once, replayed",
       .variant = Variant::fp16,
       .recorded = true,
       .run = session},
      {.id = "7",
       .name = "session with two contexts",
       .variant = Variant::fp16,
       .recorded = true,
       .contexts = 2,
       .run = two_contexts},
      {.id = "8",
       .name = "two profiles in one run",
       .variant = Variant::fp16,
       .small_first = true,
       .run = two_profiles},
      {.id = "9",
       .name = "inputs uploaded as bytes",
       .variant = Variant::narrow,
       .recorded = true,
       .run = session},
  };
  return list;
}

namespace {

/// One batch after the other, every step awaited, on memory of the caller.
struct Blocking {
  explicit Blocking(Rig& r)
      : rig(r), context(r.make_context()), stream(r.stream("compute")), done(r.event()) {
    context.prepare(rig.shapes(rig.rows()));
  }
  void run(int k, const Io& src, const Io& in, const Io& out, const Io& host_out, Delivery& delivery) {
    Rig::copy(*stream, in, src);
    stream->synchronize();
    Rig::enqueue(context, *stream, in, out, *done, nullptr, delivery);
    Rig::copy(*stream, host_out, out);
    stream->synchronize();
    rig.post(k, host_out, rig.rows(), delivery);
  }
  Rig& rig;
  runtime::Context context;
  std::unique_ptr<Stream> stream;
  EventRef done;
};

}  // namespace

void blocking_with_allocation(Rig& rig, int batches, Delivery& delivery) {
  Blocking b(rig);
  const Io host_out = rig.make_outputs(MemoryKind::host);
  for (int k = 0; k < batches; ++k) {
    delivery.submit(k);
    const auto [in, out] = rig.make_block();
    b.run(k, rig.batch(k), in, out, host_out, delivery);
  }
}

void blocking(Rig& rig, int batches, Delivery& delivery) {
  Blocking b(rig);
  const bool pinned = rig.batch(0).buffers.front()->kind() == MemoryKind::pinned;
  const Io in = rig.make_inputs(MemoryKind::device), out = rig.make_outputs(MemoryKind::device);
  const Io host_out = rig.make_outputs(pinned ? MemoryKind::pinned : MemoryKind::host);
  for (int k = 0; k < batches; ++k) {
    delivery.submit(k);
    b.run(k, rig.batch(k), in, out, host_out, delivery);
  }
}

void staged(Rig& rig, int batches, Delivery& delivery) {
  Blocking b(rig);
  const Io in = rig.make_inputs(MemoryKind::device), out = rig.make_outputs(MemoryKind::device);
  const Io host_in = rig.make_inputs(MemoryKind::pinned), host_out = rig.make_outputs(MemoryKind::pinned);
  for (int k = 0; k < batches; ++k) {
    delivery.submit(k);
    rig.stage(host_in, rig.batch(k));
    b.run(k, host_in, in, out, host_out, delivery);
  }
}

// Two streams, one input: the next upload starts when this computation has consumed the input. The event that
// says so is an argument of the enqueue.
void overlapped(Rig& rig, int batches, Delivery& delivery) {
  runtime::Context context = rig.make_context();
  context.prepare(rig.shapes(rig.rows()));
  const auto compute = rig.stream("compute"), upload = rig.stream("upload");
  const EventRef copied = rig.event(), consumed = rig.event(), done = rig.event(), ready = rig.event();
  const Io in = rig.make_inputs(MemoryKind::device), out = rig.make_outputs(MemoryKind::device);
  const Io host_out = rig.make_outputs(MemoryKind::pinned);
  const auto load = [&](int k) {
    delivery.submit(k);
    Rig::copy(*upload, in, rig.batch(k));
    upload->record(*copied);
  };
  load(0);
  for (int k = 0; k < batches; ++k) {
    compute->wait(*copied);
    Rig::enqueue(context, *compute, in, out, *done, consumed.get(), delivery);
    if (k + 1 < batches) {
      upload->wait(*consumed);
      load(k + 1);
    }
    Rig::copy(*compute, host_out, out);
    compute->record(*ready);
    ready->wait();
    rig.post(k, host_out, rig.rows(), delivery);
  }
}

// One thread, one turn at a time: while batch k is computed, k + 1 goes up and k - 1 comes down, each on a
// stream of its own; then the thread post-processes k - 1.
void lockstep(Rig& rig, int batches, Delivery& delivery) {
  constexpr int kRing = 2;
  runtime::Context context = rig.make_context();
  context.prepare(rig.shapes(rig.rows()));
  const auto compute = rig.stream("compute"), upload = rig.stream("upload"),
             download = rig.stream("download");
  const EventRef copied = rig.event(), done = rig.event(), ready = rig.event();
  Io in[kRing], out[kRing];
  for (int s = 0; s < kRing; ++s) {
    in[s] = rig.make_inputs(MemoryKind::device);
    out[s] = rig.make_outputs(MemoryKind::device);
  }
  const Io host_out = rig.make_outputs(MemoryKind::pinned);
  for (int turn = 0; turn < batches + 2; ++turn) {
    const int up = turn, run = turn - 1, down = turn - 2;
    if (up < batches) {
      delivery.submit(up);
      Rig::copy(*upload, in[up % kRing], rig.batch(up));
      upload->record(*copied);
    }
    if (run >= 0 && run < batches)
      Rig::enqueue(context, *compute, in[run % kRing], out[run % kRing], *done, nullptr, delivery);
    if (down >= 0) {
      Rig::copy(*download, host_out, out[down % kRing]);
      download->record(*ready);
    }
    if (up < batches) copied->wait();
    if (run >= 0 && run < batches) done->wait();
    if (down < 0) continue;
    ready->wait();
    rig.post(down, host_out, rig.rows(), delivery);
  }
}

namespace {

/// Numbers of slots on their way from one thread to another.
class SlotQueue {
 public:
  void put(int slot) {
    {
      sched::LockGuard lock(mutex_);
      hooks::release(this);
      slots_.push_back(slot);
    }
    changed_.notify_one();
  }
  int get() {
    sched::UniqueLock lock(mutex_);
    changed_.wait(lock, [&] { return !slots_.empty(); });
    hooks::acquire(this);
    const int slot = slots_.front();
    slots_.pop_front();
    return slot;
  }

 private:
  sched::Mutex mutex_{"ladder.slots"};
  sched::CondVar changed_{"ladder.slots.changed"};
  std::deque<int> slots_;
};

/// A ring of sets, each with its own events. The submitting thread waits only for a set that is free; results
/// are post-processed on another thread.
class Ring {
 public:
  explicit Ring(Rig& r)
      : rig(r), compute(r.stream("compute")), upload(r.stream("upload")), download(r.stream("download")) {
    for (Slot& s : slots)
      s = {r.make_inputs(MemoryKind::device),
           r.make_outputs(MemoryKind::device),
           r.make_outputs(MemoryKind::pinned),
           r.event(),
           r.event(),
           r.event(),
           r.event()};
  }
  /// Batches [first, last), of `rows` rows, through a context that is prepared for them.
  void run(runtime::Context& context, int first, int last, std::int64_t rows, Delivery& delivery) {
    SlotQueue free, ready;
    for (int s = 0; s < kSlots; ++s) free.put(s);
    sched::Thread poster("post", [&] {
      for (int n = first; n < last; ++n) {
        const int s = ready.get();
        slots[s].ready->wait();
        rig.post(slots[s].batch, rig.rows_of(slots[s].host_out, rows), rows, delivery);
        free.put(s);
      }
    });
    for (int k = first; k < last; ++k) {
      const int s = free.get();
      submit(context, slots[s], k, rows, delivery);
      ready.put(s);
    }
    poster.join();
  }

 private:
  static constexpr int kSlots = 5;  // one in each of four stages, and one to spare
  struct Slot {
    Io in, out, host_out;
    EventRef copied, consumed, done, ready;
    int batch = -1;
  };
  void submit(runtime::Context& context, Slot& slot, int k, std::int64_t rows, Delivery& delivery) {
    delivery.submit(k);
    if (slot.batch >= 0) upload->wait(*slot.consumed);
    slot.batch = k;
    Rig::copy(*upload, rig.rows_of(slot.in, rows), rig.batch(k));
    upload->record(*slot.copied);
    compute->wait(*slot.copied);
    Rig::enqueue(context, *compute, slot.in, slot.out, *slot.done, slot.consumed.get(), delivery);
    download->wait(*slot.done);
    Rig::copy(*download, rig.rows_of(slot.host_out, rows), slot.out);
    download->record(*slot.ready);
  }
  Rig& rig;
  std::unique_ptr<Stream> compute, upload, download;
  Slot slots[kSlots];
};

}  // namespace

void threaded(Rig& rig, int batches, Delivery& delivery) {
  runtime::Context context = rig.make_context();
  context.prepare(rig.shapes(rig.rows()));
  Ring(rig).run(context, 0, batches, rig.rows(), delivery);
}

// As many small batches as the ladder has, then full ones, each through the profile that was tuned for its
// size.
void two_profiles(Rig& rig, int batches, Delivery& delivery) {
  const std::int64_t rows = small_batch(rig.rows());
  const int small = rig.machine.options.batches;
  runtime::Context context = rig.make_context();
  context.prepare(rig.shapes(rig.rows()));
  context.prepare(rig.shapes(rows));
  Ring ring(rig);
  const std::uint64_t before = rig.device().memory().allocations;
  ring.run(context, 0, small, rows, delivery);
  context.prepare(rig.shapes(rig.rows()));
  ring.run(context, small, batches, rig.rows(), delivery);
  delivery.allocations_outside = rig.device().memory().allocations - before;
}

}  // namespace headrace::ladder
