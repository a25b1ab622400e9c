// Session under the deterministic scheduler: every seed is another interleaving of user threads and workers.
#include <functional>
#include <optional>

#include <gtest/gtest.h>

#include <headrace/log.h>

#include "base/sched.h"
#include "pipeline/small_engine.h"

namespace headrace {
namespace {

const ShapeMap kShape = {{"x", {1, 4}}};

Ticket submit(Session& session, float value, SubmitOptions options = {}) {
  InputLease lease = session.acquire(kShape);
  for (float& v : lease["x"].as<float>()) v = value;
  return session.submit(std::move(lease), std::move(options));
}

void expect(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

/// Two submitters, one slow reader, fewer slots than items: all results are each one's own.
void two_submitters(const Engine& engine) {
  Session session{engine, {.slots = 2, .contexts = 2}};
  const auto work = [&](float base) {
    for (int i = 0; i < 3; ++i) {
      Ticket ticket = submit(session, base + static_cast<float>(i), {.tag = static_cast<std::uint64_t>(i)});
      OutputLease out = ticket.get();
      sched::yield_point();
      expect(out["y"].as<float>()[0] == base + static_cast<float>(i) + 1, "a result is not its own input's");
      expect(out.tag() == static_cast<std::uint64_t>(i), "a tag was mixed up");
    }
  };
  sched::Thread other("other", [&] { work(100); });
  work(10);
  other.join();
  session.close();
  expect(session.stats().completed == 6, "not all items completed");
}

/// Close races with submitters: each item either completes or its submitter is told that the session is
/// closed.
void close_races_with_submit(const Engine& engine) {
  Session session{engine, {.slots = 2}};
  int results = 0, refused = 0;
  sched::Thread user("user", [&] {
    for (int i = 0; i < 3; ++i) {
      try {
        OutputLease out = submit(session, 1).get();
        ++results;
      } catch (const Error& e) {
        expect(e.code() == ErrorCode::misuse, "the wrong error");
        ++refused;
      }
    }
  });
  session.close();
  user.join();
  expect(results + refused == 3, "an item was lost");
}

/// Dropped tickets and callbacks give their slots back.
void dropped_tickets(const Engine& engine) {
  int calls = 0;
  Session session{engine, {.slots = 1}};
  for (int i = 0; i < 3; ++i) (void)submit(session, 1, {.callback = [&](Ticket t) { calls += t.ready(); }});
  OutputLease last = submit(session, 5).get();
  expect(last["y"].as<float>()[3] == 6, "the last result is wrong");
  session.close();
  expect(calls == 3, "a callback is missing");
}

/// More items than slots, given up in every way: each ticket gets its own result, or the error it should.
void given_up(const Engine& engine) {
  Session session{engine, {.slots = 2, .contexts = 2, .overflow = Overflow::drop_oldest}};
  int results = 0, errors = 0, calls = 0;
  const auto settle = [&](Ticket ticket, float value) {
    try {
      OutputLease out = ticket.get();
      expect(out["y"].as<float>()[3] == value + 1, "a result is not its own input's");
      ++results;
    } catch (const Error& e) {
      expect(e.code() == ErrorCode::dropped || e.code() == ErrorCode::cancelled ||
                 e.code() == ErrorCode::timeout,
             "the wrong error");
      ++errors;
    }
  };
  sched::Thread other("other", [&] {
    std::vector<Ticket> tickets;
    for (float v = 10; v < 13; ++v)
      tickets.push_back(submit(session, v, {.callback = [&](Ticket) { ++calls; }}));
    tickets[1].cancel();
    for (int i = 0; i < 3; ++i)
      settle(std::move(tickets[static_cast<std::size_t>(i)]), 10 + static_cast<float>(i));
  });
  {
    Ticket a = submit(session, 20, {.deadline = std::chrono::nanoseconds(1)});
    Ticket b = submit(session, 21);
    settle(std::move(a), 20);
    settle(std::move(b), 21);
  }
  other.join();
  session.close();
  expect(results + errors == 5, "an item was lost");
  expect(calls == 3, "a callback is missing");
}

/// Items of two threads share batches; one is cancelled.
void batches(const Engine& engine) {
  Session session{engine,
                  {.slots = 2, .batch = {.max_batch = 3, .max_delay = std::chrono::microseconds(20)}}};
  const auto item = [&](float value) {
    const std::vector<float> values(4, value);
    return session.submit({{"x", ConstTensorView(std::span(values), {1, 4})}});
  };
  sched::Thread other("other", [&] {
    Ticket a = item(1), b = item(2);
    const bool cancelled = a.cancel();
    expect(b.get()["y"].as<float>()[0] == 3, "a row is not its own item's");
    try {
      expect(a.get()["y"].as<float>()[0] == 2 && !cancelled, "a row is not its own item's");
    } catch (const Error& e) {
      expect(cancelled && e.code() == ErrorCode::cancelled, "the wrong error");
    }
  });
  for (float v = 10; v < 12; ++v)
    expect(item(v).get()["y"].as<float>()[3] == v + 1, "a row is not its own item's");
  other.join();
}

/// More submitters than inputs: those who wait for one come back to a batch that another thread has opened.
void crowded_batches(const Engine& engine) {
  Session session{
      engine,
      {.slots = 2, .contexts = 2, .batch = {.max_batch = 2, .max_delay = std::chrono::microseconds(20)}}};
  const auto work = [&](float base) {
    for (float v = base; v < base + 2; ++v) {
      const std::vector<float> values(4, v);
      Ticket ticket = session.submit({{"x", ConstTensorView(std::span(values), {1, 4})}});
      expect(ticket.get()["y"].as<float>()[3] == v + 1, "a row is not its own item's");
    }
  };
  std::vector<sched::Thread> others;
  for (int t = 1; t < 8; ++t) others.emplace_back("other", [&, t] { work(static_cast<float>(10 * t)); });
  work(0);
  for (sched::Thread& t : others) t.join();
  session.close();
  expect(session.stats().completed == 16, "not all items completed");
}

/// A thread waits for an input when another's item becomes one that it may drop; all outputs are held.
void dropped_for_who_waits_already(const Engine& engine) {
  Session session{engine, {.slots = 1, .overflow = Overflow::drop_oldest}};
  const OutputLease held = submit(session, 1).get();
  std::optional<InputLease> lease = session.acquire(kShape);
  sched::Thread other("other", [&] {
    const auto begin = sched::Clock::now();
    const InputLease mine = session.acquire(kShape);
    expect(sched::Clock::now() - begin < std::chrono::seconds(1), "an input could be had long before");
  });
  sched::sleep_for(std::chrono::milliseconds(1));
  Ticket ticket = session.submit(std::move(*lease));
  other.join();
  expect(ticket.ready(), "it was not dropped");
}

/// A message about a long wait: the sink looks at the session.
void curious_log_sink(const Engine& engine) {
  Session session{engine, {.slots = 1}};
  int messages = 0;
  const LogSink former =
      set_log_sink([&](LogSeverity, std::string_view) { messages += session.stats().submitted == 2; });
  std::optional<OutputLease> held = submit(session, 1).get();
  Ticket stuck = submit(session, 2);
  sched::Thread other("other", [&] { stuck.wait(); });
  sched::sleep_for(std::chrono::seconds(8));
  held.reset();
  other.join();
  set_log_sink(former);
  expect(messages == 1, "nobody said why it waits");
}

/// The scenario under many seeds, on host memory and on a device with memory of its own, hazards watched.
void explore(std::uint64_t seeds, const std::function<void(const Engine&)>& scenario) {
#ifdef __SANITIZE_THREAD__
  seeds = seeds / 10 + 1;  // ten times as slow there, and for races that any interleaving shows
#endif
  for (const bool apart : {false, true}) {
    SCOPED_TRACE(apart ? "memory of its own" : "host memory");
    testing::MoodyEngine engine({.separate_memory = apart, .recordings = apart, .check_hazards = true});
    sched::explore(1, seeds, [&] { scenario(engine); });
    for (const std::string& hazard : engine.engine().hazards()) ADD_FAILURE() << hazard;
  }
}

TEST(SessionInterleavings, TwoSubmitters) { explore(400, two_submitters); }
TEST(SessionInterleavings, CloseRacesWithSubmit) { explore(1000, close_races_with_submit); }
TEST(SessionInterleavings, DroppedTickets) { explore(1000, dropped_tickets); }
TEST(SessionInterleavings, CrowdedBatches) { explore(400, crowded_batches); }
TEST(SessionInterleavings, GivenUp) { explore(1000, given_up); }
TEST(SessionInterleavings, DroppedForWhoWaitsAlready) { explore(100, dropped_for_who_waits_already); }
TEST(SessionInterleavings, CuriousLogSink) { explore(50, curious_log_sink); }
TEST(SessionInterleavings, Batches) { explore(1000, batches); }

}  // namespace
}  // namespace headrace
