// A whole engine on a GPU: recorded = launched bit by bit, contexts at once, hazards, memory over a thousand
// loads, and the three errors that must say what they are. Networks: tests/gpu/models.py.
#ifdef HEADRACE_CUDA
#include <fstream>

#include <unistd.h>

#include <headrace/headrace.h>

#include "api/registry.h"
#include "base/sched.h"
#include "device/gpu_fixture.h"
#include "plan/run_util.h"
#include "runtime/engine_state.h"

namespace headrace {
namespace {

using namespace test;

std::shared_ptr<const Plan> make_plan(bool f16 = false, std::int64_t max = 64) {
  compiler::Options options;
  options.device = "cuda:0";
  options.opt_level = 0;
  options.precision = f16 ? Precision::fp16 : Precision::fp32;
  options.profiles = {{{"*", {1}, {4}, {max}}}};
  return std::make_shared<const Plan>(compiler::compile(small_graph(), api::registry(), options));
}

runtime::EngineRef load(std::shared_ptr<const Plan> plan, const runtime::EngineOptions& options = {}) {
  return runtime::Engine::create(std::move(plan), api::registry(), options);
}

bool same_bits(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b) {
  return std::ranges::equal(a, b, [](const HostTensor& x, const HostTensor& y) {
    return std::ranges::equal(x.bytes(), y.bytes());
  });
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

class GpuEngine : public GpuTest {};

TEST_F(GpuEngine, ComesCloseToTheReference) {
  for (const bool f16 : {false, true}) {
    runtime::Context context(load(make_plan(f16)));
    const auto inputs = inputs_of(5, 3);
    const auto want = run_graph(small_graph(), inputs), have = run_context(context, inputs);
    ASSERT_EQ(want.size(), have.size());
    for (std::size_t o = 0; o < want.size(); ++o)
      for (std::int64_t i = 0; i < want[o].elements(); ++i)
        ASSERT_NEAR(have[o].at_double(i), want[o].at_double(i), f16 ? 4e-3 : 1e-3) << o << " " << i;
  }
}

TEST_F(GpuEngine, RecordedIsLaunchedBitByBit) {
  for (const bool f16 : {false, true}) {
    const auto plan = make_plan(f16);
    runtime::Context recorded(load(plan)), plain(load(plan, {.max_recordings = 0}));
    for (std::int64_t n : {64, 1, 7, 64, 3}) {
      const auto inputs = inputs_of(n, static_cast<std::uint32_t>(n));
      EXPECT_TRUE(same_bits(run_context(recorded, inputs), run_context(plain, inputs))) << n;
      EXPECT_EQ(recorded.launches(), 1u);
      EXPECT_GT(plain.launches(), 1u);
    }
    EXPECT_EQ(recorded.engine().state().stats.unrecorded, 0u)
        << recorded.engine().state().stats.unrecorded_why();
  }
}

TEST_F(GpuEngine, RecordingsAreBoundedAndEndWithTheirContext) {
  const auto engine = load(make_plan(), {.max_recordings = 3});
  const auto bytes = [&] {
    return engine->device().memory().current[static_cast<std::size_t>(MemoryUse::recordings)];
  };
  {
    runtime::Context context(engine);
    for (int round = 0; round < 3; ++round)
      for (std::int64_t n : {64, 1, 2, 3, 4, 5}) static_cast<void>(run_context(context, inputs_of(n, 1)));
    EXPECT_GE(engine->state().stats.dropped, 12u);
  }
  EXPECT_EQ(bytes(), 0u);
}

/// `contexts` threads, each with a context and a stream of its own, `rounds` inferences each. How many
/// results are not those of one context alone.
int wrong_results(const runtime::EngineRef& engine, int contexts, int rounds) {
  std::vector<std::vector<HostTensor>> want;
  {
    runtime::Context alone(engine);
    for (int i = 0; i < 8; ++i)
      want.push_back(run_context(alone, inputs_of(1 + i, static_cast<std::uint32_t>(i))));
  }
  std::atomic<int> wrong{0};
  std::vector<std::unique_ptr<sched::Thread>> threads;
  for (int t = 0; t < contexts; ++t)
    threads.push_back(std::make_unique<sched::Thread>("context", [&, t] {
      try {
        runtime::Context context(engine);
        for (int r = 0; r < rounds; ++r) {
          const int i = (r * 3 + t) % 8;
          const auto have = run_context(context, inputs_of(1 + i, static_cast<std::uint32_t>(i)));
          if (!same_bits(have, want[static_cast<std::size_t>(i)])) ++wrong;
        }
      } catch (const std::exception& e) {
        ADD_FAILURE() << e.what();
      }
    }));
  for (auto& thread : threads) thread->join();
  return wrong;
}

TEST_F(GpuEngine, ContextsAtOnceOnStreamsOfTheirOwn) {
  EXPECT_EQ(wrong_results(load(make_plan()), 2, 300), 0);
  EXPECT_EQ(wrong_results(load(make_plan(true)), 4, 100), 0);
  EXPECT_EQ(wrong_results(load(make_plan(), {.max_recordings = 0}), 2, 100), 0);
}

TEST_F(GpuEngine, TheHazardCheckerFindsNothing) {
  for (const std::size_t recordings : {0, 16}) {
    const auto engine = load(make_plan(), {.check_hazards = true, .max_recordings = recordings});
    EXPECT_EQ(wrong_results(engine, 2, 40), 0);
    EXPECT_EQ(engine->hazards(), std::vector<std::string>());
  }
}

TEST_F(GpuEngine, AThousandLoadsLeaveNothingBehind) {
  const auto plan = make_plan(true);
  const auto inputs = inputs_of(4, 1);
  std::vector<HostTensor> want;
  const auto round = [&] {
    runtime::Context context(load(plan));
    const auto have = run_context(context, inputs);
    if (want.empty()) want = have;
    return same_bits(have, want);
  };
  for (int i = 0; i < 100; ++i) round();
  const std::size_t device_before = free_device_bytes(), host_before = resident_bytes();
  int wrong = 0;
  const auto start = sched::Clock::now();
  for (int i = 0; i < 1000; ++i) wrong += !round();
  const std::chrono::duration<double> took = sched::Clock::now() - start;
  std::printf("%.1f ms for a load and its first inference\n", took.count());
  EXPECT_EQ(wrong, 0);
  EXPECT_GE(free_device_bytes() + (2 << 20), device_before);
  EXPECT_LE(resident_bytes(), host_before + (8 << 20));
}

TEST_F(GpuEngine, OutOfMemorySaysSoAndLeavesTheEngineUsable) {
  constexpr std::int64_t kBatch = 2'000'000;  // more than 1 GB of activations
  const auto engine = load(make_plan(false, kBatch));
  runtime::Context context(engine);
  static_cast<void>(run_context(context, inputs_of(2, 1)));
  std::string message;
  {
    std::vector<BufferRef> hoard;  // leaves less than 256 MB
    for (std::size_t piece = std::size_t{1} << 34; piece >= (std::size_t{1} << 28); piece /= 2) try {
        for (;;) hoard.push_back(device->allocate(piece, MemoryKind::device, MemoryUse::io));
      } catch (const Error& e) {
        ASSERT_EQ(e.code(), ErrorCode::out_of_memory) << e.what();
      }
    EXPECT_EQ(code_of(
                  [&] {
                    context.prepare({{"x", {kBatch, 2, 4, 4}}, {"i", {3}}});
                  },
                  &message),
              ErrorCode::out_of_memory);
    EXPECT_NE(message.find("bytes of device memory for activations"), std::string::npos) << message;
  }
  EXPECT_EQ(run_context(context, inputs_of(64, 1)).size(), 2u);
  EXPECT_EQ(code_of([&] { load(make_plan(), {.memory_budget_bytes = 100}); }), ErrorCode::out_of_memory);
}

TEST_F(GpuEngine, APlanOfAnotherGpuIsRefusedUnlessAllowed) {
  Plan plan = *make_plan();
  plan.device_model = "NVIDIA Abacus, sm_12";
  const auto foreign = std::make_shared<const Plan>(plan);
  std::string message;
  EXPECT_EQ(code_of([&] { load(foreign); }, &message), ErrorCode::invalid_plan);
  EXPECT_NE(message.find("tuned on 'NVIDIA Abacus, sm_12'"), std::string::npos) << message;
  runtime::Context context(load(foreign, {.foreign_plans = true}));
  EXPECT_EQ(run_context(context, inputs_of(2, 1)).size(), 2u);
}

/// In a child process: the device dies under a session; counts who was told.
void die_under_a_session() {
  const Engine engine = Engine::load(PlanFile(make_plan()));
  Device& device = engine.data()->device();
  const ShapeMap shapes{{"x", {4, 2, 4, 4}}, {"i", {3}}};
  Session session{engine, {.slots = 4}};
  session.prepare(shapes);
  const auto submit = [&] {
    InputLease in = session.acquire(shapes);
    for (float& v : in["x"].as<float>()) v = 1;
    for (std::int64_t& v : in["i"].as<std::int64_t>()) v = 1;
    return session.submit(std::move(in));
  };
  static_cast<void>(submit().get());
  const auto told = [](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& e) {
      return e.code() == ErrorCode::device &&
             std::string(e.what()).find("is dead since") != std::string::npos;
    }
    return false;
  };
  const auto inside = device.enter();
  const PtxKernel slow("delay", 0, 300'000'000), crash("crash", 0);
  const auto stream = device.make_stream({.name = "s"});
  const EventRef event = device.make_event();
  stream->launch(slow, {}, {});
  stream->launch(crash, {}, {});
  stream->record(*event);
  std::vector<Ticket> tickets;
  int heard = told([&] { event->wait(); });
  for (int i = 0; i < 4; ++i) try {
      tickets.push_back(submit());
    } catch (const Error& e) {
      heard += e.code() == ErrorCode::device;
    }
  for (Ticket& ticket : tickets) heard += told([&] { static_cast<void>(ticket.get()); });
  heard += told([&] { static_cast<void>(Context(engine)); });
  heard += told([&] { static_cast<void>(device.allocate(1 << 30, MemoryKind::device, MemoryUse::io)); });
  std::fprintf(stderr, "heard %d of 7\n", heard);
}

TEST(GpuEngineDeathTest, ADeadDeviceIsToldToEveryWaiter) {
  std::string why;
  if (!test::has_cuda(&why)) GTEST_SKIP() << why;
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        die_under_a_session();
        std::_Exit(7);
      },
      testing::ExitedWithCode(7), "heard 7 of 7");
}

}  // namespace
}  // namespace headrace
#endif
