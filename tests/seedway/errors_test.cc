// Errors, lifetime, shutdown: D-27 to D-31.
#include <atomic>
#include <cmath>
#include <stdexcept>

#include "seedway/session_util.h"

namespace headrace::seedway {
namespace {

using sim::Call;
using sim::Fault;

constexpr Call kCallsOfARun[] = {Call::allocate, Call::copy, Call::launch, Call::record, Call::wait};

/// Three batches, one after the other, with every status thrown away. What is printed at the end.
std::vector<float> careless(Rig& rig, const Fault& fault) {
  const auto ignore = [](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error&) {
    }
  };
  std::vector<float> printed;
  auto stream = rig.stream("compute");
  const BufferRef host_in = rig.pinned(0), host_out = rig.pinned(-1), in = rig.empty(MemoryKind::device),
                  out = rig.empty(MemoryKind::device);
  const EventRef ready = rig.event();
  rig.sim->inject(fault);
  for (int k = 0; k < 3; ++k) {
    Rig::fill(host_in, static_cast<float>(k));
    ignore([&] { stream->copy(write(in), read(host_in)); });
    ignore([&] { rig.compute(*stream, k, in, out); });
    ignore([&] { stream->copy(write(host_out), read(out)); });
    ignore([&] { stream->record(*ready); });
    ignore([&] { ready->wait(); });
    printed.push_back(*reinterpret_cast<const float*>(host_out->host_data()));  // "Succeeded"
  }
  ignore([&] { stream->synchronize(); });
  return printed;
}

// D-27, D-28: no status is looked at; success is printed whatever happened.
TEST(T_INJECT_n, seedway) {
  int wrong = 0;
  for (const Call call : {Call::copy, Call::launch})
    for (std::uint64_t n = 0; n < 6; ++n)
      explore(
          [&] {
            Rig rig;
            wrong += careless(rig, {.call = call, .number = n}) != std::vector<float>{f(0), f(1), f(2)};
          },
          1);
  EXPECT_GE(wrong, 6) << "wrong numbers are printed as a success";
}

/// Everything a program does, with the n-th call of that kind failing. Error: it was told so.
enum class End { right, told };
End run_session(testing::SimEngine& sim, const Fault& fault) {
  sim.device->inject(fault);
  bool told = false;
  try {
    Session session{sim.engine, {.slots = 2}};
    std::deque<std::pair<float, Ticket>> tickets;
    const auto take = [&] {
      auto [value, ticket] = std::move(tickets.front());
      tickets.pop_front();
      try {
        EXPECT_EQ(value_of(ticket.get()), f(value)) << "a wrong result was delivered";
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find("injected fault"), std::string::npos) << e.what();
        told = true;
      }
    };
    for (int k = 0; k < 4; ++k) {
      if (tickets.size() == 2) take();
      tickets.emplace_back(static_cast<float>(k), submit(session, static_cast<float>(k)));
    }
    while (!tickets.empty()) take();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("injected fault"), std::string::npos) << e.what();
    told = true;
  }
  return told ? End::told : End::right;
}

TEST(T_INJECT_n, ours) {
  int told = 0;
  for (const Call call : kCallsOfARun)
    for (const Fault::Way way : {Fault::refused, Fault::asynchronous, Fault::sticky})
      for (std::uint64_t n = 0; n < 12; ++n)
        sched::explore(n, 2, [&] {
          testing::SimEngine sim(session_options());
          const sim::Live before = sim.device->live();
          told += run_session(sim, {.call = call, .number = n, .way = way}) == End::told;
          EXPECT_EQ(sim.device->live(), before) << "nothing may be left: " << to_string(call) << " " << n;
          EXPECT_EQ(sim.device->violations(), std::vector<std::string>{})
              << to_string(call) << " " << n << ", way " << way;
        });
  EXPECT_GE(told, 100) << "the faults must hit";
}

// D-28
TEST(T_NO_FALSE_SUCCESS, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    Session session{sim.engine, {.slots = 1}};
    session.prepare(kShape);
    sim.device->inject({.call = Call::copy, .way = Fault::asynchronous});
    Ticket failed = submit(session, 1);
    EXPECT_EQ(test::code_of([&] { static_cast<void>(failed.get()); }), ErrorCode::device);
    EXPECT_EQ(value_of(submit(session, 2).get()), f(2)) << "one failed item fails only its own ticket";
  });
}

// D-29, D-54: clean-up at the end of the happy path only.
TEST(T_LEAK, seedway) {
  explore(
      [] {
        auto device = sim::make_device();
        std::vector<BufferRef> handles;  // plain numbers in the article: nobody's to free
        const auto infer = [&] {
          for (int i = 0; i < 3; ++i)
            handles.push_back(device->allocate(64, MemoryKind::device, MemoryUse::io));
          handles.clear();
        };
        device->inject({.call = Call::allocate, .number = 2});
        EXPECT_THROW(infer(), Error);
        EXPECT_EQ(device->live().buffers, 2);
      },
      1);
}
TEST(T_LEAK, ours) {
  explore(
      [] {
        testing::SimEngine sim(session_options());
        const sim::Live before = sim.device->live();
        for (int i = 0; i < 20; ++i) {
          Session session{sim.engine, {.slots = 2}};
          static_cast<void>(submit(session, 1).get());
        }
        EXPECT_EQ(sim.device->live(), before) << "opened and closed again and again";
      },
      2);
}

// D-30: threads are not joined.
TEST(T_JOIN, seedway) {
  explore([] {
    std::atomic<int> printed = 0;
    sched::Thread printer;
    const auto infer = [&] {
      printer = sched::Thread("printer", [&] {
        for (int k = 0; k < 5; ++k) {
          sched::sleep_for(std::chrono::milliseconds(5));
          ++printed;
        }
      });
      sched::sleep_for(std::chrono::milliseconds(12));
    };  // returns without a join
    infer();
    EXPECT_LT(printed, 5) << "the window is closed, the results are still being printed";
    printer.join();
  });
}
TEST(T_JOIN, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    int calls = 0;
    {
      Session session{sim.engine, {.slots = 3}};
      for (int k = 0; k < 5; ++k)
        static_cast<void>(submit(session, 1, kShape, {.callback = [&](Ticket) { ++calls; }}));
      session.close();
      EXPECT_EQ(calls, 5);
    }
    EXPECT_EQ(sim.device->live().streams, 0);
  });
}

// D-31: an exception in the loop leaves the printer waiting for ever.
TEST(T_SUBMIT_THROWS, seedway) {
  static sched::Thread* volatile parked = nullptr;  // for good: never joined, and its queue never freed
  static Queue<int>* queue = nullptr;
  sched::DeterministicScheduler scheduler(1);
  std::string why;
  EXPECT_EQ(test::code_of(
                [&] {
                  scheduler.run([] {
                    queue = new Queue<int>(1);
                    parked = new sched::Thread("printer", [] {
                      while (queue->get() >= 0) {
                      }
                    });
                    throw std::runtime_error("the loop fails before it has put the end into the queue");
                  });
                },
                &why),
            ErrorCode::internal);
  EXPECT_NE(why.find("deadlock"), std::string::npos) << why;
  EXPECT_NE(parked, nullptr);
}
TEST(T_SUBMIT_THROWS, ours) {
  explore([] {
    testing::SimEngine sim(session_options());
    std::atomic<int> printed = 0;
    const auto loop = [&] {
      Session session{sim.engine, {.slots = 2}};
      for (int k = 0; k < 3; ++k)
        static_cast<void>(submit(session, 1, kShape, {.callback = [&](Ticket) { ++printed; }}));
      throw std::runtime_error("the loop fails");
    };
    EXPECT_THROW(loop(), std::runtime_error);
    EXPECT_EQ(printed, 3) << "what was submitted is delivered, and everything is joined";
    EXPECT_EQ(sim.device->live().streams, 0);
  });
}

}  // namespace
}  // namespace headrace::seedway
