// The native half of the seam: real threads, real time.
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/sched.h"

namespace headrace::sched {
namespace {

using namespace std::chrono_literals;

TEST(SchedNative, MutexExcludes) {
  Mutex mutex;
  int sum = 0;
  const auto add = [&] {
    for (int i = 0; i < 20'000; ++i) {
      LockGuard lock(mutex);
      ++sum;
    }
  };
  Thread a("a", add), b("b", add);
  a.join();
  b.join();
  EXPECT_EQ(sum, 40'000);
}

TEST(SchedNative, CondVarHandsOver) {
  Mutex mutex;
  CondVar changed;
  std::vector<int> queue, seen;
  Thread producer("producer", [&] {
    for (int i = 0; i < 1'000; ++i) {
      UniqueLock lock(mutex);
      changed.wait(lock, [&] { return queue.empty(); });
      queue.push_back(i);
      changed.notify_one();
    }
  });
  for (int i = 0; i < 1'000; ++i) {
    UniqueLock lock(mutex);
    changed.wait(lock, [&] { return !queue.empty(); });
    seen.push_back(queue.back());
    queue.pop_back();
    changed.notify_one();
  }
  producer.join();
  for (int i = 0; i < 1'000; ++i) ASSERT_EQ(seen[static_cast<std::size_t>(i)], i);
}

TEST(SchedNative, TimedWaitKeepsTheLockAndTheDeadline) {
  Mutex mutex;
  CondVar never;
  UniqueLock lock(mutex);
  const auto start = Clock::now();
  EXPECT_FALSE(never.wait_for(lock, 20ms, [] { return false; }));
  EXPECT_GE(Clock::now() - start, 20ms);
  EXPECT_TRUE(lock.owns_lock());
  Thread other("other", [&] { EXPECT_FALSE(mutex.try_lock()); });
  other.join();
}

TEST(SchedNative, ForeverDoesNotOverflow) {
  EXPECT_EQ(Clock::after(Clock::duration::max()), Clock::time_point::max());
  Mutex mutex;
  CondVar ready;
  bool done = false;
  Thread worker("worker", [&] {
    sleep_for(5ms);
    LockGuard lock(mutex);
    done = true;
    ready.notify_all();
  });
  UniqueLock lock(mutex);
  EXPECT_TRUE(ready.wait_for(lock, Clock::duration::max(), [&] { return done; }));
  lock.unlock();
  worker.join();
}

TEST(SchedNative, ThreadsMoveAndHaveDifferentIds) {
  std::uint64_t first = 0, second = 0;
  Thread a("a", [&] { first = this_thread_id(); });
  Thread moved = std::move(a);
  EXPECT_FALSE(a.joinable());
  moved.join();
  EXPECT_FALSE(moved.joinable());
  moved = Thread("b", [&] { second = this_thread_id(); });
  moved.join();
  EXPECT_NE(first, second);
  EXPECT_NE(first, this_thread_id());
  EXPECT_EQ(this_thread_id(), this_thread_id());
}

TEST(SchedNativeDeathTest, AnUnjoinedThreadEndsTheProcessWithItsName) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH({ Thread lost("forgotten", [] { sleep_for(10s); }); },
               "thread 'forgotten' was dropped before join");
}

}  // namespace
}  // namespace headrace::sched
