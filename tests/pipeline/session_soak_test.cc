// Many items through one session, given up in every way there is: none is lost, none comes twice, no result
// is another item's, and memory stays flat. HEADRACE_SOAK says how many items (a million take about a
// minute).
#include <array>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <random>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/sched.h"
#include "pipeline/small_engine.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::MoodyEngine;

std::int64_t items_to_run() {
  const char* text = std::getenv("HEADRACE_SOAK");
#ifdef __SANITIZE_THREAD__
  return text ? std::atoll(text) : 2'000;
#else
  return text ? std::atoll(text) : 20'000;
#endif
}

std::int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::int64_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// What became of the items; each comes exactly once. Numbers are exact in f32.
struct Ledger {
  static constexpr std::int64_t kExact = 1 << 24;
  explicit Ledger(std::int64_t items) : seen(static_cast<std::size_t>(items)) {}
  void result(const OutputLease& out) {
    const float expected = static_cast<float>(static_cast<std::int64_t>(out.tag()) % kExact) + 1;
    for (float v : out["y"].as<float>()) wrong += v != expected;
    ++results;
    once(out.tag());
  }
  void error(std::uint64_t tag, const Error& e) {
    const ErrorCode code = e.code();
    wrong += code != ErrorCode::dropped && code != ErrorCode::cancelled && code != ErrorCode::timeout;
    ++errors;
    once(tag);
  }
  void settle(Ticket ticket) {
    const std::uint64_t tag = ticket.tag();
    try {
      const OutputLease out = ticket.get();
      if (tag % 97 == 0) sched::sleep_for(20us);  // a slow reader holds the memory
      result(out);
    } catch (const Error& e) {
      error(tag, e);
    }
  }
  void once(std::uint64_t tag) { twice += seen.at(tag).exchange(true); }

  std::vector<std::atomic<bool>> seen;
  std::atomic<std::int64_t> results{0}, errors{0}, wrong{0}, twice{0};
};

/// A submitter with four items in flight, which does to them what the random numbers say.
class Submitter {
 public:
  Submitter(Session& session, Ledger& ledger, std::uint64_t seed, bool leases)
      : session_(session), ledger_(ledger), random_(seed), leases_(leases) {}
  void item(std::uint64_t tag) {
    SubmitOptions options{.tag = tag};
    if (roll() < 4) options.deadline = std::chrono::microseconds(roll());
    const float value = static_cast<float>(static_cast<std::int64_t>(tag) % Ledger::kExact);
    Ticket ticket = submit(value, options);
    const int fate = roll();
    if (fate < 5) {
      (void)ticket.cancel();  // may be too late, and then has a result
    } else if (fate < 15) {
      std::move(ticket).then([&ledger = ledger_](Ticket t) { ledger.settle(std::move(t)); });
      return;
    } else if (fate < 18) {
      ledger_.once(tag);  // nobody wants it: its memory comes back by itself
      ++dropped_;
      return;
    } else if (fate < 20) {
      (void)ticket.wait_for(std::chrono::microseconds(roll()));
    }
    flying_.push_back(std::move(ticket));
    while (flying_.size() > 4) take(roll() < 80 ? 0 : flying_.size() - 1);
  }
  void finish() {
    while (!flying_.empty()) take(0);
  }
  std::int64_t dropped() const { return dropped_; }

 private:
  int roll() { return static_cast<int>(random_() % 100); }
  Ticket submit(float value, const SubmitOptions& options) {
    if (!leases_ || roll() < 30) {  // pageable memory
      const std::vector<float> values(4, value);
      return session_.submit({{"x", ConstTensorView(std::span(values), {1, 4})}}, options);
    }
    if (roll() < 2) (void)session_.acquire({{"x", {1, 4}}});  // changes its mind
    return session_.submit(testing::fill(session_.acquire({{"x", {1, 4}}}), value), options);
  }
  void take(std::size_t index) {
    Ticket ticket = std::move(flying_[index]);
    flying_.erase(flying_.begin() + static_cast<std::ptrdiff_t>(index));
    ledger_.settle(std::move(ticket));
  }

  Session& session_;
  Ledger& ledger_;
  std::mt19937_64 random_;
  bool leases_;
  std::deque<Ticket> flying_;
  std::int64_t dropped_ = 0;
};

struct Kind {
  const char* name;
  Overflow overflow;
  int max_batch;
  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
};
class SessionSoak : public ::testing::TestWithParam<Kind> {};

TEST_P(SessionSoak, NothingIsLostOrRepeatedAndMemoryIsFlat) {
  constexpr std::int64_t kThreads = 2;
  const std::int64_t items = items_to_run() / kThreads * kThreads, warm = items / 10;
  MoodyEngine engine({.check_hazards = items <= 20'000});  // the checker remembers
  Ledger ledger(items);
  std::int64_t dropped = 0, resident = 0;
  {
    Session session{engine,
                    {.slots = 12,
                     .contexts = 2,
                     .overflow = GetParam().overflow,
                     .batch = {.max_batch = GetParam().max_batch, .max_delay = 50us}}};
    const auto run = [&](std::int64_t from, std::int64_t to) {
      std::deque<Submitter> submitters;
      for (std::int64_t t = 0; t < kThreads; ++t)
        submitters.emplace_back(session, ledger, static_cast<std::uint64_t>(from + t),
                                GetParam().max_batch == 1);
      std::vector<sched::Thread> threads;
      for (std::int64_t t = 0; t < kThreads; ++t)
        threads.emplace_back("submitter", [&, t] {
          Submitter& mine = submitters.at(static_cast<std::size_t>(t));
          for (std::int64_t i = from + t; i < to; i += kThreads) mine.item(static_cast<std::uint64_t>(i));
          mine.finish();
        });
      for (sched::Thread& thread : threads) thread.join();
      for (const Submitter& s : submitters) dropped += s.dropped();
    };
    run(0, warm);
    resident = resident_bytes();
    run(warm, items);
    session.close();
    const SessionStats stats = session.stats();
    EXPECT_EQ(stats.submitted, static_cast<std::uint64_t>(items));
    EXPECT_EQ(stats.failed, 0u);
    EXPECT_EQ(stats.completed + stats.dropped + stats.cancelled + stats.expired, stats.submitted);
  }
  EXPECT_EQ(ledger.wrong, 0);
  EXPECT_EQ(ledger.twice, 0);
  EXPECT_EQ(ledger.results + ledger.errors + dropped, items);
  EXPECT_GT(ledger.results, items / 20);
  EXPECT_GT(ledger.errors, 0);
  EXPECT_LE(engine.engine().statistics().allocations, 64u);  // the pools, whatever the number of items
  if (items > 20'000) {  // below, the checker and the sanitizers' books would be measured
    EXPECT_LT(resident_bytes(), resident + (1 << 20));
  }
  for (const std::string& hazard : engine.engine().hazards()) ADD_FAILURE() << hazard;
}

INSTANTIATE_TEST_SUITE_P(Sessions, SessionSoak,
                         ::testing::Values(Kind{"block", Overflow::block, 1},
                                           Kind{"drop_oldest", Overflow::drop_oldest, 1},
                                           Kind{"latest", Overflow::latest, 1},
                                           Kind{"batches", Overflow::block, 4}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace headrace
