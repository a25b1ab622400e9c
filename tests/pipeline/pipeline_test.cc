// Pipeline: order, back-pressure, policies, failures, and its speed against the slowest stage in virtual
// time.
#include <atomic>
#include <optional>

#include <gtest/gtest.h>

#include <headrace/pipeline.h>

#include "base/sched.h"
#include "pipeline/small_engine.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using testing::Gate;
using testing::MoodyEngine;

ErrorCode code_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return e.code();
  } catch (...) {
    return ErrorCode::internal;
  }
}

/// Frames through decode, network and post-processing; each result has to be its own frame's.
TEST(Pipeline, FramesPassASessionInOrder) {
  MoodyEngine engine({.check_hazards = true});
  Session session{engine, {.slots = 4}};
  std::vector<int> got;
  {
    auto pipeline =
        make_pipeline<int>()
            .then("decode", [](int frame) { return static_cast<float>(frame) / 2; }, {.workers = 3})
            .infer("network", session, {{"x", {1, 4}}},
                   [](float v, InputLease& in) {
                     for (float& x : in["x"].as<float>()) x = v;
                   },
                   {.workers = 2})
            .then("post",
                  [](Inferred<float> r, const ItemInfo& info) {
                    const float y = r.output["y"].as<float>()[2];
                    EXPECT_EQ(y, r.item + 1);
                    EXPECT_EQ(r.output.tag(), info.tag);
                    return static_cast<int>((y - 1) * 2);
                  },
                  {.workers = 4})
            .sink("collect", [&](int frame) { got.push_back(frame); });
    for (int i = 0; i < 200; ++i) pipeline.push(i, {.tag = static_cast<std::uint64_t>(i) + 7});
    pipeline.close();
    const PipelineReport report = pipeline.report();
    EXPECT_EQ(report.arrived, 200u);
    EXPECT_EQ(report.failed, 0u);
    ASSERT_EQ(report.stages.size(), 4u);
    EXPECT_EQ(report.stages[1].items, 200u);
    EXPECT_NE(report.text().find("slowest stage: '"), std::string::npos);
    EXPECT_THROW(pipeline.push(1), Error);
  }
  ASSERT_EQ(got.size(), 200u);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(engine.engine().hazards().empty());
}

TEST(Pipeline, AnExceptionFailsItsItemOnly) {
  std::vector<std::uint64_t> failed;
  std::vector<int> got;
  auto pipeline = make_pipeline<int>({}, {.on_failure =
                                              [&](const ItemFailure& f) {
                                                EXPECT_EQ(f.stage, "square");
                                                EXPECT_EQ(code_of(f.error), ErrorCode::invalid_argument);
                                                failed.push_back(f.info.tag);
                                              }})
                      .then("square",
                            [](int v) {
                              if (v % 5 == 3) throw Error(ErrorCode::invalid_argument, "no threes");
                              return v * v;
                            },
                            {.workers = 3})
                      .sink("collect", [&](int v) { got.push_back(v); });
  for (int i = 0; i < 20; ++i) pipeline.push(i, {.tag = static_cast<std::uint64_t>(i)});
  pipeline.close();
  std::vector<int> expected;
  for (int i = 0; i < 20; ++i)
    if (i % 5 != 3) expected.push_back(i * i);
  EXPECT_EQ(got, expected);
  std::sort(failed.begin(), failed.end());
  EXPECT_EQ(failed, (std::vector<std::uint64_t>{3, 8, 13, 18}));
  EXPECT_EQ(pipeline.report().stages[0].failed, 4u);
}

/// A sink that waits at a gate, an edge of two before it: what each policy lets through of items 0..9.
std::vector<int> through(Overflow overflow, std::vector<int>& dropped, std::vector<ErrorCode>& codes) {
  Gate gate;
  std::vector<int> got;
  auto pipeline = make_pipeline<int>({.capacity = 2, .overflow = overflow},
                                     {.on_failure =
                                          [&](const ItemFailure& f) {
                                            dropped.push_back(static_cast<int>(f.info.tag));
                                            codes.push_back(code_of(f.error));
                                          }})
                      .sink("slow", [&](int v) {
                        gate.pass();
                        got.push_back(v);
                      });
  for (int i = 0; i < 10; ++i) {
    try {
      pipeline.push(i, {.tag = static_cast<std::uint64_t>(i)});
    } catch (const Error& e) {
      dropped.push_back(i);
      codes.push_back(e.code());
    }
    if (i == 0) gate.await();
  }
  gate.open();
  pipeline.close();
  return got;
}

TEST(Pipeline, EdgesDropAsTheirPolicySays) {
  using V = std::vector<int>;
  std::vector<int> dropped;
  std::vector<ErrorCode> codes;
  EXPECT_EQ(through(Overflow::drop_oldest, dropped, codes), (V{0, 8, 9}));
  EXPECT_EQ(dropped, (V{1, 2, 3, 4, 5, 6, 7}));
  for (const ErrorCode c : codes) EXPECT_EQ(c, ErrorCode::dropped);
  dropped.clear();
  EXPECT_EQ(through(Overflow::drop_newest, dropped, codes), (V{0, 1, 2}));
  EXPECT_EQ(dropped, (V{3, 4, 5, 6, 7, 8, 9}));
  dropped.clear();
  EXPECT_EQ(through(Overflow::latest, dropped, codes), (V{0, 9}));
  dropped.clear();
  codes.clear();
  EXPECT_EQ(through(Overflow::reject, dropped, codes), (V{0, 1, 2}));
  for (const ErrorCode c : codes) EXPECT_EQ(c, ErrorCode::rejected);
}

TEST(Pipeline, CancelGivesUpWhatWaits) {
  Gate gate;
  std::atomic<int> failed = 0, arrived = 0;
  auto pipeline =
      make_pipeline<int>({.capacity = 4}, {.on_failure =
                                               [&](const ItemFailure& f) {
                                                 EXPECT_EQ(code_of(f.error), ErrorCode::cancelled);
                                                 ++failed;
                                               },
                                           .closing = Closing::cancel})
          .then("slow",
                [&](int v) {
                  gate.pass();
                  return v;
                })
          .sink("sink", [&](int) { ++arrived; });
  for (int i = 0; i < 5; ++i) pipeline.push(i);
  gate.await();
  sched::Thread opener("opener", [&] {
    sched::sleep_for(5ms);
    gate.open();
  });
  pipeline.close();
  opener.join();
  EXPECT_EQ(failed + arrived, 5);
  EXPECT_GE(failed, 4);
}

void expect(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(what);
}

/// Stages of 2, 5 and 3 ms; the middle one with two workers, so that 3 ms is the longest.
void three_stages() {
  const int n = 100;
  int next = 0;
  auto pipeline = make_pipeline<int>()
                      .then("two",
                            [](int v) {
                              sched::sleep_for(2ms);
                              return v;
                            })
                      .then("five",
                            [](int v) {
                              sched::sleep_for(5ms);
                              return v;
                            },
                            {.workers = 2})
                      .sink("three", [&](int v) {
                        sched::sleep_for(3ms);
                        expect(v == next++, "out of order");
                      });
  const auto begin = sched::Clock::now();
  for (int i = 0; i < n; ++i) pipeline.push(i);
  pipeline.close();
  const double ms = std::chrono::duration<double, std::milli>(sched::Clock::now() - begin).count();
  expect(next == n, "items are missing");
  const double bound = n * 3.0 + 2 + 5;  // fill included
  expect(bound / ms >= 0.97, "slower than its slowest stage");
  const PipelineReport report = pipeline.report();
  expect(report.slowest()->name == "three", "another stage is called the slowest");
  expect(report.slowest()->busy_share > 0.95, "its share is wrong");
  expect(report.stages[1].busy_share > 0.78 && report.stages[1].busy_share < 0.87, "a share is wrong");
}

TEST(Pipeline, IsAsFastAsItsSlowestStage) { sched::explore(1, 20, three_stages); }

/// Every item arrives or fails, whatever the interleaving; nothing hangs.
void mixed(const Engine& engine) {
  Session session{engine, {.slots = 2}};
  int arrived = 0, failed = 0;
  {
    auto pipeline = make_pipeline<int>({.capacity = 1, .overflow = Overflow::drop_oldest},
                                       {.on_failure = [&](const ItemFailure&) { ++failed; }})
                        .infer("net", session, {{"x", {1, 4}}},
                               [](int v, InputLease& in) { in["x"].as<float>()[0] = static_cast<float>(v); },
                               {.workers = 2, .input = {.capacity = 1}})
                        .then("post",
                              [](Inferred<int> r) {
                                if (r.item == 2) throw Error(ErrorCode::internal, "two");
                                expect(r.output["y"].as<float>()[0] == static_cast<float>(r.item) + 1,
                                       "a result is not its own item's");
                                return r.item;
                              },
                              {.workers = 2, .input = {.capacity = 1}})
                        .sink("sink", [&](int) { ++arrived; }, {.input = {.capacity = 1}});
    for (int i = 0; i < 6; ++i) pipeline.push(i);
  }
  expect(arrived + failed == 6, "an item was lost");
}

TEST(Pipeline, NothingIsLostInAnyInterleaving) {
  MoodyEngine engine({.separate_memory = false, .recordings = false});
  sched::explore(1, 1000, [&] { mixed(engine); });
}

/// What would wait for itself is refused: closing from inside, pushing from on_failure.
TEST(Pipeline, CannotWaitForItself) {
  std::vector<ErrorCode> codes;
  std::optional<Pipeline<int>> pipeline;
  const auto expect_misuse = [&](const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& e) {
      codes.push_back(e.code());
    }
  };
  const auto on_failure = [&](const ItemFailure&) {
    expect_misuse([&] { pipeline->push(7); });
    expect_misuse([&] { pipeline->close(); });
  };
  Gate gate;
  pipeline.emplace(
      make_pipeline<int>({.capacity = 1, .overflow = Overflow::drop_newest}, {.on_failure = on_failure})
          .sink("sink", [&](int v) {
            gate.pass();
            if (v == 1) expect_misuse([&] { pipeline->close(); });
            if (v == 2) throw Error(ErrorCode::internal, "broken");
          }));
  pipeline->push(1);
  gate.await();
  pipeline->push(2);
  pipeline->push(3);  // dropped
  gate.open();
  pipeline->close();
  EXPECT_EQ(codes, std::vector<ErrorCode>(5, ErrorCode::misuse));
  EXPECT_EQ(pipeline->report().pushed, 3u);
}

/// A session that drops takes item after item while its results wait for the sink: what it has dropped fails
/// at once, and is not kept until then.
TEST(Pipeline, DroppedItemsDoNotPileUpBehindASlowSink) {
  MoodyEngine engine({});
  Session session{engine, {.slots = 4, .overflow = Overflow::latest}};
  Gate gate;
  std::atomic<int> failed = 0;
  const auto alive = std::make_shared<int>(0);
  using Frame = std::shared_ptr<int>;
  auto pipeline = make_pipeline<Frame>({.capacity = 1}, {.on_failure = [&](const ItemFailure&) { ++failed; }})
                      .infer("network", session, {{"x", {1, 4}}},
                             [](const Frame&, InputLease& lease) { lease["x"].as<float>()[0] = 1; })
                      .sink("slow", [&](const Inferred<Frame>&) { gate.pass(); }, {.input = {.capacity = 1}});
  for (int i = 0; i < 100; ++i) pipeline.push(alive);
  EXPECT_LT(alive.use_count(), 30);
  EXPECT_GT(failed, 70);
  gate.open();
  pipeline.close();
  EXPECT_EQ(pipeline.report().arrived + pipeline.report().failed, 100u);
}

/// Items that an edge drops may look at the pipeline when they go.
TEST(Pipeline, DroppedItemsGoWithoutTheEdgesLock) {
  struct Curious {
    explicit Curious(std::optional<Pipeline<std::shared_ptr<Curious>>>& p) : pipeline(p) {}
    ~Curious() { seen = pipeline->report().stages[0].input.depth; }
    std::optional<Pipeline<std::shared_ptr<Curious>>>& pipeline;
    std::size_t seen = 0;
  };
  using Item = std::shared_ptr<Curious>;
  std::optional<Pipeline<Item>> pipeline;
  Gate gate;
  pipeline.emplace(
      make_pipeline<Item>({.capacity = 1, .overflow = Overflow::drop_oldest}).sink("sink", [&](const Item&) {
        gate.pass();
      }));
  for (int i = 0; i < 4; ++i) pipeline->push(std::make_shared<Curious>(pipeline));
  EXPECT_GE(pipeline->report().stages[0].input.dropped, 2u);
  gate.open();
  pipeline->close();
}

}  // namespace
}  // namespace headrace
