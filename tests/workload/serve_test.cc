// Requests in virtual time, against what queueing theory says of them.
#include <gtest/gtest.h>

#include <headrace/serve.h>

#include "device/test_kernels.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using test::code_of;

constexpr nanoseconds kUpload = 6912us, kCompute = 27230us;  // the V100's figures

ServeOptions on_sim(double load, int max_batch = 1) {
  return {.target = {.device = "sim"}, .load = load, .requests = 400, .max_batch = max_batch};
}

// One server, requests in the order in which they come: each is uploaded when the one before it has been, and
// computed when the one before it has been.
TEST(Serve, LatenciesAreThoseOfTheQueue) {
  const ServeReport r = run_serve(on_sim(0.8));
  EXPECT_NEAR(r.closed_per_s, 1e9 / kCompute.count(), 0.01);
  EXPECT_DOUBLE_EQ(r.offered_per_s, 0.8 * r.closed_per_s);
  ASSERT_EQ(r.latencies.size(), 400u);
  nanoseconds uploaded{0}, computed{0};
  for (std::size_t k = 0; k < 400; ++k) {
    uploaded = std::max(r.arrivals[k], uploaded) + kUpload;
    computed = std::max(uploaded, computed) + kCompute;
    ASSERT_NEAR((computed - r.arrivals[k]).count(), r.latencies[k].count(), 1000) << k;
  }
  EXPECT_EQ(r.wrong, 0);
  EXPECT_EQ(r.mean_batch, 1);
}

// M/D/1: the mean wait is load / (2 (1 - load)) services.
TEST(Serve, MeanWaitIsThatOfPoissonArrivals) {
  ServeOptions options = on_sim(0.7);
  options.requests = 6000;
  const ServeReport r = run_serve(options);
  double wait = 0;
  for (const nanoseconds t : r.latencies)
    wait += static_cast<double>((t - kUpload - kCompute).count()) / 6000;
  EXPECT_NEAR(wait / kCompute.count(), 0.7 / (2 * 0.3), 0.15);
  EXPECT_NEAR(r.achieved_per_s, r.offered_per_s, 0.03 * r.offered_per_s);
}

// More requests than answers: they wait ever longer, and who counts from the submit does not see it.
TEST(Serve, NothingIsLeftOutWhenItIsTooMuch) {
  const ServeReport r = run_serve(on_sim(2));
  EXPECT_NEAR(r.achieved_per_s, r.closed_per_s, 0.01 * r.closed_per_s);
  EXPECT_NEAR(static_cast<double>(r.latencies.back().count()),
              static_cast<double>((400 * kCompute - r.arrivals.back()).count()), 2e7);
  EXPECT_GT(r.latencies.back(), 4s);
  EXPECT_GT(r.max_lag, 4s) << "the session was full";
}

TEST(Serve, GoodputCountsWhatIsInTime) {
  ServeOptions options = on_sim(0.8);
  options.deadline = 60ms;
  const ServeReport r = run_serve(options);
  const auto late =
      std::count_if(r.latencies.begin(), r.latencies.end(), [](nanoseconds t) { return t > 60ms; });
  EXPECT_EQ(r.late, late);
  EXPECT_GT(late, 0);
  EXPECT_NEAR(r.goodput_per_s, r.achieved_per_s * static_cast<double>(400 - late) / 400, 1e-6);
}

// A batch of eight takes what eight requests take one by one (the figures are those of a full batch): a full
// one at most waits for another to end, is uploaded and computed; one that is not full has waited so long.
TEST(Serve, BatchesFillUpOrGoAfterTheirDelay) {
  ServeOptions options = on_sim(0.85, 8);
  options.max_delay = 20ms;
  const ServeReport r = run_serve(options);
  EXPECT_NEAR(r.closed_per_s, 8e9 / kCompute.count(), 0.1);
  EXPECT_EQ(r.wrong, 0);
  EXPECT_GT(r.mean_batch, 2);
  EXPECT_LE(r.mean_batch, 8);
  const Summary s = summarize(r.latencies);
  EXPECT_GE(s.min, (kUpload + kCompute) / 8);
  EXPECT_LE(s.median, 20ms + 2 * (kUpload + kCompute));
  EXPECT_NEAR(r.achieved_per_s, r.offered_per_s, 0.1 * r.offered_per_s);

  options.rate = 1;  // one a second: each waits for company that does not come
  options.requests = 20;
  const ServeReport alone = run_serve(options);
  EXPECT_EQ(summarize(alone.latencies).median, 20ms + (kUpload + kCompute) / 8);
  EXPECT_EQ(alone.offered_per_s, 1);
}

TEST(Serve, SeedsDecideTheArrivals) {
  ServeOptions options = on_sim(0.5);
  options.requests = 50;
  const ServeReport a = run_serve(options), b = run_serve(options);
  EXPECT_EQ(a.arrivals, b.arrivals);
  EXPECT_EQ(a.latencies, b.latencies);
  options.target.seed = 2;
  EXPECT_NE(run_serve(options).arrivals, a.arrivals);
}

TEST(Serve, AWrongAnswerIsFound) {
  ServeOptions options = on_sim(0.8, 4);
  options.requests = 40;
  options.broken_request = 9;
  EXPECT_EQ(run_serve(options).wrong, 1);
}

TEST(Serve, WrongOptionsAreNamed) {
  const auto with = [](auto change) {
    ServeOptions options = on_sim(0.8);
    change(options);
    return code_of([&] { static_cast<void>(run_serve(options)); });
  };
  EXPECT_EQ(with([](ServeOptions& o) { o.load = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](ServeOptions& o) { o.requests = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](ServeOptions& o) { o.max_batch = 0; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](ServeOptions& o) { o.rate = -1; }), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace headrace
