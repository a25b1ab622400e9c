// The trace of a machine in virtual time: the same inferences one by one, then in flight. The picture in
// docs/guide.md is drawn from the file that this test writes:
//   headrace_tests_pipeline --gtest_filter='Timeline.*'
//   python tools/trace_picture.py /tmp/headrace_timeline.json -o docs/timeline.svg --from-ms 29 --to-ms 154
#include <deque>

#include <gtest/gtest.h>

#include "base/hooks.h"
#include "base/sched.h"
#include "pipeline/sim_engine.h"

namespace headrace {
namespace {

using std::chrono::milliseconds;
using testing::SimEngine;

const ShapeMap kShape = {{"x", {1, 4}}};
const sim::Spec kSpec{.upload_pageable_ms = 13,
                      .upload_pinned_ms = 7,
                      .compute_fp32_ms = 8,
                      .compute_fp16_ms = 8,
                      .download_ms = 2,
                      .post_ms = 0,
                      .alloc_ms = 0,
                      .consumed_ms = 1};
constexpr int kOneByOne = 3, kInFlight = 6;

double ms_since(sched::Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(sched::Clock::now() - start).count();
}
Ticket submit(Session& session) { return session.submit(session.acquire(kShape)); }
void read(Ticket ticket) {
  const OutputLease out = ticket.get();
  const hooks::Range range("read", out.sequence() + 1);
  sched::sleep_for(milliseconds(3));
}

TEST(Timeline, OneByOneThenInFlight) {
  const std::string path = ::testing::TempDir() + "headrace_timeline.json";
  sched::explore(1, 1, [&] {
    SimEngine sim({.spec = kSpec}, false, testing::sim_plan().data(), true);
    Session session{sim.engine, {.slots = 4, .ring = 3}};
    session.prepare(kShape);
    const TraceReport prepared = sim.engine.save_trace(path);
    sched::Clock::time_point start = sched::Clock::now();
    for (int i = 0; i < kOneByOne; ++i) read(submit(session));
    EXPECT_NEAR(ms_since(start), kOneByOne * (7 + 8 + 2 + 3), 0.1) << "all parts, one after the other";
    const TraceReport before = sim.engine.save_trace(path);
    EXPECT_NEAR(before.overlap_ms, prepared.overlap_ms, 0.01);

    start = sched::Clock::now();
    std::deque<Ticket> tickets;
    for (int i = 0; i < kInFlight; ++i) {
      if (tickets.size() == 3) {
        read(std::move(tickets.front()));
        tickets.pop_front();
      }
      tickets.push_back(submit(session));
    }
    for (Ticket& ticket : tickets) read(std::move(ticket));
    EXPECT_NEAR(ms_since(start), 7 + kInFlight * 8 + 2 + 3, 0.1)
        << "the longest part, and filling and draining";
    const TraceReport all = sim.engine.save_trace(path);
    EXPECT_NEAR(all.upload_ms - prepared.upload_ms, (kOneByOne + kInFlight) * 7, 0.1);
    EXPECT_NEAR(all.compute_ms - prepared.compute_ms, (kOneByOne + kInFlight) * 8, 0.1);
    EXPECT_NEAR(all.download_ms - prepared.download_ms, (kOneByOne + kInFlight) * 2, 0.1);
    EXPECT_GT(all.overlap_ms - before.overlap_ms, (kInFlight - 1) * 7 - 0.1);
    EXPECT_EQ(all.dropped, 0u);
  });
}

}  // namespace
}  // namespace headrace
