// The tracer: what ran when, on which stream, and how much of it overlapped.
#include "device/tracer.h"

#include <gtest/gtest.h>

#include "base/hooks.h"
#include "base/sched.h"
#include "device/host_device.h"
#include "device/test_kernels.h"

namespace headrace {
namespace {

constexpr auto kWork = std::chrono::milliseconds(20);

class SleepKernel final : public Kernel {
 public:
  void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override {
    sched::sleep_for(kWork);
  }
  std::string_view name() const override { return "sleep"; }
};

class TracerTest : public testing::Test {
 protected:
  std::shared_ptr<Tracer> device = make_tracer(
      make_host_device({.kind = "reference", .threads = 1, .recordings = true, .separate_memory = true}));
  SleepKernel sleep;
  test::FailingKernel failing{ErrorCode::device, "failed on purpose"};
  BufferRef host = device->allocate(64, MemoryKind::pinned, MemoryUse::io);
  BufferRef memory = device->allocate(64, MemoryKind::device, MemoryUse::io);
  std::unique_ptr<Stream> one = device->make_stream({.name = "one"});
  std::unique_ptr<Stream> two = device->make_stream({.name = "two"});
  EventRef event = device->make_event();
};

TEST_F(TracerTest, CopiesAndLaunchesOfAStreamInTheirOrder) {
  {
    const hooks::Range range("submit", 7);
    one->copy(test::write(memory), test::read(host));
    one->launch(sleep, {}, {});
    one->copy(test::write(host), test::read(memory));
  }
  one->synchronize();
  std::vector<TraceSpan> spans = device->spans();
  ASSERT_EQ(spans.size(), 4u);
  std::erase_if(spans, [](const TraceSpan& s) {
    if (s.engine != TraceEngine::host) return false;
    EXPECT_EQ(s.name, "submit");
    EXPECT_EQ(s.sequence, 7u);
    return true;
  });
  ASSERT_EQ(spans.size(), 3u);
  const TraceEngine expected[] = {TraceEngine::upload, TraceEngine::compute, TraceEngine::download};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(spans[i].engine, expected[i]);
    EXPECT_EQ(spans[i].track, "stream one");
    EXPECT_EQ(spans[i].sequence, 7u);
    EXPECT_LE(spans[i].begin_us, spans[i].end_us);
    EXPECT_GE(spans[i].begin_us, i > 0 ? spans[i - 1].end_us : 0);
  }
  EXPECT_EQ(spans[0].size_bytes, 64u);
  EXPECT_EQ(spans[1].name, "sleep");
  EXPECT_GE(spans[1].end_us - spans[1].begin_us, 19'000);
}

TEST_F(TracerTest, WorkOfTwoStreamsOverlaps) {
  one->launch(sleep, {}, {});
  two->launch(sleep, {}, {});
  one->synchronize();
  two->synchronize();
  const std::vector<TraceSpan> spans = device->spans();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_LT(spans[1].begin_us, spans[0].end_us);
}

TEST_F(TracerTest, AnEventKeepsWorkApart) {
  one->launch(sleep, {}, {});
  one->record(*event);
  two->wait(*event);
  two->launch(sleep, {}, {});
  two->synchronize();
  const std::vector<TraceSpan> spans = device->spans();
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_GE(spans[1].begin_us, spans[0].end_us - 1);
}

TEST_F(TracerTest, ARecordingIsOneSpanPerReplay) {
  const auto recording = one->make_recording([&] {
    one->launch(sleep, {}, {});
    one->launch(sleep, {}, {});
  });
  EXPECT_TRUE(device->spans().empty());
  one->replay(*recording);
  one->synchronize();
  const std::vector<TraceSpan> spans = device->spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].name, "replay");
  EXPECT_GE(spans[0].end_us - spans[0].begin_us, 38'000);
}

TEST_F(TracerTest, FailedWorkIsLeftOutAndStillFails) {
  one->launch(failing, {}, {});
  EXPECT_THROW(one->synchronize(), Error);
  one->launch(sleep, {}, {});
  one->synchronize();
  const std::vector<TraceSpan> spans = device->spans();
  ASSERT_EQ(spans.size(), 1u);
  EXPECT_EQ(spans[0].name, "sleep");
}

TEST(TraceSummary, SharesAndOverlapOfKnownSpans) {
  const auto span = [](TraceEngine engine, double begin, double end) {
    return TraceSpan{"", "", engine, begin, end, 0, 0};
  };
  const TraceSummary s = summarize({span(TraceEngine::upload, 10, 30), span(TraceEngine::compute, 20, 60),
                                    span(TraceEngine::compute, 50, 70), span(TraceEngine::download, 65, 90),
                                    span(TraceEngine::host, 0, 1000)});
  EXPECT_DOUBLE_EQ(s.total_us, 80);
  EXPECT_DOUBLE_EQ(s.upload_us, 20);
  EXPECT_DOUBLE_EQ(s.compute_us, 50);
  EXPECT_DOUBLE_EQ(s.download_us, 25);
  EXPECT_DOUBLE_EQ(s.overlap_us, 15);
  EXPECT_DOUBLE_EQ(summarize({}).total_us, 0);
}

TEST_F(TracerTest, TracersGoInAnyOrderAndWhileRangesAreOpen) {
  const auto make = [] { return make_tracer(make_host_device({.kind = "reference", .threads = 1})); };
  std::shared_ptr<Tracer> first = make(), second = make();
  first.reset();
  { const hooks::Range range("heard"); }
  ASSERT_EQ(second->spans().size(), 1u);
  {
    const hooks::Range open("of no one");
    second.reset();
  }
  { const hooks::Range range("of the fixture's"); }
  ASSERT_EQ(device->spans().size(), 2u);
}

}  // namespace
}  // namespace headrace
