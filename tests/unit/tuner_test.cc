// The search for the fastest way: what tactics are asked, what decides, what the cache spares.
#include "tuner/tuner.h"

#include <atomic>
#include <cmath>
#include <exception>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sched.h"
#include "device/host_device.h"
#include "tuner/make_ahead.h"

namespace headrace::tuner {
namespace {

using testing::HasSubstr;

class Wait final : public Kernel {
 public:
  Wait(int us, std::size_t workspace) : us_(us), workspace_(workspace) {}
  std::size_t workspace_bytes() const override { return workspace_; }
  std::string_view name() const override { return "wait"; }
  void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override {
    sched::sleep_for(std::chrono::microseconds(us_));
  }

 private:
  int us_;
  std::size_t workspace_;
};

/// Choices are the microseconds that they take; "x" cannot be made, "big" wants too much memory.
class Waits final : public Tactic {
 public:
  Waits(std::string id, std::vector<Choice> first, std::vector<Choice> more = {})
      : id_(std::move(id)), first_(std::move(first)), more_(std::move(more)) {}
  std::string_view id() const override { return id_; }
  std::optional<Refusal> refuses(const Problem&) const override { return std::nullopt; }
  std::vector<Choice> candidates(const Problem&) const override {
    ++asked;
    return first_;
  }
  std::vector<Choice> refine(const Problem&, std::span<const TriedChoice> tried, bool full) const override {
    if (full && first_.size() > 1) return {"900"};
    if (!tried.empty() && tried.front().us > 0 && std::isfinite(tried.front().us)) {
      EXPECT_EQ(tried.front().choice, best_);
    }
    return more_;
  }
  std::string packing(const Choice&) const override { return "same"; }
  std::optional<Packed> pack(const Problem&, const Choice&, std::size_t index,
                             const HostTensor& data) const override {
    if (index != 1) return std::nullopt;
    ++packed;
    return Packed{"mine", {data.bytes().begin(), data.bytes().end()}};
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice& choice) const override {
    ++made;
    EXPECT_EQ(p.srcs.at(1).format, "mine");
    if (choice == "x") throw Error(ErrorCode::unsupported, "no such kernel");
    if (choice == "big") return std::make_unique<Wait>(1, std::size_t{1} << 40);
    return std::make_unique<Wait>(std::stoi(choice), 64);
  }
  void expect_best(Choice best) { best_ = std::move(best); }
  mutable std::atomic<int> asked{0}, packed{0}, made{0};

 private:
  std::string id_;
  std::vector<Choice> first_, more_;
  Choice best_;
};

Problem problem() {
  Problem p;
  p.op = Reorder{};
  p.srcs = {TensorDesc::dense(DType::f32, {4, 8}), TensorDesc::dense(DType::f32, {8})};
  p.dsts = {TensorDesc::dense(DType::f32, {4, 8})};
  return p;
}

/// In virtual time, so that a busy machine changes no figure.
void in_virtual_time(const std::function<void()>& body) {
  std::exception_ptr error;
  sched::explore(1, 1, [&] {
    try {
      body();
    } catch (...) {
      error = std::current_exception();
    }
  });
  if (error) std::rethrow_exception(error);
}

class TunerTest : public testing::TestWithParam<bool> {
 protected:
  Verdict choose(std::vector<const Tactic*> tactics, TunerOptions options = {}) {
    options.bench.budget = std::chrono::milliseconds(1);
    options.make_threads = 3;
    HostDeviceOptions host;
    host.recordings = host.separate_memory = GetParam();
    const std::vector<Constant> constants{nullptr, std::make_shared<HostTensor>(DType::f32, Shape{8})};
    Verdict verdict;
    in_virtual_time([&] {
      Tuner tuner(make_host_device(host), 1, cache_, options);
      verdict = tuner.choose(problem(), tactics, constants);
      measured_ = tuner.measured();
    });
    return verdict;
  }
  TimingCache cache_;
  std::size_t measured_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Machines, TunerTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Recording" : "Direct"; });

TEST_P(TunerTest, TakesTheFastestOfAllTactics) {
  Waits a("a", {"400", "300"}), b("b", {"500", "100", "x", "big"});
  a.expect_best("300");
  b.expect_best("100");
  const Verdict verdict = choose({&a, &b});
  EXPECT_EQ(verdict.tactic, &b);
  EXPECT_EQ(verdict.choice, "100");
  ASSERT_EQ(verdict.trials.size(), 4u);
  EXPECT_EQ(verdict.trials.front().choice, "100");
  EXPECT_TRUE(verdict.failed.empty());
  EXPECT_EQ(a.packed, 1);  // choices that pack alike share
  EXPECT_EQ(measured_, 4u);
}

TEST_P(TunerTest, AsksWhatElseToTryBesideTheBest) {
  Waits slow("slow", {"2000", "2500"}, {"50"});
  class Once final : public Tactic {
   public:
    std::string_view id() const override { return "once"; }
    std::optional<Refusal> refuses(const Problem&) const override { return std::nullopt; }
    std::vector<Choice> candidates(const Problem&) const override { return {"400", "300"}; }
    std::vector<Choice> refine(const Problem&, std::span<const TriedChoice> tried, bool) const override {
      return {std::to_string(std::stoi(tried.front().choice) - 100)};
    }
    std::unique_ptr<Kernel> make(const Problem&, const Choice& choice) const override {
      if (std::stoi(choice) < 100) throw Error(ErrorCode::unsupported, "too good to be true");
      return std::make_unique<Wait>(std::stoi(choice), 0);
    }
  } once;
  const Verdict verdict = choose({&once, &slow});
  EXPECT_EQ(verdict.choice, "100");
  EXPECT_EQ(slow.made, 2);  // far behind: not looked into
}

TEST_P(TunerTest, ASearchThatTheCacheKnowsAsksNobody) {
  Waits a("a", {"300", "100"});
  a.expect_best("100");
  const Verdict first = choose({&a});
  const std::string text = cache_.print();
  EXPECT_THAT(text, HasSubstr("best\t"));
  cache_ = TimingCache::parse(text);
  const int asked = a.asked, made = a.made;
  const Verdict second = choose({&a});
  EXPECT_EQ(a.asked, asked);
  EXPECT_EQ(a.made, made);
  EXPECT_EQ(measured_, 0u);
  EXPECT_EQ(second.choice, first.choice);
  ASSERT_EQ(second.trials.size(), first.trials.size());
  for (std::size_t i = 0; i < first.trials.size(); ++i) {
    EXPECT_EQ(second.trials[i].choice, first.trials[i].choice);
    EXPECT_EQ(second.trials[i].us, first.trials[i].us);
  }
  EXPECT_EQ(cache_.print(), text);
  // Another set of tactics, or a search of everything, is another search.
  Waits b("b", {"20", "50"});
  b.expect_best("20");
  EXPECT_EQ(choose({&a, &b}).tactic, &b);
  TunerOptions full;
  full.full = true;
  choose({&a}, full);
  EXPECT_THAT(cache_.print(), HasSubstr("\t900\t"));
}

TEST_P(TunerTest, OneWayIsTakenUntimed) {
  Waits a("a", {"300"});
  const Verdict verdict = choose({&a});
  EXPECT_EQ(verdict.choice, "300");
  EXPECT_EQ(measured_, 0u);
  EXPECT_EQ(a.made, 0);
}

TEST_P(TunerTest, TimesOneWayWhenAsked) {
  Waits a("a", {"300"});
  HostDeviceOptions host;
  host.recordings = host.separate_memory = GetParam();
  Tuner tuner(make_host_device(host), 1, cache_);
  const std::vector<Constant> constants{nullptr, std::make_shared<HostTensor>(DType::f32, Shape{8})};
  const double us = tuner.time(problem(), a, "200", constants);
  EXPECT_GE(us, 200);
  EXPECT_EQ(tuner.time(problem(), a, "200", constants), us);  // from the cache
  EXPECT_EQ(a.made, 1);
  EXPECT_THROW(tuner.time(problem(), a, "x", constants), Error);
}

TEST_P(TunerTest, WhereNothingWorksItSaysWhy) {
  Waits a("a", {"x", "big"});
  const Verdict verdict = choose({&a});
  EXPECT_EQ(verdict.tactic, nullptr);
  ASSERT_EQ(verdict.failed.size(), 1u);
  EXPECT_THAT(verdict.failed[0].second, HasSubstr("no such kernel"));
}

TEST_P(TunerTest, CanBeStoppedBetweenCandidates) {
  Waits a("a", {"100", "110", "120", "130"});
  TunerOptions options;
  int polls = 0;
  options.poll = [&] {
    if (++polls == 2) throw Error(ErrorCode::cancelled, "enough");
  };
  EXPECT_THROW(choose({&a}, options), Error);
  EXPECT_EQ(polls, 2);
  EXPECT_EQ(cache_.size(), 0u);
}

// Announced problems are compiled ahead once each, but for those that the cache knows.
TEST_P(TunerTest, CompilesAheadWhatIsAnnounced) {
  class Slow final : public Tactic {
   public:
    std::string_view id() const override { return "slow"; }
    std::optional<Refusal> refuses(const Problem&) const override { return std::nullopt; }
    std::vector<Choice> candidates(const Problem&) const override { return {"10", "20"}; }
    std::unique_ptr<Kernel> make(const Problem&, const Choice& choice) const override {
      return std::make_unique<Wait>(std::stoi(choice), 0);
    }
    void compile_ahead(const Problem& p, const std::atomic<bool>&) const override {
      ++compiled;
      if (p.srcs[0].shape[0] == 5) throw Error(ErrorCode::unsupported, "met again later");
    }
    mutable std::atomic<int> compiled{0};
  } slow;
  std::vector<Announced> announced;
  std::vector<Problem> problems;
  const std::vector<Constant> constants(2);
  for (const std::int64_t rows : {3, 4, 5, 3}) {
    Problem p = problem();
    p.srcs[0] = p.dsts[0] = TensorDesc::dense(DType::f32, {rows, 8});
    announced.push_back({p, {&slow}, problem_text(p, constants)});
    problems.push_back(std::move(p));
  }
  HostDeviceOptions host;
  host.recordings = host.separate_memory = GetParam();
  TunerOptions options;
  options.make_threads = 2;
  const Tactic* const tactic = &slow;
  in_virtual_time([&] {
    Tuner tuner(make_host_device(host), 1, cache_, options);
    tuner.choose(problems[1], {&tactic, 1}, constants);
    tuner.announce(announced);
    for (int i = 0; GetParam() && slow.compiled < 2 && i < 5000; ++i)
      sched::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(tuner.choose(problems[0], {&tactic, 1}, constants).choice, "10");
  });
  EXPECT_EQ(slow.compiled, GetParam() ? 2 : 0);
}

TEST(MakeAhead, GivesAllInOrderAndMakesEachOnce) {
  for (const int threads : {0, 1, 4}) {
    std::vector<std::atomic<int>> made(50);
    std::atomic<int> entered{0};
    MakeAhead<std::size_t> ahead(
        made.size(), threads,
        [&] {
          ++entered;
          return std::shared_ptr<void>();
        },
        [&](std::size_t i) {
          ++made[i];
          return i * i;
        });
    for (std::size_t i = 0; i < made.size(); ++i) EXPECT_EQ(ahead.take(i), i * i);
    for (const auto& m : made) EXPECT_EQ(m, 1);
    EXPECT_LE(entered, threads);
  }
}

TEST(MakeAhead, StopsWithoutMakingTheRest) {
  std::atomic<int> made{0};
  {
    MakeAhead<int> ahead(
        1000, 2, [] { return std::shared_ptr<void>(); },
        [&](std::size_t i) {
          ++made;
          sched::sleep_for(std::chrono::milliseconds(1));
          return static_cast<int>(i);
        });
    EXPECT_EQ(ahead.take(0), 0);
  }
  EXPECT_LT(made, 1000);
}

TEST(MakeAhead, AnyInterleavingGivesTheSame) {
  sched::explore(1, 200, [] {
    std::vector<std::size_t> taken;
    MakeAhead<std::size_t> ahead(
        5, 2, [] { return std::shared_ptr<void>(); },
        [](std::size_t i) {
          sched::yield_point();
          return i;
        });
    for (std::size_t i = 0; i < 5; ++i) taken.push_back(ahead.take(i));
    EXPECT_THAT(taken, testing::ElementsAre(0, 1, 2, 3, 4));
  });
}

}  // namespace
}  // namespace headrace::tuner
