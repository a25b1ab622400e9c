// T-TIMER, D-37: what a stopwatch around an asynchronous call measures, and what a Latency does.
#include <headrace/latency.h>

#include "seedway/session_util.h"

namespace headrace::seedway {

using namespace std::chrono_literals;

TEST(T_TIMER, seedway) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine};
    session.prepare(kShape);
    const auto begin = sched::Clock::now();
    Ticket ticket = submit(session, 1);
    const auto stopped = sched::Clock::now() - begin;
    EXPECT_LT(stopped, 6ms) << "less than the device computes";
    ticket.wait();
  });
}

TEST(T_TIMER, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine};
    session.prepare(kShape);
    Ticket ticket = submit(session, 1);
    try {
      static_cast<void>(Latency::of(ticket));
      ADD_FAILURE() << "a time before the end";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::misuse);
      EXPECT_NE(std::string(e.what()).find("wait for the ticket"), std::string::npos) << e.what();
    }
    ticket.wait();
    const auto known = Latency::of(ticket).value();
    const OutputLease out = ticket.get();
    const Latency latency(out);
    EXPECT_GE(latency.value(), known);
    EXPECT_EQ(latency.value(), 12ms) << "upload + compute + download";
    EXPECT_EQ(Latency(out, latency.begin_ns() - 5'000'000).value(), 17ms) << "it came 5 ms before";
    EXPECT_THROW(Latency(out, latency.begin_ns() + 1), Error);
    EXPECT_THROW(static_cast<void>(Latency::of(ticket)), Error) << "it was taken";
  });
}

}  // namespace headrace::seedway
