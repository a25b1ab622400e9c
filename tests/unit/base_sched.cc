// The deterministic scheduler: what it explores, and what it reports.
#include <atomic>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <headrace/error.h>

#include "base/sched.h"

namespace headrace::sched {
namespace {

using namespace std::chrono_literals;

std::string failure_of(DeterministicScheduler& scheduler, const std::function<void()>& body) {
  try {
    scheduler.run(body);
  } catch (const Error& error) {
    return error.what();
  }
  return "no failure";
}

// Two threads add 1; `safe` holds the lock over load and store.
int add_in_two_threads(std::uint64_t seed, bool safe) {
  int sum = 0;
  DeterministicScheduler(seed).run([&] {
    Mutex mutex;
    std::atomic<int> value{0};
    const auto add = [&] {
      if (safe) {
        LockGuard lock(mutex);
        const int old = value;
        yield_point();
        value = old + 1;
      } else {
        int old;
        {
          LockGuard lock(mutex);
          old = value;
        }
        LockGuard lock(mutex);
        value = old + 1;
      }
    };
    Thread a("a", add), b("b", add);
    a.join();
    b.join();
    sum = value;
  });
  return sum;
}

TEST(Sched, FindsLostUpdate) {
  int lost = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) lost += add_in_two_threads(seed, false) != 2;
  EXPECT_GT(lost, 5);
  EXPECT_LT(lost, 95);
}

TEST(Sched, MutexExcludes) {
  for (std::uint64_t seed = 0; seed < 200; ++seed)
    ASSERT_EQ(add_in_two_threads(seed, true), 2) << "seed " << seed;
}

// A bounded queue of one; returns what arrived, in order.
std::vector<int> produce_and_consume() {
  Mutex mutex("queue");
  CondVar changed("queue.changed");
  std::vector<int> queue, seen;
  const auto produce = [&](int first) {
    for (int i = 0; i < 2; ++i) {
      UniqueLock lock(mutex);
      changed.wait(lock, [&] { return queue.empty(); });
      queue.push_back(first + i);
      changed.notify_all();
    }
  };
  Thread a("a", [&] { produce(10); }), b("b", [&] { produce(20); });
  Thread consumer("consumer", [&] {
    while (seen.size() < 4) {
      UniqueLock lock(mutex);
      changed.wait(lock, [&] { return !queue.empty(); });
      seen.push_back(queue.back());
      queue.pop_back();
      changed.notify_all();
    }
  });
  a.join();
  b.join();
  consumer.join();
  return seen;
}

TEST(Sched, TenThousandInterleavingsOfAProducerAndAConsumer) {
  std::set<std::vector<int>> orders;
  std::set<std::uint64_t> traces;
  for (std::uint64_t seed = 0; seed < 10'000; ++seed) {
    std::vector<int> seen;
    DeterministicScheduler scheduler(seed);
    scheduler.run([&] { seen = produce_and_consume(); });
    ASSERT_EQ(seen.size(), 4u) << "seed " << seed;
    ASSERT_EQ(std::set<int>(seen.begin(), seen.end()), (std::set<int>{10, 11, 20, 21})) << "seed " << seed;
    orders.insert(seen);
    traces.insert(scheduler.trace_hash());
  }
  EXPECT_EQ(orders.size(), 6u);      // every merge of (10, 11) and (20, 21)
  EXPECT_GT(traces.size(), 8'000u);  // the strategy by priorities repeats some
}

TEST(Sched, SameSeedSameTrace) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    DeterministicScheduler first(seed), second(seed);
    std::vector<int> a, b;
    first.run([&] { a = produce_and_consume(); });
    second.run([&] { b = produce_and_consume(); });
    ASSERT_EQ(first.trace_hash(), second.trace_hash()) << "seed " << seed;
    ASSERT_EQ(first.steps(), second.steps());
    ASSERT_EQ(a, b);
  }
}

TEST(Sched, LostWakeIsFoundAsDeadlock) {
  // The flag is tested outside the lock: a notify in between is lost.
  int deadlocks = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    DeterministicScheduler scheduler(DeterministicOptions{.seed = seed, .spurious_wakes = false});
    const std::string failure = failure_of(scheduler, [] {
      struct State {
        Mutex mutex{"flag"};
        CondVar set{"flag.set"};
        std::atomic<bool> flag{false};
      } state;
      Thread waiter("waiter", [&] {
        const bool already = state.flag;
        yield_point();
        UniqueLock lock(state.mutex);
        if (!already) state.set.wait(lock);
      });
      state.flag = true;
      state.set.notify_all();
      waiter.join();
    });
    if (failure == "no failure") continue;
    ++deadlocks;
    EXPECT_NE(failure.find("deadlock"), std::string::npos) << failure;
    EXPECT_NE(failure.find("thread 'waiter' waits for condition 'flag.set'"), std::string::npos) << failure;
    EXPECT_NE(failure.find("thread 'main' joins thread 'waiter'"), std::string::npos) << failure;
    EXPECT_NE(failure.find("seed " + std::to_string(seed)), std::string::npos) << failure;
  }
  EXPECT_GT(deadlocks, 0);
  EXPECT_LT(deadlocks, 60);
}

TEST(Sched, LocksInOppositeOrderAreFoundWithTheirHolders) {
  std::string found;
  for (std::uint64_t seed = 0; seed < 200 && found.empty(); ++seed) {
    DeterministicScheduler scheduler(seed);
    const std::string failure = failure_of(scheduler, [] {
      Mutex first("first"), second("second");
      Thread other("other", [&] {
        LockGuard a(second);
        LockGuard b(first);
      });
      {
        LockGuard a(first);
        LockGuard b(second);
      }
      other.join();
    });
    if (failure != "no failure") found = failure;
  }
  EXPECT_NE(found.find("thread 'main' waits for mutex 'second' held by thread 'other'"), std::string::npos)
      << found;
  EXPECT_NE(found.find("thread 'other' waits for mutex 'first' held by thread 'main'"), std::string::npos)
      << found;
}

TEST(Sched, TimedWaitsWakeInOrderOfVirtualTime) {
  const auto real_start = std::chrono::steady_clock::now();
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    std::vector<int> order;
    DeterministicScheduler(seed).run([&] {
      Mutex mutex;
      CondVar never;
      const auto start = Clock::now();
      const auto wait = [&](int hours) {
        UniqueLock lock(mutex);
        EXPECT_FALSE(never.wait_until(lock, start + std::chrono::hours(hours), [] { return false; }));
        EXPECT_EQ(Clock::now() - start, std::chrono::hours(hours));
        order.push_back(hours);
      };
      Thread c("c", [&] { wait(3); }), a("a", [&] { wait(1); });
      Thread b("b", [&] {
        sleep_until(start + 2h);
        LockGuard lock(mutex);
        order.push_back(2);
      });
      a.join();
      b.join();
      c.join();
      EXPECT_EQ(Clock::now() - start, 3h);
    });
    ASSERT_EQ(order, (std::vector<int>{1, 2, 3})) << "seed " << seed;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - real_start, 60s);
}

TEST(Sched, NotifyComesBeforeTheDeadlineWhileAnybodyCanRun) {
  explore(0, 100, [] {
    Mutex mutex;
    CondVar ready;
    bool done = false;
    Thread worker("worker", [&] {
      LockGuard lock(mutex);
      done = true;
      ready.notify_one();
    });
    const auto start = Clock::now();
    UniqueLock lock(mutex);
    EXPECT_TRUE(ready.wait_for(lock, 1ms, [&] { return done; }));
    EXPECT_EQ(Clock::now(), start);
    lock.unlock();
    worker.join();
  });
}

TEST(Sched, NotifyOneWakesEveryWaiterUnderSomeSeed) {
  std::set<int> first;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    DeterministicScheduler(DeterministicOptions{.seed = seed, .spurious_wakes = false}).run([&] {
      Mutex mutex;
      CondVar turn;
      int waiting = 0, woken = -1;
      const auto wait = [&](int self) {
        UniqueLock lock(mutex);
        ++waiting;
        turn.wait(lock);
        if (woken < 0) woken = self;
      };
      Thread a("a", [&] { wait(0); }), b("b", [&] { wait(1); });
      sleep_for(1ms);  // virtual time: both wait now
      EXPECT_EQ(waiting, 2);
      turn.notify_one();
      sleep_for(1ms);
      first.insert(woken);
      turn.notify_one();
      a.join();
      b.join();
    });
  }
  EXPECT_EQ(first, (std::set<int>{0, 1}));
}

TEST(Sched, ExceptionsLeaveRun) {
  EXPECT_THROW(DeterministicScheduler(1).run([] { throw std::out_of_range("body"); }), std::out_of_range);
  EXPECT_THROW(DeterministicScheduler(1).run([] {
    Thread thrower("thrower", [] { throw std::out_of_range("thread"); });
    thrower.join();
  }),
               std::out_of_range);
}

TEST(Sched, ExploreNamesTheSeed) {
  int runs = 0;
  try {
    explore(40, 10, [&] {
      if (++runs == 4) throw Error(ErrorCode::timeout, "too late");
    });
    FAIL() << "explore did not throw";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::timeout);
    EXPECT_NE(std::string(error.what()).find("under seed 43"), std::string::npos) << error.what();
  }
  EXPECT_EQ(runs, 4);
}

TEST(Sched, WatchdogReportsBlockingOutsideTheSeam) {
  auto release = std::make_shared<std::atomic<bool>>(false);
  DeterministicScheduler scheduler(DeterministicOptions{.seed = 7, .watchdog = 200ms});
  const std::string failure = failure_of(scheduler, [release] {
    Thread stuck("stuck", [release] {
      while (!*release) std::this_thread::sleep_for(1ms);
      yield_point();  // never returns: the run is over
      ADD_FAILURE() << "a thread went on in a run that was given up";
    });
    stuck.join();
  });
  EXPECT_NE(failure.find("watchdog: thread 'stuck'"), std::string::npos) << failure;
  EXPECT_NE(failure.find("thread 'main'"), std::string::npos) << failure;
  *release = true;
  std::this_thread::sleep_for(20ms);
}

TEST(Sched, LivelockIsReported) {
  DeterministicScheduler scheduler(DeterministicOptions{.seed = 7, .max_steps = 1'000});
  const std::string failure = failure_of(scheduler, [] {
    for (;;) yield_point();
  });
  EXPECT_NE(failure.find("livelock"), std::string::npos) << failure;
  EXPECT_GE(scheduler.steps(), 1'000u);
}

TEST(Sched, RunsDoNotNest) {
  const auto nest = [] { DeterministicScheduler(2).run([] {}); };
  EXPECT_THROW(DeterministicScheduler(1).run(nest), Error);
}

TEST(Sched, ObjectsFromOutsideWorkInside) {
  Mutex mutex("outside");
  int count = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    DeterministicScheduler(seed).run([&] {
      const auto add = [&] {
        LockGuard lock(mutex);
        const int old = count;
        yield_point();
        count = old + 1;
      };
      Thread a("a", add), b("b", add);
      a.join();
      b.join();
    });
  }
  LockGuard lock(mutex);
  EXPECT_EQ(count, 40);
}

TEST(Sched, AMutexIsSharedWithNativeThreads) {
  Mutex mutex("shared");
  int count = 0;
  std::atomic<bool> stop{false};
  std::thread native([&] {
    while (!stop) {
      LockGuard lock(mutex);
      ++count;
    }
  });
  int added = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    DeterministicScheduler(seed).run([&] {
      for (int i = 0; i < 10; ++i) {
        LockGuard lock(mutex);
        const int before = count;
        yield_point();
        ASSERT_EQ(count, before);
        ++added;
      }
    });
  }
  stop = true;
  native.join();
  EXPECT_EQ(added, 500);
}

}  // namespace
}  // namespace headrace::sched
