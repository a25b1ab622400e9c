// Session on the simulated machine: as fast as the longest of upload, computation and download; copies
// counted; every fault of the device reaches the tickets it concerns.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <headrace/pipeline.h>

#include "base/sched.h"
#include "pipeline/sim_engine.h"

namespace headrace {
namespace {

using headrace::testing::fill;
using headrace::testing::SimEngine;

const ShapeMap kShape = {{"x", {1, 4}}};

sim::Spec spec(double upload, double compute, double download) {
  return {.upload_pageable_ms = 2 * upload,
          .upload_pinned_ms = upload,
          .compute_fp32_ms = compute,
          .compute_fp16_ms = compute,
          .download_ms = download,
          .post_ms = 0,
          .alloc_ms = 0,
          .consumed_ms = compute};
}

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

/// Milliseconds per item in the steady state; `read_ms`: what the reader does with each result.
double period_ms(Session& session, double read_ms) {
  const int n = 60, warm = 20;
  std::vector<Ticket> tickets;
  sched::Clock::time_point begin;
  const auto take = [&](std::size_t i) {
    if (i == static_cast<std::size_t>(warm)) begin = sched::Clock::now();
    const OutputLease out = tickets[i].get();
    expect(out["y"].as<float>()[0] == static_cast<float>(i) + 1, "a result is not its own input's");
    sched::sleep_for(std::chrono::nanoseconds(static_cast<std::int64_t>(read_ms * 1e6)));
  };
  const std::size_t ahead = 4;
  for (int i = 0; i < n; ++i) {
    if (tickets.size() >= ahead) take(tickets.size() - ahead);
    tickets.push_back(session.submit(fill(session.acquire(kShape), static_cast<float>(i))));
  }
  for (std::size_t i = tickets.size() - ahead; i < tickets.size(); ++i) take(i);
  return std::chrono::duration<double, std::milli>(sched::Clock::now() - begin).count() / (n - warm);
}

/// T-DEPTH, T-D2H-OVERLAP, T-RING
TEST(SessionTiming, ThePeriodIsThatOfTheLongestPart) {
  struct Case {
    double upload, compute, download, read;
  };
  for (const Case c : {Case{2, 3, 1, 0}, Case{5, 3, 1, 0}, Case{1, 2, 4, 0}, Case{3, 3, 3, 0},
                       Case{2, 4, 2, 3.2}, Case{6.912, 7.957, 4, 2}}) {
    SCOPED_TRACE(::testing::PrintToString(std::vector<double>{c.upload, c.compute, c.download, c.read}));
    sched::explore(1, 10, [&] {
      SimEngine sim({.spec = spec(c.upload, c.compute, c.download)}, true);
      Session session{sim.engine, {.slots = 6}};
      session.prepare(kShape);
      const double bound = std::max({c.upload, c.compute, c.download, c.read}),
                   period = period_ms(session, c.read);
      expect(bound / period >= 0.98 && period / bound >= 0.98,
             fmt::format("{} ms per item, where the longest part takes {} ms", period, bound));
      session.close();
      expect(sim.engine.hazards().empty(), "a hazard");
      expect(sim.device->violations().empty(), "a violation");
    });
  }
}

/// With one slot of the ring the upload waits until the input has been consumed: no overlap of these two.
TEST(SessionTiming, ARingOfOneSavesMemoryAndCostsOverlap) {
  sched::DeterministicScheduler(1).run([] {
    SimEngine sim({.spec = spec(2, 3, 0)});
    Session session{sim.engine, {.slots = 6, .ring = 1}};
    session.prepare(kShape);
    const double period = period_ms(session, 0);
    EXPECT_GE(period, 4.9);
    EXPECT_LE(period, 5.1);
  });
}

/// Frames that come faster than they are computed: the age of what is delivered stays bounded.
TEST(SessionTiming, LatestBoundsTheAge) {  // T-RUNAWAY
  sched::explore(1, 10, [] {
    SimEngine sim({.spec = spec(1, 10, 1)});
    Session session{sim.engine, {.slots = 4, .overflow = Overflow::latest}};
    session.prepare(kShape);
    int delivered = 0, dropped = 0;
    double oldest_ms = 0;
    {
      std::vector<Ticket> tickets;
      for (int i = 0; i < 200; ++i) {
        (void)session.submit(
            fill(session.acquire(kShape), 1), {.callback = [&](Ticket t) {
              try {
                const OutputLease out = t.get();
                const TicketTimes times = out.times();
                oldest_ms =
                    std::max(oldest_ms, static_cast<double>(times.delivered_ns - times.submitted_ns) * 1e-6);
                ++delivered;
              } catch (const Error& e) {
                expect(e.code() == ErrorCode::dropped, "the wrong error");
                ++dropped;
              }
            }});
        sched::sleep_for(std::chrono::milliseconds(1));
      }
    }
    session.close();
    expect(delivered + dropped == 200, "an item was lost");
    expect(delivered >= 18, fmt::format("only {} delivered", delivered));
    expect(oldest_ms < 60, fmt::format("a frame was {} ms old", oldest_ms));
  });
}

/// T-INJECT-n: one piece of work fails, whichever; its item fails with that error, all others are right.
TEST(SessionFaults, AsynchronousFailuresAreOneItems) {
  for (const sim::Call call : {sim::Call::copy, sim::Call::replay})
    for (std::uint64_t number = 0; number < 12; ++number) {
      SCOPED_TRACE(::testing::Message() << to_string(call) << ' ' << number);
      sched::explore(1, 5, [&] {
        SimEngine sim({.spec = spec(2, 3, 1)}, true);
        int failed = 0;
        {
          Session session{sim.engine, {.slots = 4}};
          session.prepare(kShape);
          sim.device->inject({.call = call, .number = number, .way = sim::Fault::asynchronous});
          std::vector<Ticket> tickets;
          const auto take = [&](std::size_t i) {
            try {
              const OutputLease out = tickets[i].get();
              expect(out["y"].as<float>()[0] == static_cast<float>(i) + 1, "a result is not its own input's");
            } catch (const Error&) {
              ++failed;
            }
          };
          for (std::size_t i = 0; i < 16; ++i) {
            if (i >= 4) take(i - 4);
            tickets.push_back(session.submit(fill(session.acquire(kShape), static_cast<float>(i))));
          }
          for (std::size_t i = 12; i < 16; ++i) take(i);
        }
        expect(failed == 1, fmt::format("{} items failed", failed));
        expect(sim.engine.hazards().empty(), "a hazard");
      });
    }
}

/// Calls that are refused while items are submitted: no hang, no wrong result, nothing left behind.
TEST(SessionFaults, RefusedCallsFailItemsNotTheSession) {
  for (const sim::Call call : {sim::Call::copy, sim::Call::replay, sim::Call::record, sim::Call::wait})
    for (std::uint64_t number = 0; number < 20; ++number) {
      SCOPED_TRACE(::testing::Message() << to_string(call) << ' ' << number);
      sched::explore(1, 2, [&] {
        SimEngine sim({.spec = spec(2, 3, 1)});
        Session session{sim.engine, {.slots = 4}};
        session.prepare(kShape);
        sim.device->inject({.call = call, .number = number});
        int failed = 0;
        for (int i = 0; i < 8; ++i) {
          Ticket ticket = session.submit(fill(session.acquire(kShape), static_cast<float>(i)));
          try {
            const OutputLease out = ticket.get();
            expect(out["y"].as<float>()[0] == static_cast<float>(i) + 1, "a result is not its own input's");
          } catch (const Error&) {
            ++failed;
          }
        }
        expect(failed <= 2, fmt::format("{} items failed", failed));
        session.close();
      });
    }
}

TEST(SessionFaults, ADeadDeviceFailsAllAndSaysSo) {
  sched::explore(1, 20, [] {
    SimEngine sim({.spec = spec(2, 3, 1)});
    Session session{sim.engine, {.slots = 4}};
    session.prepare(kShape);
    sim.device->inject({.call = sim::Call::replay, .number = 2, .way = sim::Fault::sticky});
    std::vector<Ticket> tickets;
    int results = 0, errors = 0, refused = 0;
    for (int i = 0; i < 12; ++i) {
      try {
        tickets.push_back(session.submit(fill(session.acquire(kShape), static_cast<float>(i))));
      } catch (const Error& e) {
        expect(std::string(e.what()).find("failed for good") != std::string::npos, e.what());
        ++refused;
        continue;
      }
      if (i < 4) continue;
      Ticket& ticket = tickets[static_cast<std::size_t>(i) - 4];
      try {
        (void)ticket.get();
        ++results;
      } catch (const Error&) {
        ++errors;
      }
    }
    expect(results == 2, fmt::format("{} results", results));
    expect(errors > 0 && refused > 0, "nobody was told");
    session.close();
  });
}

/// 0.97 of the slowest stage, with a session among the stages.
TEST(SessionTiming, APipelineIsAsFastAsItsSlowestStage) {
  using namespace std::chrono_literals;
  sched::explore(1, 10, [] {
    SimEngine sim({.spec = spec(2, 4, 1)});
    Session session{sim.engine, {.slots = 6}};
    session.prepare(kShape);
    const int n = 100;
    int next = 0;
    auto pipeline =
        make_pipeline<int>()
            .then("decode",
                  [](int v) {
                    sched::sleep_for(7ms);
                    return v;
                  },
                  {.workers = 2})
            .infer("network", session, kShape,
                   [](int v, InputLease& in) { in["x"].as<float>()[0] = static_cast<float>(v); })
            .then("post",
                  [](Inferred<int> r) {
                    sched::sleep_for(3ms);
                    expect(r.output["y"].as<float>()[0] == static_cast<float>(r.item) + 1, "not its own");
                    return r.item;
                  })
            .sink("sink", [&](int v) { expect(v == next++, "out of order"); });
    const auto begin = sched::Clock::now();
    for (int i = 0; i < n; ++i) pipeline.push(i);
    pipeline.close();
    const double ms = std::chrono::duration<double, std::milli>(sched::Clock::now() - begin).count();
    expect(next == n, "items are missing");
    const double bound = n * 4.0 + 7 + 2 + 1 + 3;  // filling and draining it included
    expect(bound / ms >= 0.97, fmt::format("{} ms, {} would be right", ms, bound));
    expect(pipeline.report().slowest()->name == "network", pipeline.report().text());
  });
}

}  // namespace
}  // namespace headrace
