// Session on a device with memory of its own: several in flight, each with its own result.
#include <cstring>

#include <gtest/gtest.h>

#include "base/sched.h"
#include "pipeline/small_engine.h"
#include "plan/apart.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::fill;
using testing::Gate;
using testing::MoodyEngine;

const ShapeMap kShape = {{"x", {2, 4}}};

void expect_value(const OutputLease& out, float value) {
  for (float v : out["y"].as<float>()) EXPECT_EQ(v, value);
}

TEST(SessionOverlap, ResultsAreEachOnesOwn) {
  for (const bool recordings : {true, false})
    for (const int contexts : {1, 2})
      for (const int ring : {1, 2, 3}) {
        SCOPED_TRACE(::testing::Message() << recordings << contexts << ring);
        MoodyEngine engine({.recordings = recordings, .check_hazards = true});
        Session session{engine, {.slots = 5, .contexts = contexts, .ring = ring}};
        std::vector<Ticket> tickets;
        for (int i = 0; i < 40; ++i) {
          if (i >= 5) expect_value(tickets[static_cast<std::size_t>(i - 5)].get(), static_cast<float>(i - 4));
          const ShapeMap shape{{"x", {1 + i % 3, 4}}};
          tickets.push_back(session.submit(fill(session.acquire(shape), static_cast<float>(i))));
        }
        for (std::size_t i = 35; i < 40; ++i) expect_value(tickets[i].get(), static_cast<float>(i) + 1);
        EXPECT_TRUE(engine.engine().hazards().empty()) << engine.engine().hazards().front();
        EXPECT_EQ(session.stats().completed, 40u);
      }
}

TEST(SessionOverlap, ManyAreInFlightWithOneContext) {
  Gate gate;
  MoodyEngine engine({.mood = [&](float v) {
    if (v == 1) gate.pass();
  }});
  Session session{engine, {.slots = 4}};
  session.prepare(kShape);
  std::vector<Ticket> tickets;
  for (int i = 1; i <= 4; ++i)
    tickets.push_back(session.submit(fill(session.acquire(kShape), static_cast<float>(i))));
  gate.await();
  while (tickets[3].status() == TicketStatus::waiting) sched::sleep_for(1ms);
  EXPECT_EQ(session.stats().max_in_flight, 4u);  // while the first one computes
  gate.open();
  for (int i = 1; i <= 4; ++i)
    expect_value(tickets[static_cast<std::size_t>(i) - 1].get(), static_cast<float>(i) + 1);
}

TEST(SessionOverlap, AnUploadedInputIsFreeBeforeItsComputationEnds) {  // T-CONSUMED
  Gate gate;
  MoodyEngine engine({.mood = [&](float v) {
    if (v != 0) gate.pass();  // 0: the warm-up of prepare
  }});
  Session session{engine, {.slots = 1}};
  InputLease lease = fill(session.acquire(kShape), 1);
  Ticket ticket = session.submit(std::move(lease));
  InputLease next = fill(session.acquire(kShape), 7);  // would wait for ever if computing held the input
  EXPECT_FALSE(ticket.ready());
  gate.open();
  expect_value(ticket.get(), 2);
}

TEST(SessionOverlap, ASlowReaderHoldsNoContext) {  // T-LEASE-SLOW
  MoodyEngine engine({});
  Session session{engine, {.slots = 3}};
  OutputLease held = session.submit(fill(session.acquire(kShape), 1)).get();
  for (int i = 0; i < 20; ++i)
    expect_value(session.submit(fill(session.acquire(kShape), static_cast<float>(i))).get(),
                 static_cast<float>(i) + 1);
  expect_value(held, 2);
}

TEST(SessionOverlap, OneFailureIsOneTickets) {
  Gate gate;
  MoodyEngine engine({.mood = [&](float v) {
    if (v != 0) gate.pass();
    if (v == 666) throw Error(ErrorCode::internal, "this item is broken");
  }});
  Session session{engine, {.slots = 6}};
  session.prepare(kShape);
  std::vector<Ticket> tickets;
  for (const float v : {1.0f, 666.0f, 3.0f, 4.0f})
    tickets.push_back(session.submit(fill(session.acquire(kShape), v)));
  while (tickets[3].status() == TicketStatus::waiting) sched::sleep_for(1ms);
  gate.open();  // all four are in flight
  expect_value(tickets[0].get(), 2);
  try {
    (void)tickets[1].get();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.message(), "this item is broken");
  }
  expect_value(tickets[2].get(), 4);
  expect_value(tickets[3].get(), 5);
  EXPECT_EQ(session.stats().failed, 1u);
}

TEST(SessionOverlap, WaitPoliciesDeliver) {
  MoodyEngine engine({});
  for (const WaitPolicy wait : {WaitPolicy::block, WaitPolicy::yield, WaitPolicy::spin}) {
    Session session{engine, {.slots = 2, .contexts = 2, .wait = wait}};
    for (int i = 0; i < 20; ++i)
      expect_value(session.submit(fill(session.acquire(kShape), static_cast<float>(i))).get(),
                   static_cast<float>(i) + 1);
  }
}

TEST(SessionOverlap, PageableInputIsStagedAndCounted) {  // T-PIN-STAYS
  MoodyEngine engine({});
  Session session{engine, {.slots = 2, .staging_threads = 3}};
  std::vector<float> values(8, 5);
  Ticket ticket = session.submit({{"x", ConstTensorView(std::span(values), {2, 4})}}, {.tag = 4});
  std::fill(values.begin(), values.end(), 99.0f);  // the caller's memory is free
  const OutputLease out = ticket.get();
  expect_value(out, 6);
  EXPECT_EQ(out.tag(), 4u);
  EXPECT_EQ(session.stats().staged, 1u);
  EXPECT_EQ(session.stats().staged_bytes, 32u);
  EXPECT_THROW((void)session.submit({{"z", ConstTensorView(std::span(values), {2, 4})}}), Error);
  EXPECT_THROW((void)session.submit({{"x", ConstTensorView(std::span(values), {8})}}), Error);
}

TEST(SessionOverlap, WeightsThatAnotherThreadUploadedAreOrdered) {
  static const Registry registry = test::make_apart_registry();
  const auto engine = Engine::from(test::apart_engine(registry, 0, {.threads = 1, .check_hazards = true}));
  Session session{engine, {.contexts = 2}};
  const ShapeMap shapes{{"x", {2, 2, 4, 4}}, {"i", {3}}};
  for (std::uint32_t i = 0; i < 4; ++i) {
    const test::Tensors inputs = test::inputs_of(2, i);
    InputLease lease = session.acquire(shapes);
    for (const auto& [name, tensor] : inputs)
      std::memcpy(lease[name].data(), tensor.bytes().data(), tensor.bytes().size());
    const OutputLease out = session.submit(std::move(lease)).get();
    const auto expected = test::run_graph(test::small_graph(), inputs);
    for (std::size_t o = 0; o < expected.size(); ++o) {
      HostTensor got(expected[o].dtype(), expected[o].shape());
      ASSERT_EQ(out[o].size_bytes(), got.bytes().size());
      std::memcpy(got.mutable_bytes().data(), out[o].data(), out[o].size_bytes());
      EXPECT_TRUE(test::close(got, expected[o])) << o;
    }
  }
  for (const std::string& hazard : engine.hazards()) ADD_FAILURE() << hazard;
}

}  // namespace
}  // namespace headrace
