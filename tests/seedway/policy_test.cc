// Policy and measuring: D-35, D-43, D-48, D-73.
#include <headrace/pipeline.h>

#include "seedway/session_util.h"

namespace headrace::seedway {
namespace {

using namespace std::chrono_literals;

// D-35: shares of busy time are no utilisation.
TEST(T_UTIL, seedway) {
  const double compute = 7.957, copy = 6.912;
  EXPECT_NEAR(compute / (compute + copy) + copy / (compute + copy), 1, 1e-9)
      << "they add to one, whatever overlaps";
}
TEST(T_UTIL, ours) {
  const sched::Clock::time_point t{};
  const std::vector<sim::Span> spans = {{sim::Engine::upload, "", "", t, t + 6ms},
                                        {sim::Engine::compute, "", "", t + 2ms, t + 10ms},
                                        {sim::Engine::upload, "", "", t + 8ms, t + 14ms}};
  EXPECT_DOUBLE_EQ(sim::busy_share(spans, sim::Engine::upload, t, t + 10ms), 0.8);
  EXPECT_DOUBLE_EQ(sim::busy_share(spans, sim::Engine::compute, t, t + 10ms), 0.8);
  EXPECT_DOUBLE_EQ(sim::busy_share(spans, sim::Engine::download, t, t + 10ms), 0);
  EXPECT_EQ(sim::overlap(spans, sim::Engine::upload, sim::Engine::compute), 6ms);
}

/// Two workers of five batches of 10 ms each, the second of which starts when the first has ended. By worker:
/// begin and end.
std::vector<std::pair<double, double>> two_workers() {
  std::vector<std::pair<double, double>> windows(2);
  Rig rig;
  sched::Mutex turn{"turn"};
  const auto work = [&](std::size_t w) {
    sched::LockGuard lock(turn);  // they do not overlap
    windows[w].first = rig.ms();
    for (int k = 0; k < 5; ++k) sched::sleep_for(10ms);
    windows[w].second = rig.ms();
  };
  sched::Thread other("other", [&] { work(1); });
  work(0);
  other.join();
  return windows;
}
// D-43: two windows halved.
TEST(T_MULTI_METRIC, seedway) {
  explore([] {
    const auto w = two_workers();
    const double mean = (w[0].second - w[0].first + w[1].second - w[1].first) / 2;
    EXPECT_DOUBLE_EQ(mean / 10, 5) << "5 ms per batch, it says";
  });
}
TEST(T_MULTI_METRIC, ours) {  // results over the wall time of the union
  explore([] {
    const auto w = two_workers();
    const double wall = std::max(w[0].second, w[1].second) - std::min(w[0].first, w[1].first);
    EXPECT_DOUBLE_EQ(wall / 10, 10);
  });
}

// D-48: a blocking enqueue.
TEST(T_ENQ_ASYNC, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine, {.slots = 2}};
    session.prepare(kShape);
    InputLease lease = session.acquire(kShape);
    fill(lease, 1);
    const auto begin = sched::Clock::now();
    Ticket ticket = session.submit(std::move(lease));
    EXPECT_EQ((sched::Clock::now() - begin).count(), 0) << "submitting waits for nothing of the device";
    EXPECT_FALSE(ticket.ready());
    static_cast<void>(ticket.get());
    EXPECT_GE(sched::Clock::now() - begin, 10ms);
  });
}

/// Milliseconds per batch of a device that takes 1.4 ms and post-work of 4 ms on so many workers.
double post_period(int workers) {
  constexpr int kBatches = 200;
  int delivered = 0;
  auto pipeline = make_pipeline<int>()
                      .then("device",
                            [](int v) {
                              sched::sleep_for(1400us);
                              return v;
                            })
                      .then("post",
                            [](int v) {
                              sched::sleep_for(4ms);
                              return v;
                            },
                            {.workers = workers})
                      .sink("sink", [&](int v) { EXPECT_EQ(v, delivered++); });
  const auto begin = sched::Clock::now();
  for (int k = 0; k < kBatches; ++k) pipeline.push(k);
  pipeline.close();
  EXPECT_EQ(delivered, kBatches);
  return std::chrono::duration<double, std::milli>(sched::Clock::now() - begin).count() / kBatches;
}
// D-72: one thread does all post-processing, and competes with the one that launches.
TEST(T_POST_PAR, seedway) {
  explore([] { EXPECT_GE(post_period(1), 4); }, 3);
}
TEST(T_POST_PAR, ours) {
  explore([] { EXPECT_NEAR(post_period(4), 1.4, 0.1); }, 3);
}

// D-73: no bound, no policy. A producer much faster than the machine.
TEST(T_RUNAWAY, seedway) {
  explore(
      [] {
        Rig rig;
        auto stream = rig.stream("compute");
        const BufferRef host = rig.pinned(0), in = rig.empty(MemoryKind::device),
                        out = rig.empty(MemoryKind::device);
        std::vector<double> submitted;
        std::vector<EventRef> done;
        for (int k = 0; k < 60; ++k) {
          submitted.push_back(rig.ms());
          stream->copy(write(in), read(host));
          rig.compute(*stream, k, in, out);
          done.push_back(rig.event());
          stream->record(*done.back());
          sched::sleep_for(1ms);
        }
        std::vector<double> age;
        for (std::size_t k = 0; k < 60; ++k) {
          done[k]->wait();
          if (k >= 10)
            age.push_back(10.0 * static_cast<double>(k + 1) - submitted[k]);  // 10 ms each, in a row
        }
        EXPECT_GT(age.back(), 5 * age.front()) << "it grows with every frame";
        EXPECT_NEAR(rig.ms(), 600, 10);
      },
      3);
}
TEST(T_RUNAWAY, ours) {
  explore(
      [] {
        testing::SimEngine sim(session_options());
        constexpr int kSlots = 3;
        Session session{sim.engine, {.slots = kSlots, .overflow = Overflow::reject}};
        session.prepare(kShape);
        double oldest = 0;
        int delivered = 0, in_flight = 0, most = 0;
        for (int k = 0; k < 200; ++k) {
          try {
            InputLease lease = session.acquire(kShape);
            fill(lease, static_cast<float>(k));
            most = std::max(most, ++in_flight);
            const auto begin = sched::Clock::now();
            static_cast<void>(session.submit(
                std::move(lease), {.callback = [&, begin](Ticket) {
                  oldest = std::max(
                      oldest, std::chrono::duration<double, std::milli>(sched::Clock::now() - begin).count());
                  ++delivered;
                  --in_flight;
                }}));
          } catch (const Error& e) {
            EXPECT_EQ(e.code(), ErrorCode::rejected);
          }
          sched::sleep_for(1ms);
        }
        session.close();
        EXPECT_LE(oldest, 60) << "at most those in flight come before it";
        EXPECT_GE(delivered, 10);
        EXPECT_EQ(session.stats().rejected + static_cast<std::uint64_t>(delivered), 200u)
            << "each is accounted for";
      },
      3);
}

}  // namespace
}  // namespace headrace::seedway
