// The ladder on the simulated machine: what the closed forms give, whatever the figures.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include <headrace/ladder.h>

#include "device/test_kernels.h"

namespace headrace {
namespace {

using test::code_of;

struct Figures {
  double pageable = 13.429, pinned = 6.912, fp32 = 27.230, fp16 = 7.957, download = 0, post = 2, alloc = 1.79,
         consumed = 0.5;
};

/// A file of figures that is removed again.
class SpecFile {
 public:
  explicit SpecFile(const Figures& f)
      : path_(std::filesystem::temp_directory_path() / "headrace-ladder-test.json") {
    std::ofstream(path_) << "{\"upload_pageable_ms\": " << f.pageable
                         << ", \"upload_pinned_ms\": " << f.pinned << ", \"compute_fp32_ms\": " << f.fp32
                         << ", \"compute_fp16_ms\": " << f.fp16 << ", \"download_ms\": " << f.download
                         << ", \"post_ms\": " << f.post << ", \"alloc_ms\": " << f.alloc
                         << ", \"consumed_ms\": " << f.consumed << "}";
  }
  ~SpecFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

LadderOptions quick() {
  LadderOptions options;
  options.batch = 32;
  options.repeat = 2;
  options.steady = 20;
  return options;
}
const LadderRung& rung(const LadderReport& report, const std::string& id) {
  for (const LadderRung& r : report.rungs)
    if (r.rung == id) return r;
  throw std::runtime_error("no rung " + id);
}

/// Written down apart from the ladder's own predictions.
double expected(const std::string& id, const Figures& f) {
  if (id == "0") return f.alloc + f.pageable + f.fp32 + f.download + f.post;
  if (id == "1") return f.pageable + f.fp32 + f.download + f.post;
  if (id == "2") return f.pinned + f.fp32 + f.download + f.post;
  if (id == "2s") return std::max(f.pageable, f.pinned) + f.fp32 + f.download + f.post;
  if (id == "3") return f.pinned + f.fp16 + f.download + f.post;
  if (id == "4") return std::max(f.fp16 + f.download + f.post, f.consumed + f.pinned);
  if (id == "4r") return std::max({f.fp16, f.pinned, f.download}) + f.post;
  return std::max({id == "9" ? f.pinned / 4 : f.pinned, f.fp16, f.download, f.post});
}
void expect_closed_forms(const LadderReport& report, const Figures& f) {
  ASSERT_EQ(report.rungs.size(), 12u);
  for (const LadderRung& r : report.rungs) {
    const double want = expected(r.rung, f);
    EXPECT_NEAR(r.predicted_ms_per_batch, want, 1e-3 * want) << r.rung;
    EXPECT_NEAR(r.ms_per_batch, want, 0.03 * want) << r.rung;
    EXPECT_NEAR(r.steady_ms, want, 0.03 * want) << r.rung;
    EXPECT_TRUE(r.outputs_equal) << r.rung << " " << r.max_error;
    EXPECT_EQ(r.hazards, std::vector<std::string>{}) << r.rung;
    EXPECT_EQ(r.allocations > 0, r.rung == "0") << r.rung;
    EXPECT_FALSE(r.sentence.empty());
  }
}

TEST(Ladder, TheV100FiguresGiveItsLadder) {
  const LadderReport report = run_ladder(quick());
  expect_closed_forms(report, {});
  const std::pair<const char*, double> known[] = {{"0", 44.5}, {"1", 42.7}, {"2", 36.1}, {"3", 16.9},
                                                  {"4", 10.0}, {"5", 7.96}, {"7", 7.96}, {"9", 7.96}};
  for (const auto& [id, ms] : known) EXPECT_NEAR(rung(report, id).ms_per_batch, ms, 0.03 * ms) << id;
  EXPECT_TRUE(report.gates.all());
  EXPECT_TRUE(report.gates.end_to_end);
  EXPECT_GE(report.share_of_bound, 0.99);
}

TEST(Ladder, AnyFiguresGiveWhatTheClosedFormsSay) {
  std::mt19937 random(1);
  const auto between = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(random);
  };
  for (int i = 0; i < 8; ++i) {
    Figures f{.pageable = between(5, 30),
              .pinned = between(1, 20),
              .fp32 = between(5, 30),
              .fp16 = between(2, 15),
              .download = between(0, 8),
              .post = between(0, 12),
              .alloc = between(0, 4),
              .consumed = between(0, 2)};
    SCOPED_TRACE(i);
    const SpecFile spec(f);
    LadderOptions options = quick();
    options.sim_spec = spec.path();
    expect_closed_forms(run_ladder(options), f);
  }
}

TEST(Ladder, RecordingsAreOneLaunch) {
  const LadderReport report = run_ladder(quick());
  EXPECT_GT(rung(report, "5").launches, 1);
  EXPECT_EQ(rung(report, "6").launches, 1);
}

TEST(Ladder, BusySharesAreThoseOfTheEngines) {
  const LadderReport report = run_ladder(quick());
  EXPECT_NEAR(rung(report, "0").busy_compute, 27.23 / 44.449, 0.02);
  EXPECT_NEAR(rung(report, "5").busy_compute, 1, 0.02);
  EXPECT_NEAR(rung(report, "5").busy_upload, 6.912 / 7.957, 0.15);
}

TEST(Ladder, SaysWhatBoundsARungAndWhichRemovesThat) {
  const SpecFile spec({.pinned = 20});
  LadderOptions options = quick();
  options.sim_spec = spec.path();
  const LadderReport report = run_ladder(options);
  EXPECT_NE(rung(report, "4").sentence.find("rung 4r has a ring"), std::string::npos);
  EXPECT_NE(rung(report, "5").sentence.find("bound by upload alone, 20 ms"), std::string::npos);
  EXPECT_NE(rung(report, "5").sentence.find("rung 9 uploads bytes in 5 ms"), std::string::npos);
}

}  // namespace

// One wrong copy, and the ladder does not pass.
TEST(T_EQUIV, ours) {
  for (const char* id : {"3", "4r", "7", "9"}) {
    LadderOptions options = quick();
    options.break_rung = id;
    const LadderReport report = run_ladder(options);
    EXPECT_FALSE(report.gates.outputs_agree) << id;
    EXPECT_FALSE(report.gates.all());
    for (const LadderRung& r : report.rungs) EXPECT_EQ(r.outputs_equal, r.rung != id) << r.rung;
  }
}

// Short runs: the window needs no batch in front of it.
TEST(T_WINDOW, ours) {
  for (const int batches : {1, 3, 7, 8}) {
    LadderOptions options = quick();
    options.batches = batches;
    options.timed = std::min(3, batches);
    const LadderReport report = run_ladder(options);
    EXPECT_NEAR(rung(report, "2").ms_per_batch, 36.142, 0.1) << batches;
    EXPECT_NEAR(rung(report, "2").total_ms, 36.142 * batches, 0.1 * batches) << "all results are awaited";
    EXPECT_TRUE(report.gates.outputs_agree) << batches;
  }
}

// Two sizes in one run, each through its own profile: equal results, no allocation at the switch.
TEST(T_PROFILES, ours) {
  LadderOptions options = quick();
  options.batch = 64;
  const LadderReport report = run_ladder(options);
  EXPECT_TRUE(rung(report, "8").outputs_equal);
  EXPECT_EQ(rung(report, "8").allocations, 0);
  EXPECT_NEAR(rung(report, "8").ms_per_batch, 7.957, 0.1);
}

TEST(Ladder, AnyBatchHasASmallerOne) {
  for (const std::int64_t batch : {1, 2, 16, 17}) {
    LadderOptions options = quick();
    options.batch = batch;
    options.steady = 0;
    const LadderReport report = run_ladder(options);
    EXPECT_TRUE(report.gates.all()) << batch;
    EXPECT_EQ(rung(report, "0").steady_ms, 0);
  }
}

// Inputs as bytes: the same results, a quarter of the upload.
TEST(T_U8, ours) {
  const LadderReport report = run_ladder(quick());
  EXPECT_EQ(rung(report, "9").max_error, rung(report, "3").max_error) << "bit for bit what fp16 gives";
  EXPECT_NEAR(report.probes.upload_narrow_ms, 6.912 / 4, 1e-6);
  EXPECT_NEAR(rung(report, "9").busy_upload, 6.912 / 4 / 7.957, 0.1);
}

TEST(Ladder, WrongOptionsAreNamed) {
  const auto with = [](auto change) {
    LadderOptions options = quick();
    change(options);
    return code_of([&] { static_cast<void>(run_ladder(options)); });
  };
  EXPECT_EQ(with([](LadderOptions& o) { o.timed = 11; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](LadderOptions& o) { o.device = "cpu"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](LadderOptions& o) { o.break_rung = "12"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](LadderOptions& o) { o.sim_spec = "/nonexistent.json"; }), ErrorCode::io);
  EXPECT_EQ(with([](LadderOptions& o) { o.onnx = "/nonexistent.onnx"; }), ErrorCode::io);
}

}  // namespace headrace
