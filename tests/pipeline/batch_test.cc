// Single items, submitted by many threads, that run as one batch.
#include <atomic>
#include <optional>

#include <gtest/gtest.h>

#include "base/sched.h"
#include "pipeline/sim_engine.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::Gate;
using testing::MoodyEngine;

struct Item {
  explicit Item(float v) : values(4, v) {}
  Ticket submit(Session& session, SubmitOptions options = {}) const {
    return session.submit({{"x", ConstTensorView(std::span(values), {1, 4})}}, std::move(options));
  }
  std::vector<float> values;
};

void expect_item(Ticket& ticket, float value) {
  const OutputLease out = ticket.get();
  EXPECT_EQ(out["y"].shape(), (Shape{1, 4}));
  for (float v : out["y"].as<float>()) EXPECT_EQ(v, value);
}

TEST(Batch, AFullBatchRunsAtOnce) {
  MoodyEngine engine({.check_hazards = true});
  Session session{engine, {.slots = 2, .batch = {.max_batch = 4, .max_delay = 10min}}};
  std::vector<Ticket> tickets;
  for (int i = 0; i < 8; ++i)
    tickets.push_back(Item(static_cast<float>(i)).submit(session, {.tag = static_cast<std::uint64_t>(i)}));
  for (int i = 0; i < 8; ++i) {
    Ticket& ticket = tickets[static_cast<std::size_t>(i)];
    EXPECT_EQ(ticket.sequence(), static_cast<std::uint64_t>(i));
    expect_item(ticket, static_cast<float>(i) + 1);
  }
  EXPECT_EQ(session.stats().batches, 2u);
  EXPECT_TRUE(engine.engine().hazards().empty()) << engine.engine().hazards().front();
}

TEST(Batch, ALonelyItemWaitsNoLongerThanTheDelay) {
  MoodyEngine engine({});
  Session session{engine, {.batch = {.max_batch = 4, .max_delay = 2ms}}};
  session.prepare({{"x", {1, 4}}});
  for (int n : {1, 3, 2}) {  // 3 is padded to 4
    std::vector<Ticket> tickets;
    for (int i = 0; i < n; ++i) tickets.push_back(Item(static_cast<float>(i)).submit(session));
    for (int i = 0; i < n; ++i) expect_item(tickets[static_cast<std::size_t>(i)], static_cast<float>(i) + 1);
  }
  EXPECT_EQ(session.stats().prepared_late, 0u);
}

TEST(Batch, ManyThreadsGetTheirOwnRows) {
  for (const bool apart : {true, false}) {
    MoodyEngine engine({.separate_memory = apart, .recordings = apart, .check_hazards = true});
    Session session{engine, {.slots = 3, .contexts = 2, .batch = {.max_batch = 8, .max_delay = 100us}}};
    std::atomic<int> wrong = 0;
    std::vector<sched::Thread> threads;
    for (int t = 0; t < 6; ++t)
      threads.emplace_back("submitter", [&, t] {
        std::uint64_t last = 0;
        for (int i = 0; i < 60; ++i) {
          const float value = static_cast<float>(t * 100 + i);
          Ticket ticket = Item(value).submit(session);
          if (i > 0 && ticket.sequence() <= last) ++wrong;
          last = ticket.sequence();
          if (ticket.get()["y"].as<float>()[3] != value + 1) ++wrong;
        }
      });
    for (sched::Thread& t : threads) t.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(session.stats().completed, 360u);
    EXPECT_LT(session.stats().batches, 360u);
    EXPECT_TRUE(engine.engine().hazards().empty()) << engine.engine().hazards().front();
  }
}

TEST(Batch, AnErrorReachesEveryItemAndTheNextBatchRuns) {
  MoodyEngine engine({.mood = [](float v) {
    if (v == 666) throw Error(ErrorCode::internal, "broken");
  }});
  Session session{engine, {.batch = {.max_batch = 2, .max_delay = 10min}}};
  Ticket a = Item(666).submit(session), b = Item(2).submit(session);
  Ticket c = Item(3).submit(session), d = Item(4).submit(session);
  EXPECT_THROW((void)a.get(), Error);
  EXPECT_THROW((void)b.get(), Error);
  expect_item(c, 4);
  expect_item(d, 5);
}

TEST(Batch, ItemsAreCancelledOneByOne) {
  MoodyEngine engine({});
  Session session{engine, {.batch = {.max_batch = 3, .max_delay = 10min}}};
  Ticket a = Item(1).submit(session), b = Item(2).submit(session);
  EXPECT_TRUE(a.cancel());
  Ticket c = Item(3).submit(session);
  EXPECT_THROW((void)a.get(), Error);
  expect_item(b, 3);
  expect_item(c, 4);
}

TEST(Batch, CloseRunsWhatIsOpen) {
  MoodyEngine engine({});
  Session session{engine, {.batch = {.max_batch = 8, .max_delay = 10min}}};
  Ticket a = Item(1).submit(session), b = Item(2).submit(session);
  session.close();
  expect_item(a, 2);
  expect_item(b, 3);
}

TEST(Batch, MisuseIsNamed) {
  MoodyEngine engine({});
  Session session{engine, {.batch = {.max_batch = 8}}};
  EXPECT_THROW((void)session.acquire({{"x", {1, 4}}}), Error);
  const std::vector<float> two(8, 1);
  EXPECT_THROW((void)session.submit({{"x", ConstTensorView(std::span(two), {2, 4})}}), Error);
  Session large{engine, {.batch = {.max_batch = 64, .max_delay = 1ms}}};  // the profile ends at 8
  Ticket ticket = Item(1).submit(large);
  expect_item(ticket, 2);
}

TEST(Batch, ADeadlineHoldsWhileTheBatchIsOpen) {
  MoodyEngine engine({});
  Session session{engine, {.batch = {.max_batch = 4, .max_delay = 10min}}};
  Ticket late = Item(1).submit(session, {.deadline = 2ms}), other = Item(2).submit(session);
  while (!late.ready() && session.stats().expired == 0) sched::sleep_for(1ms);  // nobody waits for it
  EXPECT_THROW((void)late.get(), Error);
  EXPECT_EQ(session.stats().expired, 1u);
  session.close();
  expect_item(other, 3);
}

/// Row 2 of [4] sums is no item's result.
TEST(Batch, AnOutputWithoutTheAxisOfTheBatchIsRefused) {
  Graph graph;
  const Dim n = graph.shapes().symbol("N", {SymbolSource::dim, 0, 0});
  const ValueId x = graph.add_input("x", {DType::f32, {n, 4}});
  graph.add_output("y", graph.add1(Reduce{.axes = {0}, .keep_dims = false}, {x}));
  compiler::Options options{.device = "reference"};
  options.profiles = {{{"x", {1, 4}, {2, 4}, {8, 4}}}};
  options.opt_level = 0;
  const Engine engine = Engine::load(
      PlanFile(std::make_shared<const Plan>(compiler::compile(std::move(graph), api::registry(), options))));
  Session session{engine, {.batch = {.max_batch = 2, .max_delay = 10min}}};
  Ticket a = Item(1).submit(session), b = Item(2).submit(session);
  for (Ticket* ticket : {&a, &b}) {
    const OutputLease out = ticket->get();
    EXPECT_THROW((void)out["y"], Error);
  }
}

/// The device dies while one batch runs and another is open: both are told, the open one at once.
TEST(Batch, ADeadDeviceFailsTheOpenBatch) {
  sched::explore(1, 20, [] {
    testing::SimEngine sim;
    Session session{sim.engine, {.batch = {.max_batch = 2, .max_delay = 10min}}};
    const auto begin = sched::Clock::now();
    sim.device->inject({.call = sim::Call::replay, .way = sim::Fault::sticky});
    std::vector<Ticket> tickets;
    try {
      for (int i = 0; i < 3; ++i) tickets.push_back(Item(1).submit(session));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::device);
    }
    for (Ticket& ticket : tickets) EXPECT_THROW((void)ticket.get(), Error);
    EXPECT_LT(sched::Clock::now() - begin, 1min);
    const SessionStats stats = session.stats();
    EXPECT_EQ(stats.submitted, stats.failed);
  });
}

}  // namespace
}  // namespace headrace
