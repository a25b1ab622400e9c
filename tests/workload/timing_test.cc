// The parts of one inference, in virtual time: what the figures of the machine say, to the nanosecond.
#include <gtest/gtest.h>

#include <headrace/measure.h>
#include <headrace/timing.h>

#include "device/test_kernels.h"
#include "workload/warm_up.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using test::code_of;

TimingOptions on_sim() { return {.target = {.device = "sim", .batch = 4}, .repeats = 7}; }

Series series(std::vector<nanoseconds> samples, std::string run = "a") {
  return {.name = "x", .why_not = {}, .run = std::move(run), .began_ns = 0, .samples = std::move(samples)};
}

TEST(Timing, PartsAreThoseOfTheMachine) {
  const TimingReport r = run_timing(on_sim());
  const auto all = [](const Series& s, nanoseconds want) {
    return s.samples == std::vector<nanoseconds>(7, want);
  };
  EXPECT_TRUE(all(r.submit, 0ns));
  EXPECT_TRUE(all(r.enqueue, 0ns));
  EXPECT_TRUE(all(r.upload, 6912us));
  EXPECT_TRUE(all(r.compute, 27230us));
  EXPECT_TRUE(all(r.download, 0ns));
  EXPECT_TRUE(all(r.end_to_end, 6912us + 27230us)) << to_text(r);
  EXPECT_TRUE(r.sum_holds());
  EXPECT_TRUE(r.stable);
}

TEST(Timing, WhatACpuDoesNotHaveIsSaid) {
  TimingOptions options{.target = {.device = "cpu"}, .repeats = 3};
  EXPECT_EQ(code_of([&] { static_cast<void>(run_timing(options)); }), ErrorCode::invalid_argument);
  options.target.device = "sim";
  options.repeats = 0;
  EXPECT_EQ(code_of([&] { static_cast<void>(run_timing(options)); }), ErrorCode::invalid_argument);
  options.repeats = 3;
  options.target.plan = "a";
  options.target.onnx = "b";
  EXPECT_EQ(code_of([&] { static_cast<void>(run_timing(options)); }), ErrorCode::invalid_argument);
}

}  // namespace

// D-39: every figure has its unit, and it is the right one.
TEST(T_UNITS, ours) {
  EXPECT_EQ(to_text(nanoseconds(12'400)), "12.4 us");
  EXPECT_EQ(to_text(nanoseconds(12'400'000)), "12.400 ms") << "not 0.0124 under a heading of ms";
  EXPECT_EQ(to_text(nanoseconds(2'500'000'000)), "2.50 s");
  EXPECT_EQ(to_text(run_timing(on_sim())),
            "device      sim (simulated machine); x 4x48\n"
            "warm-up     10 items, until the figures were stable; tracing off\n"
            "                n          min       median          p90          p99    p90 - p10\n"
            "submit          7       0.0 us       0.0 us       0.0 us       0.0 us       0.0 us\n"
            "enqueue         7       0.0 us       0.0 us       0.0 us       0.0 us       0.0 us\n"
            "upload          7     6.912 ms     6.912 ms     6.912 ms     6.912 ms       0.0 us\n"
            "device          7    27.230 ms    27.230 ms    27.230 ms    27.230 ms       0.0 us\n"
            "download        7       0.0 us       0.0 us       0.0 us       0.0 us       0.0 us\n"
            "end to end      7    34.142 ms    34.142 ms    34.142 ms    34.142 ms       0.0 us\n"
            "enqueue-bound: no; the host takes 0.0 % of the device's time to enqueue (limit 20 %)\n"
            "sum check: end to end is not shorter than the device's time\n");
}

// D-40: five samples of which the first is a cold one; the mean is theirs, nothing of it is ours.
TEST(T_STATS, seedway) {
  const std::vector<nanoseconds> article = {18860us, 12470us, 12380us, 12350us, 12320us};
  nanoseconds sum{};
  for (const nanoseconds t : article) sum += t;
  EXPECT_GT(sum / 5, summarize(article).median + 1ms) << "the cold run is 10 % of the mean";
}
TEST(T_STATS, ours) {
  workload::WarmUp warm_up;
  for (const nanoseconds t : {18860us, 17000us, 15000us, 14000us, 13000us}) warm_up.add(t);
  for (int i = 0; i < 4; ++i) warm_up.add(12400us);
  EXPECT_FALSE(warm_up.over()) << "9 samples";
  warm_up.add(12400us);
  EXPECT_FALSE(warm_up.stable()) << "the five before were slower";
  for (int i = 0; i < 3; ++i) warm_up.add(12400us);
  EXPECT_TRUE(warm_up.stable());
  workload::WarmUp growing;
  for (nanoseconds t = 1ms; !growing.over(); t += t / 5) growing.add(t);
  EXPECT_FALSE(growing.stable());
  EXPECT_EQ(growing.count(), 100);

  std::vector<nanoseconds> hundred;
  for (int i = 100; i >= 1; --i) hundred.push_back(std::chrono::milliseconds(i));
  const Summary s = summarize(hundred);
  EXPECT_EQ(s.n, 100u);
  EXPECT_EQ(s.min, 1ms);
  EXPECT_EQ(s.median, 50500us);
  EXPECT_EQ(s.p10, 10900us);
  EXPECT_EQ(s.p90, 90100us);
  EXPECT_EQ(s.p99, 99010us);
  EXPECT_EQ(s.max, 100ms);
  EXPECT_EQ(s.spread(), 79200us);
  EXPECT_EQ(summarize({1ms, 2ms, 50ms}).median, 2ms);
  EXPECT_EQ(summarize(std::vector<nanoseconds>{}).n, 0u);
}

// D-38: samples know their run, and two runs do not mix.
TEST(T_RAW, ours) {
  Series first = series({1ms, 2ms});
  first.append(series({3ms}));
  EXPECT_EQ(first.samples.size(), 3u);
  EXPECT_EQ(code_of([&] { first.append(series({4ms}, "b")); }), ErrorCode::misuse);
  EXPECT_EQ(first.samples.size(), 3u);
  const TimingReport one = run_timing(on_sim()), two = run_timing(on_sim());
  EXPECT_NE(one.run, two.run);
  for (const Series* s : one.parts()) EXPECT_EQ(s->run, one.run) << s->name;
}

// D-36, D-56: a launch that waits for an input takes long, and nothing is bound by launching.
TEST(T_ENQ_BOUND, seedway) {
  const double launch_latency_us = 133.405, kernel_us = 6.576;
  EXPECT_GT(launch_latency_us / kernel_us, 20) << "from which it was concluded";
}
TEST(T_ENQ_BOUND, ours) {
  TimingReport r;
  const auto with = [&](nanoseconds enqueue, nanoseconds device) {
    r.enqueue = series({enqueue, enqueue, enqueue});
    r.compute = series({device, device, device});
    return r.enqueue_bound();
  };
  EXPECT_FALSE(with(25 * 133405ns, 25 * 7957us)) << "the article's own figures, batch 128";
  EXPECT_FALSE(with(20us, 100us));
  EXPECT_TRUE(with(21us, 100us));
  EXPECT_DOUBLE_EQ(r.enqueue_share(), 0.21);
  EXPECT_NE(to_text(r).find("enqueue-bound: yes; the host takes 21.0 %"), std::string::npos);
  r.compute.samples.clear();
  EXPECT_FALSE(r.enqueue_bound());
  EXPECT_NE(to_text(r).find("cannot be compared"), std::string::npos);
}

// D-36: the first layer of a ResNet-18, 128 images: 30.2 GFLOP, and at least 206 MB of results, on a V100.
const Roofline kV100{.bytes_per_s = 0.9e12,
                     .bytes_how = {},
                     .arithmetic = {{DType::f32, 15.7e12, {}}, {DType::f16, 125e12, {}}}};
TEST(T_ROOFLINE, seedway) {
  EXPECT_TRUE(kV100.impossible(6.576, 206e6, 30.2e9, DType::f16)) << "as it was read off a timeline";
  EXPECT_TRUE(kV100.impossible(6.576, 0, 30.2e9, DType::f16));
  EXPECT_TRUE(kV100.impossible(6.576, 206e6, 0, DType::f16));
}
TEST(T_ROOFLINE, ours) {
  EXPECT_FALSE(kV100.impossible(500, 206e6, 30.2e9, DType::f16));
  EXPECT_FALSE(kV100.impossible(30, 206e6, 0, DType::f16)) << "from a cache";
  EXPECT_FALSE(kV100.impossible(1, 0, 1e12, DType::i8)) << "no limit is known";
  EXPECT_FALSE(kV100.impossible(2000, 206e6, 30.2e9, DType::f32));
}

// An inference that ends before the device can have done it was not awaited.
TEST(Timing, SumCheckFindsAFault) {
  TimingReport r;
  r.compute = series({12400us});
  r.end_to_end = series({6360us});
  EXPECT_FALSE(r.sum_holds());
  EXPECT_NE(to_text(r).find("sum check FAILS"), std::string::npos);
  r.end_to_end = series({12400us});
  EXPECT_TRUE(r.sum_holds());
}

}  // namespace headrace
