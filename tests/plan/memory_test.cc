#include <random>

#include <gtest/gtest.h>

#include "plan/plan.h"

namespace headrace {
namespace {

bool live_together(const MemoryRequest& a, const MemoryRequest& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

TEST(PlanMemory, NothingThatLivesTogetherOverlaps) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<MemoryRequest> requests(1 + random() % 60);
    std::uint64_t sum = 0, peak = 0;
    for (MemoryRequest& r : requests) {
      r.size_bytes = random() % 5 == 0 ? 0 : random() % 5000;
      r.first_step = static_cast<std::int32_t>(random() % 40);
      r.last_step = r.first_step + static_cast<std::int32_t>(random() % 6);
      sum += (r.size_bytes + 63) / 64 * 64;
    }
    const MemoryPlan plan = plan_memory(requests);
    ASSERT_EQ(plan.offsets.size(), requests.size());
    for (std::int32_t step = 0; step < 46; ++step) {
      std::uint64_t live = 0;
      for (const auto& r : requests)
        if (r.first_step <= step && step <= r.last_step) live += (r.size_bytes + 63) / 64 * 64;
      peak = std::max(peak, live);
    }
    EXPECT_LE(plan.arena_bytes, sum);
    EXPECT_GE(plan.arena_bytes, peak);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(plan.offsets[i] % 64, 0u);
      EXPECT_LE(plan.offsets[i] + requests[i].size_bytes, plan.arena_bytes);
      for (std::size_t j = 0; j < i; ++j)
        if (live_together(requests[i], requests[j]) && requests[i].size_bytes && requests[j].size_bytes) {
          EXPECT_TRUE(plan.offsets[i] + requests[i].size_bytes <= plan.offsets[j] ||
                      plan.offsets[j] + requests[j].size_bytes <= plan.offsets[i]);
        }
    }
  }
}

TEST(PlanMemory, AChainNeedsTwoBlocks) {
  std::vector<MemoryRequest> chain;
  for (std::int32_t i = 0; i < 10; ++i) chain.push_back({1000, i, i + 1});
  EXPECT_EQ(plan_memory(chain).arena_bytes, 2 * 1024u);
}

TEST(PlanMemory, TheSmallestGapThatFitsIsTaken) {
  // While request 5 lives, 1024 bytes are free where request 1 was, and 128 where request 3 was.
  const MemoryRequest requests[] = {{4096, 0, 9}, {1024, 0, 1}, {512, 0, 9},
                                    {128, 0, 1},  {64, 0, 9},   {64, 5, 6}};
  const MemoryPlan plan = plan_memory(requests);
  EXPECT_EQ(plan.offsets[5], plan.offsets[3]);
}

TEST(PlanMemory, SizesThatWouldWrapAreRefused) {
  const MemoryRequest requests[] = {{UINT64_MAX - 10, 0, 1}, {64, 0, 1}};
  EXPECT_ANY_THROW(static_cast<void>(plan_memory(requests)));
}

}  // namespace
}  // namespace headrace
