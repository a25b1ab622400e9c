// Session in native threads: contracts that do not depend on the interleaving.
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "pipeline/small_engine.h"

namespace headrace {
namespace {

using testing::small_engine;
const ShapeMap kShape = {{"x", {2, 4}}};

InputLease filled(Session& session, float value) {
  InputLease lease = session.acquire(kShape);
  for (float& v : lease["x"].as<float>()) v = value;
  return lease;
}

TEST(Session, ReturnsTheResultOfItsOwnInput) {
  const Engine engine = small_engine();
  Session session{engine, {.slots = 2}};
  Ticket a = session.submit(filled(session, 3), {.tag = 7});
  OutputLease out = a.get();
  EXPECT_EQ(out.tag(), 7u);
  EXPECT_EQ(out["y"].shape(), (Shape{2, 4}));
  for (float v : out["y"].as<float>()) EXPECT_EQ(v, 4);
}

TEST(Session, HeldOutputsKeepTheirValues) {  // T-LEASE
  const Engine engine = small_engine();
  Session session{engine, {.slots = 3}};
  OutputLease first = session.submit(filled(session, 1)).get();
  OutputLease second = session.submit(filled(session, 2)).get();
  for (int i = 0; i < 50; ++i) {
    OutputLease other = session.submit(filled(session, 100.0f + static_cast<float>(i))).get();
    EXPECT_EQ(other["y"].as<float>()[0], 101.0f + static_cast<float>(i));
  }
  EXPECT_EQ(first["y"].as<float>()[7], 2);
  EXPECT_EQ(second["y"].as<float>()[7], 3);
}

TEST(Session, TypesAndNamesAreChecked) {
  const Engine engine = small_engine();
  Session session{engine};
  InputLease lease = session.acquire(kShape);
  EXPECT_THROW(lease["z"], Error);
  EXPECT_THROW(lease["x"].as<double>(), Error);
  InputLease moved = std::move(lease);
  EXPECT_THROW(lease["x"], Error);  // NOLINT: use after move is what is tested
  EXPECT_THROW((void)session.submit(std::move(lease)), Error);
}

TEST(Session, AShapeOutsideTheProfileNamesTheRange) {
  const Engine engine = small_engine();
  Session session{engine};
  for (const std::int64_t batch : {0, 9}) {
    try {
      (void)session.acquire({{"x", {batch, 4}}});
      FAIL() << "batch " << batch << " was accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      const std::string text = e.what();
      EXPECT_NE(text.find("x"), std::string::npos);
      EXPECT_NE(text.find("1"), std::string::npos);
      EXPECT_NE(text.find("8"), std::string::npos) << text;
    }
  }
}

TEST(Session, RejectsWhenFull) {
  const Engine engine = small_engine();
  Session session{engine, {.slots = 1, .overflow = Overflow::reject}};
  InputLease lease = session.acquire(kShape);
  try {
    (void)session.acquire(kShape);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::rejected);
  }
  EXPECT_EQ(session.stats().rejected, 1u);
}

TEST(Session, ExhaustionByOnesOwnHandIsAnError) {
  const Engine engine = small_engine();
  Session session{engine, {.slots = 2}};
  InputLease a = session.acquire(kShape), b = session.acquire(kShape);
  try {
    (void)session.acquire(kShape);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::misuse);
  }
}

TEST(Session, WaitingWhileHoldingAllOutputsIsAnError) {
  const Engine engine = small_engine();
  Session session{engine, {.slots = 1}};
  OutputLease held = session.submit(filled(session, 1)).get();
  Ticket ticket = session.submit(filled(session, 2));
  EXPECT_THROW(ticket.wait(), Error);
  { OutputLease gone = std::move(held); }
  EXPECT_EQ(ticket.get()["y"].as<float>()[0], 3);
}

TEST(Session, GetTwiceIsAnError) {
  const Engine engine = small_engine();
  Session session{engine};
  Ticket ticket = session.submit(filled(session, 1));
  { OutputLease out = ticket.get(); }
  EXPECT_THROW((void)ticket.get(), Error);
}

TEST(Session, CallbacksComeOnceAndMayThrow) {  // T-CALLBACK-THROWS
  const Engine engine = small_engine();
  std::atomic<int> calls = 0;
  Session session{engine, {.slots = 2}};
  for (int i = 0; i < 20; ++i) {
    Ticket ticket = session.submit(filled(session, 1), {.tag = 1, .callback = [&](Ticket done) {
                                                          EXPECT_TRUE(done.ready());
                                                          ++calls;
                                                          throw std::runtime_error("user code");
                                                        }});
    EXPECT_EQ(ticket.get()["y"].as<float>()[0], 2);
  }
  session.close();
  EXPECT_EQ(calls, 20);
}

TEST(Session, CloseDrainsAndRefusesNewWork) {  // T-DRAIN
  const Engine engine = small_engine();
  std::vector<Ticket> tickets;
  Session session{engine, {.slots = 4, .contexts = 2}};
  for (int i = 0; i < 4; ++i) tickets.push_back(session.submit(filled(session, static_cast<float>(i))));
  session.close();
  session.close();
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(tickets[static_cast<std::size_t>(i)].get()["y"].as<float>()[0], static_cast<float>(i) + 1);
  EXPECT_THROW((void)session.acquire(kShape), Error);
}

TEST(Session, LeasesAndTicketsOutliveTheSession) {
  const Engine engine = small_engine();
  std::optional<Ticket> ticket;
  std::optional<OutputLease> out;
  {
    Session session{engine};
    out = session.submit(filled(session, 5)).get();
    ticket = session.submit(filled(session, 6));
  }
  EXPECT_EQ((*out)["y"].as<float>()[0], 6);
  EXPECT_EQ(ticket->get()["y"].as<float>()[0], 7);
}

TEST(Session, ManyThreadsGetTheirOwnResults) {  // T-SEQ
  const Engine engine = small_engine();
  Session session{engine, {.slots = 3, .contexts = 2}};
  std::atomic<int> wrong = 0;
  {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 100; ++i) {
          const float value = static_cast<float>(t * 1000 + i);
          OutputLease out =
              session.submit(filled(session, value), {.tag = static_cast<std::uint64_t>(t)}).get();
          if (out["y"].as<float>()[5] != value + 1 || out.tag() != static_cast<std::uint64_t>(t)) ++wrong;
        }
      });
    for (std::thread& t : threads) t.join();
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(session.stats().completed, 400u);
}

TEST(Session, SteadyStateMakesNoBuffers) {  // T-HOT-ALLOC
  const Engine engine = small_engine();
  Session session{engine, {.slots = 2}};
  session.prepare(kShape);
  for (int i = 0; i < 10; ++i) (void)session.submit(filled(session, 1)).get();
  const std::uint64_t before = session.stats().allocations;
  for (int i = 0; i < 100; ++i) (void)session.submit(filled(session, 1)).get();
  EXPECT_EQ(session.stats().allocations, before);
}

TEST(Session, WaitForTimesOutWithoutHarm) {
  const Engine engine = small_engine();
  Session session{engine, {.slots = 1}};
  std::optional<OutputLease> held = session.submit(filled(session, 1)).get();
  Ticket ticket = session.submit(filled(session, 2));
  std::thread other([&] { EXPECT_FALSE(ticket.wait_for(std::chrono::milliseconds(20))); });
  other.join();
  EXPECT_FALSE(ticket.ready());
  held.reset();
  EXPECT_TRUE(ticket.wait_for(std::chrono::seconds(10)));
  EXPECT_EQ(ticket.get()["y"].as<float>()[0], 3);
}

TEST(Session, BadOptionsAreNamed) {
  const Engine engine = small_engine();
  EXPECT_THROW((Session{engine, {.slots = 0}}), Error);
  EXPECT_THROW((Session{engine, {.contexts = -1}}), Error);
}

TEST(Session, AViewWithoutDataIsAnError) {
  for (const int max_batch : {1, 4}) {
    Session session{small_engine(), {.batch = {.max_batch = max_batch}}};
    EXPECT_THROW((void)session.submit({{"x", ConstTensorView(DType::f32, {1, 4}, nullptr)}}), Error);
  }
}

}  // namespace
}  // namespace headrace
