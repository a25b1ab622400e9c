// Overflow policies, cancel, deadlines, closing, callbacks, futures: what becomes of items that wait.
#include <atomic>
#include <optional>

#include <gtest/gtest.h>

#include <headrace/future.h>

#include "base/sched.h"
#include "pipeline/small_engine.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::fill;
using testing::Gate;
using testing::MoodyEngine;

const ShapeMap kShape = {{"x", {1, 4}}};

ErrorCode failure(Ticket& ticket) {
  try {
    (void)ticket.get();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "no error";
  return ErrorCode::internal;
}
float value(Ticket& ticket) { return ticket.get()["y"].as<float>()[0]; }

/// One worker on host memory, which computes item 1 until the gate opens: what comes after it waits.
struct Busy {
  explicit Busy(SessionOptions options)
      : engine({.separate_memory = false,
                .recordings = false,
                .mood =
                    [this](float v) {
                      if (v == 1) gate.pass();
                    }}),
        session(engine, options) {
    first = session.submit(fill(session.acquire(kShape), 1));
    gate.await();
  }
  Ticket submit(float v, SubmitOptions options = {}) {
    return session.submit(fill(session.acquire(kShape), v), std::move(options));
  }
  Gate gate;
  MoodyEngine engine;
  Session session;
  std::optional<Ticket> first;
};

TEST(Overflow, DropOldestKeepsTheNewest) {
  Busy busy({.slots = 3, .overflow = Overflow::drop_oldest});
  std::vector<Ticket> tickets;
  for (float v = 2; v < 8; ++v) tickets.push_back(busy.submit(v));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(failure(tickets[i]), ErrorCode::dropped) << i;
  busy.gate.open();
  EXPECT_EQ(value(*busy.first), 2);
  EXPECT_EQ(value(tickets[4]), 7);
  EXPECT_EQ(value(tickets[5]), 8);
  EXPECT_EQ(busy.session.stats().dropped, 4u);
}

TEST(Overflow, DropNewestKeepsTheOldest) {
  Busy busy({.slots = 3, .overflow = Overflow::drop_newest});
  std::vector<Ticket> tickets;
  for (float v = 2; v < 8; ++v) tickets.push_back(busy.submit(v));
  for (std::size_t i = 2; i < 6; ++i) EXPECT_EQ(failure(tickets[i]), ErrorCode::dropped) << i;
  busy.gate.open();
  EXPECT_EQ(value(*busy.first), 2);
  EXPECT_EQ(value(tickets[0]), 3);
  EXPECT_EQ(value(tickets[1]), 4);
}

TEST(Overflow, LatestKeepsOne) {  // T-RUNAWAY
  Busy busy({.slots = 3, .overflow = Overflow::latest});
  std::vector<Ticket> tickets;
  for (float v = 2; v < 8; ++v) tickets.push_back(busy.submit(v));
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(failure(tickets[i]), ErrorCode::dropped) << i;
  busy.gate.open();
  EXPECT_EQ(value(tickets[5]), 8);
}

TEST(Overflow, RejectRefusesTheInput) {
  Busy busy({.slots = 2, .overflow = Overflow::reject});
  Ticket second = busy.submit(2);
  EXPECT_THROW((void)busy.session.acquire(kShape), Error);
  EXPECT_EQ(busy.session.stats().rejected, 1u);
  busy.gate.open();
  EXPECT_EQ(value(second), 3);
}

TEST(Overflow, BlockWaits) {
  Busy busy({.slots = 2});
  Ticket second = busy.submit(2);
  std::atomic<bool> through{false};
  std::optional<Ticket> third;
  sched::Thread other("other", [&] {
    third = busy.submit(3);
    through = true;
  });
  sched::sleep_for(20ms);
  EXPECT_FALSE(through);
  busy.gate.open();
  other.join();
  EXPECT_EQ(value(*busy.first), 2);  // its output is what the third one needs
  EXPECT_EQ(value(second), 3);
  EXPECT_EQ(value(*third), 4);
}

TEST(Cancel, OnlyWhatHasNotStarted) {
  Busy busy({.slots = 3});
  Ticket second = busy.submit(2), third = busy.submit(3);
  EXPECT_EQ(second.status(), TicketStatus::waiting);
  EXPECT_TRUE(second.cancel());
  EXPECT_FALSE(second.cancel());
  EXPECT_FALSE(busy.first->cancel()) << "it runs";
  EXPECT_EQ(second.status(), TicketStatus::failed);
  InputLease free = busy.session.acquire(kShape);  // the cancelled item's
  busy.gate.open();
  EXPECT_EQ(value(*busy.first), 2);
  EXPECT_EQ(value(third), 4);
  EXPECT_EQ(failure(second), ErrorCode::cancelled);
  EXPECT_EQ(busy.session.stats().cancelled, 1u);
}

TEST(Deadline, WhatHasNotStartedFails) {
  MoodyEngine engine({});
  Session session{engine, {.slots = 1}};
  std::optional<OutputLease> held = session.submit(fill(session.acquire(kShape), 1)).get();
  Ticket late = session.submit(fill(session.acquire(kShape), 2), {.deadline = 5ms});  // no output is free
  sched::Thread other("other", [&] { late.wait(); });
  other.join();
  EXPECT_EQ(failure(late), ErrorCode::timeout);
  held.reset();
  Ticket fine = session.submit(fill(session.acquire(kShape), 3), {.deadline = 10s});
  EXPECT_EQ(value(fine), 4);
  EXPECT_EQ(session.stats().expired, 1u);
}

TEST(Closing, CancelGivesUpWhatWaits) {
  Busy busy({.slots = 4, .closing = Closing::cancel});
  Ticket second = busy.submit(2), third = busy.submit(3);
  sched::Thread opener("opener", [&] {
    sched::sleep_for(5ms);
    busy.gate.open();
  });
  busy.session.close();
  opener.join();
  EXPECT_EQ(value(*busy.first), 2);
  EXPECT_EQ(failure(second), ErrorCode::cancelled);
  EXPECT_EQ(failure(third), ErrorCode::cancelled);
}

TEST(Closing, DrainNeedsNobodyToReadOutputs) {  // T-JOIN
  for (const bool apart : {false, true}) {
    MoodyEngine engine({.separate_memory = apart});
    std::vector<Ticket> tickets;
    Session session{engine, {.slots = 2}};
    std::optional<OutputLease> held = session.submit(fill(session.acquire(kShape), 1)).get();
    for (float v = 2; v < 5; ++v) {
      tickets.push_back(session.submit(fill(session.acquire(kShape), v)));
      if (v == 2) tickets.back().wait();  // now no output is free
    }
    session.close();
    for (float v = 2; v < 5; ++v) EXPECT_EQ(value(tickets[static_cast<std::size_t>(v) - 2]), v + 1);
  }
}

TEST(Delivery, InOrderOrAsReady) {  // T-ORDER-MULTI
  for (const Delivery delivery : {Delivery::in_order, Delivery::as_ready}) {
    Gate gate;
    MoodyEngine engine({.mood = [&](float v) {
      if (v == 1) gate.pass();
    }});
    Session session{engine, {.slots = 4, .contexts = 2, .delivery = delivery}};
    session.prepare(kShape);
    std::vector<std::uint64_t> order;
    std::vector<Ticket> tickets;
    for (float v = 1; v <= 3; ++v)
      tickets.push_back(session.submit(fill(session.acquire(kShape), v),
                                       {.callback = [&](Ticket t) { order.push_back(t.sequence()); }}));
    gate.await();
    // One of the others runs on the second context and is done.
    const bool second = tickets[1].wait_for(delivery == Delivery::in_order ? 30ms : 10s);
    EXPECT_EQ(second, delivery == Delivery::as_ready);
    gate.open();
    session.close();
    ASSERT_EQ(order.size(), 3u);
    if (delivery == Delivery::in_order) {
      EXPECT_EQ(order, (std::vector<std::uint64_t>{0, 1, 2}));
    }
  }
}

TEST(Ticket, ThenAndFutures) {
  MoodyEngine engine({.mood = [](float v) {
    if (v == 666) throw Error(ErrorCode::internal, "broken");
  }});
  Session session{engine};
  std::atomic<int> calls = 0;
  Ticket ready = session.submit(fill(session.acquire(kShape), 1));
  ready.wait();
  std::move(ready).then([&](Ticket t) { calls += static_cast<int>(value(t)); });
  EXPECT_EQ(calls, 2);
  std::future<OutputLease> good = to_future(session.submit(fill(session.acquire(kShape), 3)));
  std::future<OutputLease> bad = to_future(session.submit(fill(session.acquire(kShape), 666)));
  EXPECT_EQ(good.get()["y"].as<float>()[0], 4);
  EXPECT_THROW((void)bad.get(), Error);
  Ticket has_one = session.submit(fill(session.acquire(kShape), 1), {.callback = [](Ticket) {}});
  has_one.wait();
}

TEST(Ticket, TimesAreInOrder) {
  MoodyEngine engine({});
  Session session{engine};
  Ticket ticket = session.submit(fill(session.acquire(kShape), 1));
  const OutputLease out = ticket.get();
  const TicketTimes t = out.times();
  EXPECT_GT(t.submitted_ns, 0);
  EXPECT_LE(t.submitted_ns, t.started_ns);
  EXPECT_LE(t.started_ns, t.uploaded_ns);
  EXPECT_LE(t.uploaded_ns, t.finished_ns);
  EXPECT_LE(t.finished_ns, t.delivered_ns);
  EXPECT_EQ(ticket.status(), TicketStatus::taken);
}

TEST(Ticket, ACallbackCannotWaitForItsSession) {
  MoodyEngine engine({});
  Session session{engine, {.slots = 4}};
  Gate refused;
  const auto waits = [&](Ticket) {
    Ticket mine = session.submit(fill(session.acquire(kShape), 3));
    try {
      while (!mine.ready()) mine.wait();  // it may be quicker than we are
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::misuse);
    }
    refused.open();
  };
  Ticket ticket = session.submit(fill(session.acquire(kShape), 2), {.callback = waits});
  refused.pass();
}

TEST(Exhaustion, OutputsAndInputsByOnesOwnHand) {
  MoodyEngine engine({});
  Session session{engine, {.slots = 1}};
  OutputLease held = session.submit(fill(session.acquire(kShape), 1)).get();
  Ticket stuck = session.submit(fill(session.acquire(kShape), 2));
  try {
    (void)session.acquire(kShape);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::misuse);
    EXPECT_NE(std::string(e.what()).find("output leases"), std::string::npos) << e.what();
  }
}

TEST(Callback, MayPutItsTicketBack) {
  MoodyEngine engine({});
  Session session{engine, {.slots = 2}};
  for (float v = 1; v < 4; ++v) {
    Ticket ticket = session.submit(fill(session.acquire(kShape), v));
    ticket.wait();
    std::move(ticket).then([&](Ticket t) { ticket = std::move(t); });  // at once: it is ready
    EXPECT_EQ(value(ticket), v + 1);
  }
  Ticket taken = session.submit(fill(session.acquire(kShape), 5), {.callback = [](Ticket) {}});
  EXPECT_EQ(value(taken), 6);
}

TEST(Callback, MayAcquireIntoTheLeaseThatIsBeingSubmitted) {
  Busy busy({.slots = 3, .overflow = Overflow::latest});
  std::optional<InputLease> lease = fill(busy.session.acquire(kShape), 3);
  Ticket second = busy.submit(2, {.callback = [&](Ticket) { *lease = busy.session.acquire(kShape); }});
  Ticket third = busy.session.submit(std::move(*lease));  // drops the second, whose callback comes here
  *lease = fill(std::move(*lease), 9);
  Ticket fourth = busy.session.submit(fill(busy.session.acquire(kShape), 4));
  lease.reset();
  busy.gate.open();
  EXPECT_EQ(failure(second), ErrorCode::dropped);
  EXPECT_EQ(failure(third), ErrorCode::dropped);
  EXPECT_EQ(value(fourth), 5);
}

TEST(Callback, IsKnownAfterACallbackOfAnotherSessionInsideIt) {
  Busy other({.slots = 3, .overflow = Overflow::latest});
  MoodyEngine engine({});
  Session session{engine, {.slots = 4}};
  Gate done;
  std::vector<ErrorCode> codes;
  const auto close = [&](Ticket) {
    try {
      session.close();
    } catch (const Error& e) {
      codes.push_back(e.code());
    }
  };
  Ticket ticket = session.submit(fill(session.acquire(kShape), 2), {.callback = [&](Ticket t) {
                                   (void)other.submit(2, {.callback = close});
                                   (void)other.submit(3);  // drops it
                                   close(std::move(t));
                                   done.open();
                                 }});
  done.pass();
  EXPECT_EQ(codes, (std::vector{ErrorCode::misuse, ErrorCode::misuse}));
  other.gate.open();
}

TEST(Callback, DoesNotWaitForAnInput) {  // its own worker would have to compute
  MoodyEngine engine({.separate_memory = false, .recordings = false});
  Session session{engine, {.slots = 2}};
  Gate done;
  int submitted = 0;
  std::optional<ErrorCode> code;
  const auto go_on = [&](Ticket) {
    try {
      for (; submitted < 10; ++submitted) (void)session.submit(fill(session.acquire(kShape), 3));
    } catch (const Error& e) {
      code = e.code();
    }
    done.open();
  };
  Ticket ticket = session.submit(fill(session.acquire(kShape), 2), {.callback = go_on});
  done.pass();
  EXPECT_EQ(code, ErrorCode::misuse);
  EXPECT_EQ(submitted, 2);
}

/// The only worker computes: who waits for the ticket notices the deadline.
TEST(Deadline, FailsWhileTheWorkerIsBusy) {
  Busy busy({.slots = 3});
  Ticket late = busy.submit(2, {.deadline = 2ms});
  EXPECT_TRUE(late.wait_for(10s));
  EXPECT_EQ(failure(late), ErrorCode::timeout);
  busy.gate.open();
  EXPECT_EQ(value(*busy.first), 2);
  EXPECT_EQ(busy.session.stats().expired, 1u);
}

/// The worker that watches the deadlines runs the callback.
TEST(Deadline, OfAnItemThatACallbackSubmits) {
  MoodyEngine engine({});
  Session session{engine, {.slots = 2}};
  std::vector<OutputLease> held;
  for (int i = 0; i < 2; ++i) held.push_back(session.submit(fill(session.acquire(kShape), 1)).get());
  std::optional<Ticket> second;
  const auto submit_another = [&](Ticket) {
    second = session.submit(fill(session.acquire(kShape), 3), {.deadline = 1ms});
  };
  Ticket first =
      session.submit(fill(session.acquire(kShape), 2), {.deadline = 1ms, .callback = submit_another});
  const auto patience = sched::Clock::after(10s);
  while (session.stats().expired < 2 && sched::Clock::now() < patience) sched::sleep_for(1ms);
  EXPECT_EQ(session.stats().expired, 2u);
}

/// What a callback holds may be the session's own: it goes when the callback has been called, without the
/// lock.
TEST(Callback, MayHoldLeases) {
  MoodyEngine engine({});
  Session session{engine, {.slots = 16}};  // leases of callbacks to come count as this thread's
  for (int i = 0; i < 4; ++i) {
    (void)to_future(session.submit(fill(session.acquire(kShape), 1)));  // the promise keeps the output
    const auto spare = std::make_shared<InputLease>(session.acquire(kShape));
    (void)session.submit(fill(session.acquire(kShape), 2), {.callback = [spare](Ticket) {}});
  }
}

}  // namespace
}  // namespace headrace
