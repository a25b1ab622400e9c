// Recordings (CUDA graphs): D-49 to D-57.
#include <cmath>

#include "runtime/engine_state.h"
#include "seedway/session_util.h"

namespace headrace::seedway {
namespace {

using sim::Call;

struct Loop {
  explicit Loop(Rig& r)
      : rig(r),
        compute(r.stream("compute")),
        copy(r.stream("copy")),
        in(r.empty(MemoryKind::device)),
        out(r.empty(MemoryKind::device)),
        host_in(r.pinned(0)),
        host_out(r.empty(MemoryKind::pinned)) {}
  Rig& rig;
  std::unique_ptr<Stream> compute, copy;
  BufferRef in, out, host_in, host_out;
};

// D-49: captured on every inference.
TEST(T_GRAPH_ONCE, seedway) {
  explore(
      [] {
        Rig rig;
        Loop l(rig);
        for (int k = 0; k < 100; ++k) {
          const auto recording = l.compute->make_recording([&] { rig.compute(*l.compute, k, l.in, l.out); });
          l.compute->replay(*recording);
          l.compute->synchronize();
        }
        EXPECT_EQ(rig.sim->counters().of(Call::make_recording), 100u);
      },
      1);
}
TEST(T_GRAPH_ONCE, ours) {
  explore(
      [] {
        testing::SimEngine sim(session_options());
        {
          Session session{sim.engine, {.slots = 2}};
          session.prepare(kShape);
          const auto captured = sim.device->counters().of(Call::make_recording);
          EXPECT_GE(captured, 1u);
          for (int k = 0; k < 100; ++k)
            EXPECT_EQ(value_of(submit(session, static_cast<float>(k)).get()), f(static_cast<float>(k)));
          EXPECT_EQ(sim.device->counters().of(Call::make_recording), captured);
          EXPECT_EQ(sim.device->counters().of(Call::replay), 100u);
        }
      },
      1);
}

/// Allocates its workspace the first time it is launched, as libraries do.
class LazyKernel final : public Kernel, public sim::HostSide {
 public:
  void on_launch(Device& device) const override {
    if (!workspace_) workspace_ = device.allocate(64, MemoryKind::device, MemoryUse::workspace);
  }
  void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override {}
  std::string_view name() const override { return "lazy"; }

 private:
  mutable BufferRef workspace_;
};

// D-50, D-55: no run before the capture.
TEST(T_GRAPH_COLD, seedway) {
  explore([] {
    Rig rig;
    const LazyKernel lazy;
    auto s = rig.stream("compute");
    EXPECT_EQ(test::code_of([&] { auto r = s->make_recording([&] { s->launch(lazy, {}, {}); }); }),
              ErrorCode::misuse);
  });
}
TEST(T_GRAPH_COLD, ours) {
  explore([] {
    Rig rig;
    const LazyKernel lazy;
    auto s = rig.stream("compute");
    s->launch(lazy, {}, {});  // as Context::prepare does
    s->synchronize();
    const auto recording = s->make_recording([&] { s->launch(lazy, {}, {}); });
    s->replay(*recording);
    s->synchronize();
    EXPECT_EQ(recording->nodes(), 1u);
  });
}

/// Whether a capture succeeds while another thread allocates.
bool capture_beside_a_neighbour(bool global) {
  Rig rig({.spec = kSpec, .global_capture = global});
  Loop l(rig);
  sched::Mutex mutex{"test"};
  sched::CondVar changed{"test.changed"};
  bool inside = false, allocated = false;
  sched::Thread neighbour("neighbour", [&] {
    sched::UniqueLock lock(mutex);
    changed.wait(lock, [&] { return inside; });
    try {
      static_cast<void>(rig.sim->allocate(64, MemoryKind::device, MemoryUse::io));
    } catch (const Error&) {
    }
    allocated = true;
    changed.notify_all();
  });
  bool captured = true;
  try {
    const auto recording = l.compute->make_recording([&] {
      rig.compute(*l.compute, 0, l.in, l.out);
      sched::UniqueLock lock(mutex);
      inside = true;
      changed.notify_all();
      changed.wait(lock, [&] { return allocated; });
    });
  } catch (const Error&) {
    captured = false;
  }
  neighbour.join();
  return captured;
}
// D-51: global capture mode.
TEST(T_GRAPH_NEIGHBOUR, seedway) {
  explore([] { EXPECT_FALSE(capture_beside_a_neighbour(true)); });
}
TEST(T_GRAPH_NEIGHBOUR, ours) {
  explore([] { EXPECT_TRUE(capture_beside_a_neighbour(false)); });
}

// D-52: a failed capture is launched all the same, and "ready" is published.
TEST(T_GRAPH_FALLBACK, seedway) {
  explore([] {
    Rig rig;
    Loop l(rig);
    Rig::fill(l.host_out, -1);
    rig.sim->inject({.call = Call::make_recording});
    l.copy->copy(write(l.in), read(l.host_in));
    l.copy->synchronize();
    std::unique_ptr<Recording> recording;
    try {
      recording = l.compute->make_recording([&] { rig.compute(*l.compute, 0, l.in, l.out); });
    } catch (const Error&) {
    }
    if (recording) l.compute->replay(*recording);  // the launch of nothing fails, and nobody looks
    l.compute->copy(write(l.host_out), read(l.out));
    l.compute->synchronize();
    EXPECT_NE(rig.look(l.host_out, "result"), f(0));
  });
}
TEST(T_GRAPH_FALLBACK, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine, {.slots = 2}};
    sim.device->inject({.call = Call::make_recording});
    EXPECT_EQ(value_of(submit(session, 5).get()), f(5));
    EXPECT_EQ(sim.device->counters().of(Call::replay), 0u) << "launch by launch";
    EXPECT_EQ(sim.engine.data()->state().stats.unrecorded, 1u) << "and it is counted";
  });
}

// D-53: the input-consumed event is recorded inside the capture.
TEST(T_GRAPH_ORDER, seedway) {
  explore([] {
    Rig rig;
    Loop l(rig);
    const EventRef consumed = rig.event(), copied = rig.event();
    l.copy->copy(write(l.in), read(l.host_in));
    l.copy->record(*copied);
    copied->wait();
    const auto recording =
        l.compute->make_recording([&] { rig.compute(*l.compute, 0, l.in, l.out, consumed.get()); });
    l.compute->replay(*recording);
    EXPECT_EQ(test::code_of([&] { l.copy->wait(*consumed); }), ErrorCode::misuse);  // dropped, there
    const BufferRef next = rig.pinned(1);
    l.copy->copy(write(l.in), read(next));
    EXPECT_EQ(rig.pairs, (std::set<std::string>{"compute 0 / H2D 1"}));
    l.copy->synchronize();
    l.compute->synchronize();
  });
}
TEST(T_GRAPH_ORDER, ours) {  // recorded on the stream, behind the replay
  explore([] {
    Rig rig;
    Loop l(rig);
    const EventRef consumed = rig.event(), copied = rig.event();
    const auto recording = l.compute->make_recording([&] { rig.compute(*l.compute, 0, l.in, l.out); });
    std::vector<BufferRef> data;
    for (int k = 0; k < 3; ++k) {
      data.push_back(rig.pinned(static_cast<float>(k)));
      if (k > 0) l.copy->wait(*consumed);
      l.copy->copy(write(l.in), read(data.back()));
      l.copy->record(*copied);
      l.compute->wait(*copied);
      l.compute->replay(*recording);
      l.compute->record(*consumed);
      l.compute->copy(write(l.host_out), read(l.out));
      l.compute->synchronize();
      EXPECT_EQ(rig.look(l.host_out, "result"), f(static_cast<float>(k)));
    }
    EXPECT_EQ(rig.pairs, std::set<std::string>{});
  });
}

// D-57: a graph fixes shapes and addresses.
TEST(T_GRAPH_SHAPES, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine, {.slots = 1}};
    int value = 0;
    for (const std::int64_t rows : {8, 3, 8}) {
      const OutputLease out = submit(session, static_cast<float>(++value), {{"x", {rows, 4}}}).get();
      EXPECT_EQ(out["y"].shape(), (Shape{rows, 4}));
      EXPECT_EQ(value_of(out), f(static_cast<float>(value)));
    }
  });
}

}  // namespace
}  // namespace headrace::seedway
