// Copies and memory: D-13 to D-26.
#include <cmath>
#include <type_traits>

#include "compiler/compiler.h"
#include "graph/graph.h"
#include "ladder/model.h"
#include "runtime/engine.h"
#include "seedway/overlap.h"
#include "seedway/session_util.h"

namespace headrace::seedway {
namespace {

/// One stream and one set of buffers, everything awaited.
struct Loop {
  explicit Loop(Rig& r)
      : rig(r),
        stream(r.stream("compute")),
        in(r.empty(MemoryKind::device)),
        out(r.empty(MemoryKind::device)),
        host_out(r.empty(MemoryKind::pinned)) {}
  float compute_and_fetch(int k) {
    rig.compute(*stream, k, in, out);
    stream->copy(write(host_out), read(out));
    stream->synchronize();
    return rig.look(host_out, "result");
  }
  Rig& rig;
  std::unique_ptr<Stream> stream;
  BufferRef in, out, host_out;
};

// D-13: uploads labelled as downloads. The driver refuses the call, and nobody looks at its status.
TEST(T_DIRECTION, seedway) {
  explore([] {
    Rig rig;
    Loop loop(rig);
    EXPECT_TRUE(std::isnan(loop.compute_and_fetch(0))) << "computed from memory that was never written";
  });
}
TEST(T_DIRECTION, ours) {  // no direction can be given; it follows from the memory
  static_assert(std::is_same_v<decltype(&Stream::copy), void (Stream::*)(const Operand&, const Operand&)>);
  explore([] {
    Rig rig;
    Loop loop(rig);
    const BufferRef host = rig.pinned(3);
    loop.stream->copy(write(loop.in), read(host));
    EXPECT_EQ(loop.compute_and_fetch(0), f(3));
    EXPECT_EQ(rig.sim->counters().uploads, 1u);
    EXPECT_EQ(rig.sim->counters().downloads, 1u);
  });
}

// D-14: the last batch is uploaded twice, and its memory freed in flight.
TEST(T_COPY_COUNT, seedway) {
  explore([] { EXPECT_EQ(overlap_seedway({.batches = 10}).uploads, 11u); }, 5);
}
TEST(T_COPY_COUNT, ours) {
  explore([] { EXPECT_EQ(overlap_ours({.batches = 10}).uploads, 10u); }, 5);
}
TEST(T_DRAIN, seedway) {
  explore([] {
    Rig rig;
    auto copy = rig.stream("copy");
    const BufferRef host = rig.pinned(1);
    BufferRef in = rig.empty(MemoryKind::device);
    copy->copy(write(in), read(host));
    in.reset();
    copy->synchronize();
    EXPECT_EQ(rig.sim->violations().size(), 1u);
  });
}
TEST(T_DRAIN, ours) {
  explore([] {
    testing::SimEngine sim(session_options(), true);
    std::vector<Ticket> tickets;
    {
      Session session{sim.engine, {.slots = 3}};
      for (int k = 0; k < 3; ++k) tickets.push_back(submit(session, static_cast<float>(k)));
    }  // destroyed with everything in flight
    EXPECT_EQ(sim.device->live().operations, 0);
    for (int k = 0; k < 3; ++k)
      EXPECT_EQ(value_of(tickets[static_cast<std::size_t>(k)].get()), f(static_cast<float>(k)));
    expect_clean(sim);
  });
}

// D-15: "asynchronous" copies of pageable memory.
TEST(T_PINNED_ONLY, seedway) {
  explore([] {
    Rig rig;
    auto copy = rig.stream("copy");
    const BufferRef pageable = rig.empty(MemoryKind::host), in = rig.empty(MemoryKind::device);
    const double before = rig.ms();
    copy->copy(write(in), read(pageable));
    EXPECT_DOUBLE_EQ(rig.ms() - before, kSpec.upload_pageable_ms) << "the host stood still";
  });
}
TEST(T_PINNED_ONLY, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine, {.slots = 2}};
    session.prepare(kShape);
    static_cast<void>(submit(session, 1).get());
    EXPECT_EQ(sim.device->counters().pageable_copies, 0u);
  });
}

// D-16: the pinned array is swapped for whatever comes.
TEST(T_PIN_STAYS, seedway) {
  explore([] {
    Rig rig;
    Loop loop(rig);
    BufferRef host = rig.pinned(1);
    host = rig.empty(MemoryKind::host);  // "bufferH[0] = data"
    Rig::fill(host, 2);
    const double before = rig.ms();
    loop.stream->copy(write(loop.in), read(host));
    loop.stream->synchronize();
    EXPECT_DOUBLE_EQ(rig.ms() - before, kSpec.upload_pageable_ms) << "the pinned path is gone, unnoticed";
  });
}
TEST(T_PIN_STAYS, ours) {  // a lease's memory is fixed; only its contents change
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine, {.slots = 1}};
    session.prepare(kShape);
    std::set<const std::byte*> seen;
    for (int k = 0; k < 3; ++k) {
      const std::vector<float> pageable(8, static_cast<float>(k));
      InputLease lease = session.acquire(kShape);
      seen.insert(lease["x"].data());
      std::copy(pageable.begin(), pageable.end(), lease["x"].as<float>().begin());
      EXPECT_EQ(value_of(session.submit(std::move(lease)).get()), f(static_cast<float>(k)));
    }
    EXPECT_EQ(seen.size(), 1u);
    EXPECT_EQ(sim.device->counters().pageable_copies, 0u);
  });
}

// D-17: shapes and sizes of the first batch for all that follow.
TEST(T_RAGGED, seedway) {
  explore([] {
    Rig rig;
    Loop loop(rig);
    const BufferRef host = rig.pinned(1);
    loop.stream->copy(write(loop.in), read(host));
    EXPECT_EQ(loop.compute_and_fetch(0), f(1));
    Rig::fill(host, 2);  // the last batch has three rows
    loop.stream->copy({loop.in.get(), 0, 12, Access::write}, {host.get(), 0, 12, Access::read});
    EXPECT_TRUE(std::isnan(loop.compute_and_fetch(1))) << "three rows of it, and five of the batch before";
  });
}
TEST(T_RAGGED, ours) {
  explore([] {
    testing::SimEngine sim(session_options(), true);
    Session session{sim.engine, {.slots = 2}};
    int value = 0;
    for (const std::int64_t rows : {8, 8, 3}) {
      const OutputLease out = submit(session, static_cast<float>(++value), {{"x", {rows, 4}}}).get();
      EXPECT_EQ(out["y"].shape(), (Shape{rows, 4}));
      EXPECT_EQ(value_of(out), f(static_cast<float>(value)));
    }
    expect_clean(sim);
  });
}
TEST(T_OVERFLOW, seedway) {
  explore([] {
    Rig rig;
    Loop loop(rig);
    TimedKernel larger("larger batch", 1, [](auto data) { std::memset(data[0], 0, kBytes + 4); });
    Rig::launch(*loop.stream, larger, {write(loop.in)});
    loop.stream->synchronize();
    EXPECT_EQ(rig.sim->violations().size(), 1u) << "the red zone behind the buffer";
  });
}
TEST(T_OVERFLOW, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine, {.slots = 1}};
    EXPECT_EQ(test::code_of([&] {
                static_cast<void>(session.acquire({{"x", {9, 4}}}));
              }),
              ErrorCode::invalid_argument);
    Rig rig;
    auto copy = rig.stream("copy");
    const BufferRef in = rig.empty(MemoryKind::device);
    const BufferRef larger = rig.device->allocate(kBytes + 4, MemoryKind::pinned, MemoryUse::io);
    EXPECT_EQ(test::code_of([&] { copy->copy(write(in), read(larger)); }), ErrorCode::misuse);
  });
}

// D-18: buffers of another type than the engine's.
TEST(T_DTYPE, seedway) {
  explore([] {
    Rig rig;
    Loop loop(rig);
    const BufferRef half = rig.device->allocate(kBytes / 2, MemoryKind::device, MemoryUse::io);
    TimedKernel engine("engine", 1, [](auto data) { std::memset(data[0], 0, kBytes); });  // keeps its fp32
    Rig::launch(*loop.stream, engine, {write(half)});
    loop.stream->synchronize();
    EXPECT_EQ(rig.sim->violations().size(), 1u);
  });
}
TEST(T_DTYPE, ours) {
  explore(
      [] {
        testing::SimEngine sim;
        Session session{sim.engine, {.slots = 1}};
        const InputLease lease = session.acquire(kShape);
        EXPECT_EQ(lease["x"].dtype(), DType::f32);
        EXPECT_EQ(test::code_of([&] { static_cast<void>(lease["x"].as<double>()); }),
                  ErrorCode::invalid_argument);
        EXPECT_EQ(test::code_of([&] { static_cast<void>(lease["x"].as<std::int32_t>()); }),
                  ErrorCode::invalid_argument);
      },
      2);
}

// D-19: volume times the largest batch.
TEST(T_VOLUME, seedway) {
  const testing::SimEngine sim;
  const TensorInfo& x = sim.engine.inputs()[0];
  std::int64_t elements = x.max[0];
  for (const std::int64_t extent : x.shape) elements *= extent;
  EXPECT_LE(elements, 0) << "a dynamic extent is -1";
}
TEST(T_VOLUME, ours) {
  testing::SimEngine sim;
  Session session{sim.engine, {.slots = 1}};
  EXPECT_EQ(session.acquire({{"x", {3, 4}}})["x"].size_bytes(), 3 * 4 * sizeof(float));
}

// D-21: outputs lose their shape.
TEST(T_SHAPE, ours) {
  testing::SimEngine sim;
  Session session{sim.engine, {.slots = 1}};
  EXPECT_EQ(submit(session, 1).get()["y"].shape(), (Shape{2, 4}));
}

// D-22: pinned memory under a magic device number.
TEST(T_KIND, ours) {  // a kind of its own; what a kernel cannot reach is refused
  explore(
      [] {
        Rig rig;
        auto s = rig.stream("compute");
        EXPECT_EQ(rig.pinned(1)->kind(), MemoryKind::pinned);
        const BufferRef pageable = rig.empty(MemoryKind::host), out = rig.empty(MemoryKind::device);
        EXPECT_EQ(test::code_of([&] { rig.compute(*s, 0, pageable, out); }), ErrorCode::misuse);
      },
      2);
}

// D-26: the price of pinning.
TEST(T_STAGING, ours) {  // the ring is bounded: never more pinned memory than slots need
  testing::SimEngine sim;
  Session session{sim.engine, {.slots = 3}};
  session.prepare(kShape);
  for (int k = 0; k < 50; ++k) static_cast<void>(submit(session, static_cast<float>(k)).get());
  const MemoryStats memory = sim.device->memory();
  const std::size_t batch = 2 * 4 * sizeof(float), per_slot = 2 * batch;  // input and output
  const std::size_t on_device = 2 * 2 * 2 * batch;                        // contexts may keep a ring of both
  EXPECT_LE(memory.high_water[static_cast<int>(MemoryUse::io)], 3 * per_slot + on_device + batch);
}

/// y0 = relu(x), y1 = relu(x) + 1, ...: nine outputs.
std::shared_ptr<const Plan> nine_outputs() {
  Graph graph;
  const ValueId x = graph.add_input("x", {DType::f32, {2, 4}});
  for (int i = 0; i < 9; ++i) {
    PwExpr expr;
    const auto relu = expr.op(PwOp::relu, DType::f32, expr.load(0, DType::f32));
    expr.op(PwOp::add, DType::f32, relu, expr.constant(i, DType::f32));
    graph.add_output("y" + std::to_string(i), graph.add1(Pointwise{expr}, {x}));
  }
  return std::make_shared<const Plan>(
      compiler::compile(std::move(graph), api::registry(), {.device = "reference", .opt_level = 0}));
}
// D-23: nine copies for nine outputs.
TEST(T_ARENA, seedway) {
  const auto plan = nine_outputs();
  explore([&] {
    testing::SimEngine sim(session_options(), false, plan);
    const runtime::EngineRef& engine = sim.engine.data();
    runtime::Context context(engine);
    const auto stream = engine->device().make_stream({.name = "s"});
    const EventRef done = engine->device().make_event();
    context.prepare({});
    const auto pinned = [&] { return engine->device().allocate(kBytes, MemoryKind::pinned, MemoryUse::io); };
    context.bind_input(0, pinned());
    for (std::size_t i = 0; i < 9; ++i) context.bind_output(i, pinned());
    context.enqueue(*stream, *done);
    done->wait();
    EXPECT_EQ(sim.device->counters().downloads, 9u);
  });
}
TEST(T_ARENA, ours) {
  const auto plan = nine_outputs();
  explore([&] {
    testing::SimEngine sim(session_options(), true, plan);
    Session session{sim.engine, {.slots = 2}};
    session.prepare({});
    const std::uint64_t before = sim.device->counters().downloads;
    const OutputLease out = submit(session, 3, {}).get();
    EXPECT_EQ(sim.device->counters().downloads, before + 1);
    for (int i = 0; i < 9; ++i)
      EXPECT_EQ(out["y" + std::to_string(i)].as<float>()[7], 3.0f + static_cast<float>(i));
    expect_clean(sim);
  });
}

// D-25: memory for the largest batch, whatever runs.
TEST(T_ARENA_SIZE, ours) {
  LadderOptions options;
  options.batch = 256;
  const auto plan = ladder::make_plan(options, "reference", ladder::Variant::fp32, api::registry());
  const auto engine = runtime::Engine::create(plan, api::registry(), {.threads = 1});
  runtime::Context context(engine), other(engine);
  const std::uint64_t full = context.prepare({{"x", {256, 48}}}).arena_bytes;
  EXPECT_LE(other.prepare({{"x", {128, 48}}}).arena_bytes, 0.55 * static_cast<double>(full));
  EXPECT_GT(full, 0u);
}

// D-47: memory of the whole process for that of the model.
TEST(T_MEM_SUM, ours) {
  const auto device = sim::make_device({.spec = sim::Spec::instant()});
  std::vector<BufferRef> buffers;
  std::size_t total = 0;
  for (const MemoryUse use :
       {MemoryUse::weights, MemoryUse::activations, MemoryUse::io, MemoryUse::workspace}) {
    buffers.push_back(device->allocate(100 + buffers.size(), MemoryKind::device, use));
    total += buffers.back()->size_bytes();
    EXPECT_EQ(device->memory().current[static_cast<int>(use)], buffers.back()->size_bytes());
  }
  std::size_t sum = 0;
  for (const std::size_t bytes : device->memory().current) sum += bytes;
  EXPECT_EQ(sum, total);
}

// D-60: one profile is enough to need no new memory.
TEST(T_ONE_PROFILE_NOALLOC, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine, {.slots = 1}};
    session.prepare({{"x", {8, 4}}});
    session.prepare({{"x", {3, 4}}});
    static_cast<void>(submit(session, 1, {{"x", {8, 4}}}).get());
    const std::uint64_t before = sim.device->memory().allocations;
    for (const std::int64_t rows : {3, 8, 3, 8})
      static_cast<void>(submit(session, 1, {{"x", {rows, 4}}}).get());
    EXPECT_EQ(sim.device->memory().allocations, before);
  });
}

// D-64: two contexts on one profile.
TEST(T_SHARE, ours) {
  explore([] {
    testing::SimEngine sim(session_options(), true);
    const runtime::EngineRef& engine = sim.engine.data();
    Device& device = engine->device();
    struct Side {
      runtime::Context context;
      std::unique_ptr<Stream> stream;
      EventRef done;
      BufferRef in, out;
    };
    std::vector<Side> sides;
    for (int i = 0; i < 2; ++i) {
      sides.push_back({runtime::Context(engine), device.make_stream({.name = "s" + std::to_string(i)}),
                       device.make_event(), device.allocate(kBytes, MemoryKind::pinned, MemoryUse::io),
                       device.allocate(kBytes, MemoryKind::pinned, MemoryUse::io)});
      Rig::fill(sides[static_cast<std::size_t>(i)].in, static_cast<float>(i));
    }
    for (Side& s : sides) {
      s.context.prepare(kShape);
      s.context.bind_input(0, s.in);
      s.context.bind_output(0, s.out);
    }
    for (Side& s : sides) s.context.enqueue(*s.stream, *s.done);
    for (int i = 0; i < 2; ++i) {
      const Side& s = sides[static_cast<std::size_t>(i)];
      s.done->wait();
      EXPECT_EQ(s.context.used_profile(), 0u);
      EXPECT_EQ(*reinterpret_cast<const float*>(s.out->host_data()), f(static_cast<float>(i)));
    }
    expect_clean(sim);
  });
}

// D-68: only the input is marked dynamic.
TEST(T_INFER_BATCH, ours) {
  const testing::SimEngine sim;
  EXPECT_EQ(sim.engine.outputs()[0].shape, (Shape{-1, 4}));
  EXPECT_EQ(sim.engine.outputs()[0].shape_text, "Nx4");
}

}  // namespace
}  // namespace headrace::seedway
