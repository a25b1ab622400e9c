// Recordings of a context: bit-equal to launches one by one, bounded in number, gone with their context, and
// replaced by launches, with the reason, where making one fails.
#include <gtest/gtest.h>

#include "plan/apart.h"

namespace headrace {
namespace {

using namespace test;

std::size_t recording_bytes(const runtime::Engine& engine) {
  return engine.device().memory().current[static_cast<std::size_t>(MemoryUse::recordings)];
}

runtime::EngineRef engine_with(std::size_t max_recordings) {
  return apart_engine(apart_registry(), 0, {.threads = 1, .max_recordings = max_recordings});
}

TEST(Recordings, GiveTheBitsOfLaunches) {
  runtime::Context recorded(engine_with(16)), plain(engine_with(0));
  for (std::int64_t n : {1, 4, 8, 2}) {
    const auto inputs = inputs_of(n, static_cast<std::uint32_t>(n));
    const auto a = run_context(recorded, inputs), b = run_context(plain, inputs);
    EXPECT_EQ(recorded.launches(), 1u);
    EXPECT_GT(plain.launches(), 3u);
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i)
      EXPECT_TRUE(std::ranges::equal(a[i].bytes(), b[i].bytes())) << "output " << i << " of batch " << n;
  }
  EXPECT_EQ(plain.engine().state().stats.recorded, 0u);
}

TEST(Recordings, AreOfTheShapesUsedLast) {
  const auto engine = engine_with(2);
  const auto& stats = engine->state().stats;
  runtime::Context context(engine);
  const auto use = [&](std::int64_t n) {
    static_cast<void>(run_context(context, inputs_of(n, 1)));
    EXPECT_EQ(context.launches(), 1u) << n;
  };
  use(8);  // the largest first: later ones change no memory
  use(1);
  const std::size_t two = recording_bytes(*engine);
  use(8);
  EXPECT_EQ(stats.recorded, 2u);
  use(3);  // in place of batch 1
  EXPECT_EQ(stats.dropped, 1u);
  EXPECT_EQ(recording_bytes(*engine), two);
  use(8);
  EXPECT_EQ(stats.recorded, 3u);
  use(1);
  EXPECT_EQ(stats.recorded, 4u);
  EXPECT_EQ(stats.dropped, 2u);
  EXPECT_EQ(recording_bytes(*engine), two);
}

TEST(Recordings, EndWithTheirContext) {
  const auto engine = engine_with(16);
  for (int round = 0; round < 3; ++round) {
    runtime::Context context(engine);
    for (std::int64_t n : {8, 1, 2}) static_cast<void>(run_context(context, inputs_of(n, 1)));
    EXPECT_GT(recording_bytes(*engine), 0u);
  }
  EXPECT_EQ(recording_bytes(*engine), 0u);
}

/// The arena is given up before a larger one is asked for: when that fails, recordings of it must not run.
TEST(Recordings, SmallShapesRunAgainAfterLargeOnesFoundNoMemory) {
  runtime::Context right(engine_with(16));
  int recovered = 0;  // results after a failure of the same context
  for (std::size_t budget = 2'000; budget <= 30'000; budget += 500) {
    SCOPED_TRACE(budget);
    const Registry registry = make_apart_registry(SIZE_MAX, budget);
    runtime::EngineRef engine;
    try {
      engine = apart_engine(registry);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::out_of_memory);
      continue;
    }
    runtime::Context context(engine);
    bool failed = false;
    for (std::int64_t n : {1, 8, 1, 8, 2, 1}) {
      const auto inputs = inputs_of(n, static_cast<std::uint32_t>(n));
      try {
        const auto a = run_context(context, inputs), b = run_context(right, inputs);
        for (std::size_t i = 0; i < a.size(); ++i)
          EXPECT_TRUE(std::ranges::equal(a[i].bytes(), b[i].bytes()));
        recovered += failed;
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::out_of_memory) << e.what();
        failed = true;
      }
    }
  }
  EXPECT_GT(recovered, 10);
}

TEST(Recordings, ThatFailAreReplacedByLaunches) {
  const Registry registry = make_apart_registry(/*recording_limit_bytes=*/100);
  const auto engine = apart_engine(registry);
  const auto& stats = engine->state().stats;
  EXPECT_EQ(stats.unrecorded_why(), "");
  runtime::Context context(engine), right(engine_with(16));
  for (std::int64_t n : {8, 2, 8, 2}) {
    const auto inputs = inputs_of(n, static_cast<std::uint32_t>(n));
    const auto a = run_context(context, inputs), b = run_context(right, inputs);
    EXPECT_GT(context.launches(), 3u);
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(std::ranges::equal(a[i].bytes(), b[i].bytes()));
  }
  EXPECT_EQ(stats.recorded, 0u);
  EXPECT_EQ(stats.unrecorded, 2u) << "once for each shape key";
  EXPECT_NE(stats.unrecorded_why().find("the device gives at most 100"), std::string::npos)
      << stats.unrecorded_why();
}

}  // namespace
}  // namespace headrace
