// Frames through the small network on the simulated machine: in virtual time, so every figure is exact.
#include <gtest/gtest.h>

#include <headrace/camera.h>

#include "device/test_kernels.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using test::code_of;

constexpr auto kInference = 6912us + 27230us;  // the V100's figures

CameraOptions on_sim(int frames = 60) { return {.target = {.device = "sim"}, .frames = frames}; }

TEST(Camera, PreprocessingHidesBehindTheInference) {
  const CameraReport r = run_camera(on_sim(100));
  EXPECT_EQ(r.inference, kInference);
  EXPECT_EQ(r.preprocess, kInference) << "auto";
  ASSERT_EQ(r.ways.size(), 3u);
  EXPECT_NEAR(r.ways[0].frames_per_s, 1e9 / (2.0 * 34142000), 0.01) << "one after the other";
  EXPECT_GE(r.ratio(), 1.8);
  EXPECT_LE(r.ratio(), 2.0);
  EXPECT_EQ(r.wrong(), 0);
  for (const CameraWay& way : r.ways) EXPECT_EQ(way.delivered, 100) << way.name;
}

// The loop without the wait: as fast as ours, and what it hands out is another frame's or none's.
TEST(Camera, TheUnawaitedLoopIsStale) {
  const CameraReport r = run_camera(on_sim());
  EXPECT_EQ(r.ways[2].wrong + r.ways[2].torn, 60);
  EXPECT_GE(r.ways[2].wrong, 50) << "those before it had finished";
  EXPECT_EQ(r.wrong(), 0) << "a demonstration is no fault";
  EXPECT_NE(to_text(r).find("60 of 60 results were not those of their frame"), std::string::npos);
}

TEST(Camera, AWrongFrameIsFound) {
  CameraOptions options = on_sim();
  options.broken_frame = 7;
  const CameraReport r = run_camera(options);
  EXPECT_EQ(r.ways[0].wrong, 1);
  EXPECT_EQ(r.ways[1].wrong, 1);
  EXPECT_EQ(r.ways[0].torn + r.ways[1].torn, 0);
}

TEST(Camera, SlowFramesAreAllShownAtOnce) {
  CameraOptions options = on_sim();
  options.fps = 20;  // every 50 ms
  options.preprocess_ms = 10;
  const CameraReport r = run_camera(options);
  for (int way = 0; way < 2; ++way) {
    EXPECT_EQ(r.ways[way].dropped, 0);
    EXPECT_NEAR(r.ways[way].frames_per_s, 60 / (59 * 0.05 + 0.044), 0.05);
    EXPECT_EQ(summarize(r.ways[way].ages).median, 10ms + kInference);
    EXPECT_EQ(summarize(r.ways[way].ages).p99, 10ms + kInference);
  }
}

// 100 frames a second, of which the device manages 1000 / 27.23.
TEST(Camera, FramesThatComeTooFast) {
  CameraOptions options = on_sim(200);
  options.fps = 100;
  options.preprocess_ms = 0;
  for (const Overflow overflow :
       {Overflow::reject, Overflow::drop_oldest, Overflow::drop_newest, Overflow::latest}) {
    options.overflow = overflow;
    const CameraReport r = run_camera(options);
    EXPECT_EQ(r.wrong(), 0);
    for (int way = 0; way < 2; ++way) {
      EXPECT_EQ(r.ways[way].delivered + r.ways[way].dropped, 200) << r.ways[way].name;
      EXPECT_GT(r.ways[way].dropped, 100) << r.ways[way].name;
      EXPECT_LE(summarize(r.ways[way].ages).max, 300ms) << r.ways[way].name << ": no backlog";
    }
    EXPECT_NEAR(r.ways[1].frames_per_s, 1000 / 27.23, 2);
  }
  options.overflow = Overflow::block;
  const CameraReport r = run_camera(options);
  EXPECT_EQ(r.ways[1].delivered, 200);
  EXPECT_GT(summarize(r.ways[1].ages).max, 3s) << "who drops nothing grows old";
}

// The sum of upload, device and download; bytes go up in a quarter of the time.
TEST(Camera, MemoryOfFrames) {
  CameraOptions options = on_sim(5);
  options.compare = {"pageable", "pinned", "arena", "u8"};
  const CameraReport r = run_camera(options);
  ASSERT_EQ(r.memory.size(), 4u);
  const std::chrono::nanoseconds want[] = {13429us, 6912us, 6912us, 1728us};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(r.memory[i].name, options.compare[i]);
    EXPECT_EQ(r.memory[i].overhead(), want[i]) << r.memory[i].name;
    EXPECT_EQ(r.memory[i].device, 27230us);
    EXPECT_EQ(r.memory[i].wrong, 0);
    EXPECT_EQ(r.memory[i].copies, 2);
    EXPECT_EQ(r.memory[i].upload_bytes, i == 3 ? 48u : 192u);
  }
}

TEST(Camera, WrongOptionsAreNamed) {
  const auto with = [](auto change) {
    CameraOptions options = on_sim();
    change(options);
    return code_of([&] { static_cast<void>(run_camera(options)); });
  };
  EXPECT_EQ(with([](CameraOptions& o) { o.frames = 1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](CameraOptions& o) { o.fps = -1; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](CameraOptions& o) { o.compare = {"paper"}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](CameraOptions& o) { o.target.device = "cpu"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](CameraOptions& o) { o.target.shapes = {{"z", {1, 48}}}; }), ErrorCode::invalid_argument);
  EXPECT_EQ(with([](CameraOptions& o) { o.target.plan = "/nonexistent.plan"; }), ErrorCode::io);
}

}  // namespace
}  // namespace headrace
