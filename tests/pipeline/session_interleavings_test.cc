// Session under the deterministic scheduler: every seed is another interleaving of user threads and workers.
#include <gtest/gtest.h>

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
  Session session{engine, {.slots = 2, .streams = 2}};
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

TEST(SessionInterleavings, TwoSubmitters) {
  const Engine engine = testing::small_engine();
  sched::explore(1, 4000, [&] { two_submitters(engine); });
}
TEST(SessionInterleavings, CloseRacesWithSubmit) {
  const Engine engine = testing::small_engine();
  sched::explore(1, 4000, [&] { close_races_with_submit(engine); });
}
TEST(SessionInterleavings, DroppedTickets) {
  const Engine engine = testing::small_engine();
  sched::explore(1, 4000, [&] { dropped_tickets(engine); });
}

}  // namespace
}  // namespace headrace
