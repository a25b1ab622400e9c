// CUDA graphs: bit-equal to direct work, over several streams and threads, and what cannot be recorded.
#ifdef HEADRACE_CUDA
#include <atomic>
#include <functional>
#include <tuple>

#include "base/sched.h"
#include "device/checker.h"
#include "device/gpu_fixture.h"

namespace headrace {
namespace {

using namespace test;

TEST_F(GpuTest, ARecordingIsBitEqualToDirectWork) {
  const auto recording = stream->make_recording([&] { work(*stream); });
  EXPECT_EQ(recording->nodes(), 4u);
  for (std::uint64_t seed = 10; seed < 20; ++seed) {
    put(in, numbers(seed));
    work(*stream);
    stream->synchronize();
    const std::vector<float> direct = get(out);
    std::memset(out->host_data(), 0, kBytes);
    stream->replay(*recording);
    stream->synchronize();
    EXPECT_EQ(get(out), direct);
    EXPECT_EQ(direct, affine(numbers(seed), 2));
  }
}

TEST_F(GpuTest, ARecordingReplaysOnAnotherStreamAndOutlivesTheDevice) {
  std::unique_ptr<Recording> recording = stream->make_recording([&] { work(*stream); });
  put(in, numbers(5));
  other->replay(*recording);
  const EventRef done = device->make_event();
  other->record(*done);
  device.reset();
  stream.reset();
  done->wait();
  EXPECT_EQ(get(out), affine(numbers(5), 2));
  other.reset();
  recording.reset();
}

TEST_F(GpuTest, OtherStreamsJoinARecording) {
  use(make_checked_device(cuda::make_device("cuda:0")));
  const BufferRef c = device->allocate(kBytes, MemoryKind::device, MemoryUse::activations),
                  second = device->allocate(kBytes, MemoryKind::pinned, MemoryUse::io);
  const EventRef fork = device->make_event(), join = device->make_event();
  const auto recording = stream->make_recording([&] {
    copy(*stream, a, in);
    stream->record(*fork);
    other->wait(*fork);
    launch(*stream, a, b);
    launch(*other, a, c);
    copy(*other, second, c);
    other->record(*join);
    copy(*stream, out, b);
    stream->wait(*join);
  });
  EXPECT_EQ(recording->nodes(), 5u);
  for (std::uint64_t seed = 20; seed < 24; ++seed) {
    put(in, numbers(seed));
    stream->replay(*recording);
    stream->synchronize();
    EXPECT_EQ(get(out), affine(numbers(seed)));
    EXPECT_EQ(get(second), affine(numbers(seed)));
  }
  launch(*other, a, c);  // no longer part of a recording
  other->synchronize();
  EXPECT_TRUE(hazard_reports(*device).empty()) << hazard_reports(*device)[0];
}

TEST_F(GpuTest, WhatCannotBeRecordedSaysWhyAndLeavesTheStreamsUsable) {
  const EventRef fork = device->make_event(), inner = device->make_event();
  const BufferRef host = device->allocate(kBytes, MemoryKind::host, MemoryUse::io);
  const std::tuple<ErrorCode, const char*, std::function<void()>> bad[] = {
      {ErrorCode::misuse, "was not joined",
       [&] {
         stream->record(*fork);
         other->wait(*fork);
         launch(*other, a, b);
       }},
      {ErrorCode::misuse, "pageable", [&] { copy(*stream, a, host); }},
      {ErrorCode::misuse, "inside a recording",
       [&] {
         stream->record(*inner);
         inner->wait();
       }},
      {ErrorCode::device, "CUDA_ERROR",
       [&] { cuda::check(cuda::driver().cuStreamSynchronize(static_cast<CUstream>(stream->native()))); }},
      {ErrorCode::unsupported, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
       [&] {
         static_cast<void>(cuda::driver().cuStreamSynchronize(static_cast<CUstream>(stream->native())));
       }},
  };
  for (const auto& [code, text, work_inside] : bad) {
    std::string message;
    const ErrorCode got = code_of(
        [&, &f = work_inside] {
          static_cast<void>(stream->make_recording([&] {
            launch(*stream, a, b);
            f();
          }));
        },
        &message);
    EXPECT_EQ(got, code) << message;
    EXPECT_NE(message.find(text), std::string::npos) << message;
    put(in, numbers(6));
    for (Stream* s : {stream.get(), other.get()}) {
      std::memset(out->host_data(), 0, kBytes);
      work(*s);
      s->synchronize();
      EXPECT_EQ(get(out), affine(numbers(6), 2)) << "after: " << message;
    }
  }
}

TEST_F(GpuTest, MemoryMayComeAndGoWhileRecording) {
  BufferRef fresh = device->allocate(64 << 20, MemoryKind::device, MemoryUse::io);
  const auto recording = stream->make_recording([&] {
    fresh.reset();
    fresh = device->allocate(600 << 20, MemoryKind::device, MemoryUse::io);  // more than the pool keeps
    fresh.reset();
    fresh = device->allocate(64 << 20, MemoryKind::pinned, MemoryUse::io);
    work(*stream);
  });
  put(in, numbers(9));
  stream->replay(*recording);
  stream->synchronize();
  EXPECT_EQ(get(out), affine(numbers(9), 2));
}

TEST_F(GpuTest, TwoThreadsRecordAndRunAtOnce) {
  std::atomic<int> wrong{0};
  std::vector<std::unique_ptr<sched::Thread>> threads;
  for (int t = 0; t < 4; ++t)
    threads.push_back(std::make_unique<sched::Thread>("recorder", [&, t] {
      try {
        const auto here = device->enter();
        const BufferRef x = device->allocate(kBytes, MemoryKind::device, MemoryUse::activations),
                        y = device->allocate(kBytes, MemoryKind::device, MemoryUse::activations),
                        from = device->allocate(kBytes, MemoryKind::pinned, MemoryUse::io),
                        to = device->allocate(kBytes, MemoryKind::pinned, MemoryUse::io);
        const auto s = device->make_stream({.name = "own"});
        for (int round = 0; round < 50; ++round) {
          const auto recording = s->make_recording([&] {
            copy(*s, x, from);
            launch(*s, x, y);
            copy(*s, to, y);
          });
          const auto values = numbers(static_cast<std::uint64_t>(t * 100 + round));
          put(from, values);
          s->replay(*recording);
          s->synchronize();
          if (get(to) != affine(values)) ++wrong;
        }
      } catch (const std::exception& e) {
        ADD_FAILURE() << e.what();
      }
    }));
  for (auto& thread : threads) thread->join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(GpuTest, AReplayThatNothingOrdersIsAHazard) {
  use(make_checked_device(cuda::make_device("cuda:0")));
  const auto recording = stream->make_recording([&] { launch(*stream, a, b); });
  EXPECT_TRUE(hazard_reports(*device).empty());
  const EventRef event = device->make_event();
  copy(*other, a, in);
  other->record(*event);
  stream->wait(*event);
  stream->replay(*recording);
  EXPECT_TRUE(hazard_reports(*device).empty());
  copy(*other, out, b);
  const auto reports = hazard_reports(*device);
  ASSERT_EQ(reports.size(), 1u);
  EXPECT_NE(reports[0].find("'affine' on stream 's' (writes) and 'copy' on stream 't' (reads)"),
            std::string::npos)
      << reports[0];
  stream->synchronize();
  other->synchronize();
}

}  // namespace
}  // namespace headrace
#endif
