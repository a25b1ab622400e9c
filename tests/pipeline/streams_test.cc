// The lower level: a context on streams and memory of the caller's own, on host memory, on a device with
// memory of its own, and on the simulated machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sched.h"
#include "pipeline/sim_engine.h"
#include "pipeline/small_engine.h"
#include "plan/plan_util.h"
#include "support/expect_error.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using test::expect_error;
using testing::Gate;
using ::testing::HasSubstr;
using testing::MoodyEngine;
using testing::SimEngine;

constexpr std::size_t kMax = 8 * 4;  // elements of the largest batch

/// A context with memory and a stream, for batches of up to 8.
struct Bench {
  explicit Bench(const Engine& engine)
      : context(engine),
        stream(engine, "bench"),
        host_in(engine, kMax),
        host_out(engine, kMax),
        in(engine, kMax),
        out(engine, kMax) {}
  void prepare(std::int64_t batch) {
    n = static_cast<std::size_t>(batch) * 4;
    context.set_shape("x", {batch, 4});
    context.bind("x", in.span());
    context.bind("y", out.span());
    EXPECT_EQ(context.prepare().at("y"), (Shape{batch, 4}));
  }
  DeviceEvent submit(float value) {
    for (float& v : host_in.write()) v = value;
    copy(stream, in.span().subspan(0, n), host_in.span().subspan(0, n));
    const DeviceEvent computed = context.enqueue(stream);
    copy(stream, host_out.span().subspan(0, n), out.span().subspan(0, n));
    return stream.record();
  }
  void expect(float value) {
    for (const float v : host_out.read().first(n)) ASSERT_EQ(v, value);
  }
  std::size_t n = 0;
  Context context;
  DeviceStream stream;
  PinnedBuffer<float> host_in, host_out;
  DeviceBuffer<float> in, out;
};

void expect_no_hazards(const Engine& engine) {
  for (const std::string& hazard : engine.hazards()) ADD_FAILURE() << hazard;
}

TEST(Streams, UploadComputeDownloadOnOneStream) {
  for (const bool apart : {false, true})
    for (const bool recordings : {false, true}) {
      SCOPED_TRACE(::testing::Message() << apart << recordings);
      MoodyEngine engine({.separate_memory = apart, .recordings = recordings, .check_hazards = true});
      Bench bench(engine);
      float value = 1;
      for (const std::int64_t batch : {2, 8, 1, 2}) {  // 8: the context's memory grows
        bench.prepare(batch);
        for (int i = 0; i < 3; ++i, ++value) {
          bench.submit(value).wait();
          bench.expect(value + 1);
        }
      }
      expect_no_hazards(engine);
    }
}

TEST(Streams, BoundMemoryIsReplayedWhereTheDeviceRecords) {
  SimEngine sim({.spec = sim::Spec::instant()}, true);
  const auto replays = [&] { return sim.device->counters().of(sim::Call::replay); };
  const auto launches = [&] { return sim.device->counters().of(sim::Call::launch); };
  Bench bench(sim.engine);
  bench.prepare(2);
  const auto prepared = launches();
  bench.submit(5).wait();
  bench.expect(6);
  EXPECT_EQ(replays(), 1u);
  EXPECT_EQ(launches(), prepared) << "launched one by one";

  DeviceBuffer<float> other(sim.engine, kMax);
  bench.context.bind("y", other.span());  // nothing was recorded for this memory
  bench.context.enqueue(bench.stream).wait();
  copy(bench.stream, bench.host_out.span(), other.span());
  bench.stream.synchronize();
  bench.expect(6);
  EXPECT_EQ(replays(), 1u);
  EXPECT_GT(launches(), prepared);

  bench.context.prepare();
  bench.context.enqueue(bench.stream).wait();
  bench.context.bind("y", bench.out.span());
  bench.submit(7).wait();
  bench.expect(8);
  EXPECT_EQ(replays(), 3u) << "both sets of bindings are recorded";
  bench.prepare(8);  // new memory of the context: what was recorded is gone
  bench.prepare(2);
  bench.submit(9).wait();
  bench.expect(10);
  EXPECT_EQ(replays(), 4u);
  expect_no_hazards(sim.engine);
  EXPECT_TRUE(sim.device->violations().empty()) << sim.device->violations().front();
}

TEST(Streams, EnqueueReturnsAtOnceAndInputsAreConsumedEarly) {  // T-ENQ-ASYNC, T-CONSUMED
  sched::DeterministicScheduler(3).run([] {
    SimEngine sim({.spec = {.upload_pinned_ms = 2, .compute_fp32_ms = 5, .download_ms = 3}}, true);
    Bench bench(sim.engine);
    bench.prepare(2);
    const auto begin = sched::Clock::now();
    copy(bench.stream, bench.in.span(), bench.host_in.span());
    DeviceEvent consumed;
    const DeviceEvent computed = bench.context.enqueue(bench.stream, {.input_consumed = &consumed});
    copy(bench.stream, bench.host_out.span(), bench.out.span());
    const DeviceEvent done = bench.stream.record();
    EXPECT_LT(sched::Clock::now() - begin, 1us) << "the host waited for the device";
    EXPECT_FALSE(computed.ready());
    EXPECT_FALSE(done.wait_for(6ms));
    consumed.wait();
    EXPECT_LE(sched::Clock::now() - begin, 7ms + 1us);
    done.wait();
    EXPECT_GE(sched::Clock::now() - begin, 10ms);
  });
}

TEST(Streams, TwoStreamsOrderedByEvents) {
  sched::explore(1, 100, [] {
    SimEngine sim({.spec = {.upload_pinned_ms = 2, .compute_fp32_ms = 3, .download_ms = 1}}, true);
    {
      Bench bench(sim.engine);
      DeviceStream uploads(sim.engine, "uploads");
      bench.prepare(1);
      DeviceEvent consumed, read;
      for (int i = 0; i < 4; ++i) {
        if (i > 0) consumed.wait();  // also: the upload from host_in is over
        bench.host_in.write()[0] = static_cast<float>(i);
        copy(uploads, bench.in.span(), bench.host_in.span());
        bench.stream.wait(uploads.record());
        const DeviceEvent done = bench.context.enqueue(bench.stream, {.input_consumed = &consumed});
        copy(bench.stream, bench.host_out.span(), bench.out.span());
        read = bench.stream.record();
        read.wait();
        ASSERT_EQ(bench.host_out.read()[0], static_cast<float>(i) + 1);
      }
    }
    expect_no_hazards(sim.engine);
    EXPECT_TRUE(sim.device->violations().empty()) << sim.device->violations().front();
  });
}

TEST(Streams, AMissingEventIsAHazard) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "races on purpose, which this sanitizer reports as well";
#endif
  MoodyEngine engine({.check_hazards = true});
  Bench bench(engine);
  DeviceStream uploads(engine, "uploads");
  bench.prepare(1);
  copy(uploads, bench.in.span(), bench.host_in.span());
  bench.context.enqueue(bench.stream).wait();  // did not wait for the upload
  const auto hazards = engine.engine().hazards();
  ASSERT_FALSE(hazards.empty());
  EXPECT_THAT(hazards.front(), HasSubstr("stream 'uploads'"));
  EXPECT_THAT(hazards.front(), HasSubstr("stream 'bench'"));
}

TEST(Streams, MemoryOutlivesItsOwnerWhileWorkUsesIt) {
  Gate gate;
  MoodyEngine engine({.mood = [&](float v) {
    if (v == 3) gate.pass();
  }});
  Context context(engine);
  PinnedBuffer<float> result(engine, 4);
  DeviceStream stream(engine);
  context.set_shape("x", {1, 4});
  {
    PinnedBuffer<float> source(engine, 4);
    DeviceBuffer<float> in(engine, 4), out(engine, 4);
    for (float& v : source.write()) v = 3;
    context.bind("x", in.span());
    context.bind("y", out.span());
    context.prepare();
    copy(stream, in.span(), source.span());
    (void)context.enqueue(stream);
    copy(stream, result.span(), out.span());
  }  // all of it is in flight
  gate.await();
  gate.open();
  stream.synchronize();
  for (const float v : result.read()) EXPECT_EQ(v, 4);
}

TEST(Streams, MemoryIsGivenUpWhenTheHostHasSeenItsWorkEnd) {
  const Engine engine = testing::small_engine();
  DeviceStream stream(engine);
  const auto bytes = [&] { return engine.statistics().io.now; };
  const auto use = [&] {
    DeviceBuffer<float> device(engine, 8);
    PinnedBuffer<float> host(engine, 8);
    copy(stream, device.span(), host.span());
  };
  use();
  EXPECT_EQ(bytes(), 64u) << "the stream keeps what it uses";
  const DeviceEvent first = stream.record();
  use();
  const DeviceEvent second = stream.record();
  first.wait();
  EXPECT_LE(bytes(), 64u);
  use();
  second.wait();
  EXPECT_EQ(bytes(), 64u) << "what came after that record may be in use";
  stream.synchronize();
  EXPECT_EQ(bytes(), 0u);
  use();
  stream.record().wait();
  EXPECT_EQ(bytes(), 0u);
}

TEST(Streams, AnEventMeansItsOwnRecordForEver) {  // T-EVENT-GEN
  Gate gate;
  MoodyEngine engine({.mood = [&](float v) {
    if (v == 3) gate.pass();
  }});
  Bench bench(engine);
  bench.prepare(1);
  const DeviceEvent first = bench.submit(1);
  first.wait();
  for (float& v : bench.host_in.write()) v = 3;
  copy(bench.stream, bench.in.span(), bench.host_in.span());
  std::vector<DeviceEvent> held{bench.context.enqueue(bench.stream)};
  for (int i = 0; i < 40; ++i) held.push_back(bench.stream.record());  // more than a stream has at first
  EXPECT_TRUE(first.ready()) << "another record has moved it";
  gate.await();
  EXPECT_FALSE(held.front().ready());
  EXPECT_FALSE(held.back().wait_for(1ms));
  gate.open();
  held.back().wait();
  for (const DeviceEvent& event : held) EXPECT_TRUE(event.ready());
  expect_error(ErrorCode::misuse, "never recorded", [] { DeviceEvent().wait(); });
  expect_error(ErrorCode::misuse, "never recorded", [] { (void)DeviceEvent().ready(); });
  expect_error(ErrorCode::misuse, "never recorded", [&] { bench.stream.wait(DeviceEvent()); });
}

TEST(Streams, MoreWorkThanRecordsMakesTheCallerWait) {
  MoodyEngine engine({});
  Bench bench(engine);
  bench.prepare(1);
  for (int i = 0; i < 200; ++i) (void)bench.context.enqueue(bench.stream);
  for (int i = 0; i < 200; ++i) copy(bench.stream, bench.in.span(), bench.host_in.span());
  bench.stream.record().wait();  // submit writes what the copies read
  bench.submit(4).wait();
  bench.expect(5);
}

TEST(Streams, FailedWorkFailsItsEventAndTheStreamGoesOn) {
  MoodyEngine engine({.mood = [](float v) {
    if (v == 666) throw Error(ErrorCode::internal, "this item is broken");
  }});
  Bench bench(engine);
  bench.prepare(1);
  expect_error(ErrorCode::internal, "this item is broken", [&] { bench.submit(666).wait(); });
  bench.submit(2).wait();
  bench.expect(3);
  // What follows failed work on its stream fails with it: no result of an input that never came.
  PinnedBuffer<float> good(engine, kMax);
  for (float& v : good.write()) v = 1;
  const DeviceEvent failed = bench.submit(666);
  copy(bench.stream, bench.in.span(), good.span());
  const DeviceEvent next = bench.context.enqueue(bench.stream);
  expect_error(ErrorCode::internal, "this item is broken", [&] { next.wait(); });
}

TEST(Streams, MisuseIsRefusedByName) {
  MoodyEngine engine({}), other({});
  Context context(engine);
  DeviceStream stream(engine), foreign(other);
  DeviceBuffer<float> in(engine, 8), out(engine, 8), small(engine, 3), elsewhere(other, 8);
  DeviceBuffer<std::int32_t> integers(engine, 8);
  expect_error(ErrorCode::misuse, "call prepare()", [&] { (void)context.enqueue(stream); });
  expect_error(ErrorCode::invalid_argument, "'z'", [&] { context.set_shape("z", {1, 4}); });
  expect_error(ErrorCode::invalid_argument, "'x'", [&] { context.prepare(); });  // no shape
  context.set_shape("x", {9, 4});
  expect_error(ErrorCode::invalid_argument, "'x'", [&] { context.prepare(); });  // beyond the profile
  context.set_shape("x", {2, 4});
  context.prepare();
  expect_error(ErrorCode::misuse, "input 'x' is not bound", [&] { (void)context.enqueue(stream); });
  context.bind("x", in.span());
  expect_error(ErrorCode::misuse, "output 'y' is not bound", [&] { (void)context.enqueue(stream); });
  context.bind("y", small.span());
  expect_error(ErrorCode::misuse, "takes 32 bytes, but the memory bound to it has 12",
               [&] { (void)context.enqueue(stream); });
  context.bind("y", in.span());
  expect_error(ErrorCode::misuse, "overlapping", [&] { (void)context.enqueue(stream); });
  expect_error(ErrorCode::invalid_argument, "'z'", [&] { context.bind("z", in.span()); });
  expect_error(ErrorCode::invalid_argument, "takes f32, but the memory given holds i32",
               [&] { context.bind("x", integers.span()); });
  expect_error(ErrorCode::misuse, "read-only",
               [&] { context.bind("y", DeviceSpan<const float>(out.span())); });
  expect_error(ErrorCode::misuse, "another engine's device", [&] { context.bind("x", elsewhere.span()); });
  expect_error(ErrorCode::misuse, "not aligned", [&] { context.bind("x", out.span().subspan(1, 4)); });
  DeviceSpan<float> freed;
  expect_error(ErrorCode::misuse, "no memory", [&] { context.bind("x", freed); });
  freed = DeviceBuffer<float>(engine, 8).span();
  expect_error(ErrorCode::misuse, "its owner was destroyed", [&] { context.bind("x", freed); });
  expect_error(ErrorCode::misuse, "its owner was destroyed", [&] { copy(stream, in.span(), freed); });
  expect_error(ErrorCode::misuse, "outside a span", [&] { (void)in.span().subspan(7, 2); });
  expect_error(ErrorCode::misuse, "destination has 32 bytes, source 12",
               [&] { copy(stream, in.span(), small.span()); });
  context.bind("y", out.span());
  expect_error(ErrorCode::misuse, "another engine's device", [&] { (void)context.enqueue(foreign); });
  expect_error(ErrorCode::misuse, "another engine's device", [&] { stream.wait(foreign.record()); });
  expect_error(ErrorCode::unsupported, "no streams of others",
               [&] { (void)DeviceStream::wrap(engine, nullptr); });
  context.enqueue(stream).wait();  // after all that
  std::vector<float> values(8, 1);
  (void)context.infer({{"x", ConstTensorView(std::span(values), {2, 4})}});
  expect_error(ErrorCode::misuse, "call prepare()", [&] { (void)context.enqueue(stream); });
  context.prepare();
  context.enqueue(stream).wait();
  const DeviceStream taken = std::move(stream);
  expect_error(ErrorCode::misuse, "moved away", [&] { (void)context.enqueue(stream); });
}

TEST(Streams, ASecondThreadIsRefused) {  // T-THREADS
  Gate gate;
  MoodyEngine engine({.separate_memory = false, .mood = [&](float v) {
                        if (v == 3) gate.pass();
                      }});
  Context context(engine);
  std::vector<float> values(4, 3);
  sched::Thread busy("busy", [&] {
    (void)context.infer({{"x", ConstTensorView(std::span(values), {1, 4})}});
  });
  gate.await();
  expect_error(ErrorCode::misuse, "two threads at once", [&] { context.set_shape("x", {1, 4}); });
  expect_error(ErrorCode::misuse, "two threads at once", [&] { context.prepare(); });
  gate.open();
  busy.join();
}

TEST(Streams, PageableMemoryIsCopiedBlocking) {
  for (const bool apart : {false, true}) {
    MoodyEngine engine({.separate_memory = apart, .check_hazards = true});
    Bench bench(engine);
    bench.prepare(1);
    std::vector<float> values(4, 41), results(4);
    copy_and_wait(bench.stream, bench.in.span().subspan(0, 4), HostSpan(values));
    (void)bench.context.enqueue(bench.stream);
    copy_and_wait(bench.stream, HostSpan(results), bench.out.span().subspan(0, 4));
    EXPECT_EQ(results, std::vector<float>(4, 42));
    expect_no_hazards(engine);
  }
}

TEST(Streams, ValuesThatShapesDependOnAreSetByTheHost) {
  compiler::Options options{.device = "reference"};
  options.opt_level = 0;
  const Plan plan = compiler::compile(test::scaled_graph(), test::reference_registry(), options);
  const Engine engine = Engine::from(runtime::Engine::create(std::make_shared<const Plan>(plan),
                                                             test::reference_registry(), {.threads = 1}));
  Context context(engine);
  DeviceStream stream(engine);
  DeviceBuffer<float> x(engine, 12), scale(engine, 1), y(engine, 36);
  context.bind("x", x.span());
  context.bind("scale", scale.span());
  context.bind("y", y.span());
  const std::vector<float> two{2}, three{3}, values{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  const std::vector<std::int32_t> integer{2};
  expect_error(ErrorCode::invalid_argument, "'scale'", [&] { context.prepare(); });
  expect_error(ErrorCode::invalid_argument, "takes f32",
               [&] { context.set_value("scale", ConstTensorView(std::span(integer), {1})); });
  for (const auto& factor : {two, three}) {
    context.set_value("scale", ConstTensorView(std::span(factor), {1}));
    const auto columns = static_cast<std::int64_t>(6 * factor[0]);
    EXPECT_EQ(context.prepare().at("y"), (Shape{2, columns}));
    copy_and_wait(stream, x.span(), HostSpan(values));
    (void)context.enqueue(stream);
    std::vector<float> results(static_cast<std::size_t>(2 * columns));
    copy_and_wait(stream, HostSpan(results), y.span().subspan(0, results.size()));
    for (std::size_t i = 0; i < results.size(); ++i)
      EXPECT_EQ(results[i], values[i / static_cast<std::size_t>(factor[0])]) << i;
  }
}

}  // namespace
}  // namespace headrace
