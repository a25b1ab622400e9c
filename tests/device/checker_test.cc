// The hazard checker: what is ordered is silent, what is not is named.
#include "device/checker.h"

#include <gtest/gtest.h>

#include "base/hooks.h"
#include "base/sched.h"
#include "device/host_device.h"

namespace headrace {
namespace {

class NamedKernel final : public Kernel {
 public:
  explicit NamedKernel(const char* name) : name_(name) {}
  void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override {}
  std::string_view name() const override { return name_; }

 private:
  const char* name_;
};

class CheckerTest : public testing::Test {
 protected:
  std::vector<Hazard> found;
  std::shared_ptr<HazardChecker> device =
      make_hazard_checker(make_host_device({.kind = "reference", .model = "", .threads = 1}),
                          [this](const Hazard& h) { found.push_back(h); });
  // What work uses outlives the streams, which run what is left when they go.
  NamedKernel produce{"produce"}, consume{"consume"}, look{"look"};
  BufferRef buffer = device->allocate(256, MemoryKind::host, MemoryUse::io);
  std::unique_ptr<Stream> upload = device->make_stream({.name = "upload"});
  std::unique_ptr<Stream> compute = device->make_stream({.name = "compute"});
  EventRef event = device->make_event(), consumed = device->make_event();

  void run(Stream& stream, const Kernel& kernel, Access access, std::size_t begin = 0,
           std::size_t size = 256) {
    const Operand operand[1] = {{buffer.get(), begin, size, access}};
    stream.launch(kernel, operand, {});
  }
};

TEST_F(CheckerTest, EventOrdersTwoStreams) {
  run(*upload, produce, Access::write);
  upload->record(*event);
  compute->wait(*event);
  run(*compute, consume, Access::read);
  EXPECT_TRUE(found.empty());
}

TEST_F(CheckerTest, MissingWaitIsNamedExactly) {
  run(*upload, produce, Access::write, 0, 192);
  run(*compute, consume, Access::read, 64, 192);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].first.operation, "produce");
  EXPECT_EQ(found[0].first.actor, "stream 'upload'");
  EXPECT_TRUE(found[0].first.writes);
  EXPECT_EQ(found[0].second.operation, "consume");
  EXPECT_EQ(found[0].second.actor, "stream 'compute'");
  EXPECT_FALSE(found[0].second.writes);
  EXPECT_EQ(found[0].begin, 64u);
  EXPECT_EQ(found[0].end, 192u);
  EXPECT_EQ(to_string(found[0]),
            "'produce' on stream 'upload' (writes) and 'consume' on stream 'compute' (reads) are not "
            "ordered: bytes "
            "[64, 192) of buffer 1 (io, 256 bytes); let one wait for an event recorded after the other");
}

TEST_F(CheckerTest, ReadsAndDisjointRangesAreNoHazard) {
  run(*upload, produce, Access::read);
  run(*compute, consume, Access::read);
  EXPECT_TRUE(found.empty());
  BufferRef other = device->allocate(256, MemoryKind::host, MemoryUse::io);
  buffer = other;
  run(*upload, produce, Access::write, 0, 128);
  run(*compute, consume, Access::write, 128, 128);
  EXPECT_TRUE(found.empty());
}

TEST_F(CheckerTest, RecordBeforeTheWorkDoesNotCoverIt) {
  upload->record(*event);
  run(*upload, produce, Access::write);
  compute->wait(*event);
  run(*compute, consume, Access::read);
  ASSERT_EQ(found.size(), 1u);
}

TEST_F(CheckerTest, InputConsumedOrdersTheNextUpload) {
  for (int i = 0; i < 3; ++i) {
    if (i > 0) upload->wait(*consumed);
    run(*upload, produce, Access::write);
    upload->record(*event);
    compute->wait(*event);
    run(*compute, consume, Access::read);
    compute->record(*consumed);
  }
  EXPECT_TRUE(found.empty());
}

TEST_F(CheckerTest, InputConsumedRecordedTooEarlyIsFound) {
  run(*upload, produce, Access::write);
  upload->record(*event);
  compute->wait(*event);
  compute->record(*consumed);  // before the step that reads the input
  run(*compute, consume, Access::read);
  upload->wait(*consumed);
  run(*upload, produce, Access::write);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].first.operation, "consume");
  EXPECT_EQ(found[0].second.operation, "produce");
  EXPECT_TRUE(found[0].second.writes);
}

TEST_F(CheckerTest, AnOldReaderIsNotForgottenWhenAnotherOneReads) {
  run(*compute, consume, Access::read);
  run(*upload, look, Access::read);
  run(*upload, produce, Access::write);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].first.actor, "stream 'compute'");
}

TEST_F(CheckerTest, HostWaitOrdersWhatTheHostSubmitsNext) {
  run(*upload, produce, Access::write);
  upload->record(*event);
  event->wait();
  run(*compute, consume, Access::read);
  EXPECT_TRUE(found.empty());
  compute->synchronize();
  run(*upload, produce, Access::write);
  EXPECT_TRUE(found.empty());
}

TEST_F(CheckerTest, HostReadBeforeTheEventIsFound) {
  run(*compute, produce, Access::write);
  compute->record(*event);
  device->host_access({buffer.get(), 0, 16, Access::read}, "reader");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].second.operation, "reader");
  EXPECT_EQ(found[0].second.actor, "host thread 1");
  EXPECT_EQ(found[0].end, 16u);
  event->wait();
  device->host_access({buffer.get(), 0, 16, Access::read}, "later reader");
  EXPECT_EQ(found.size(), 1u);
}

TEST_F(CheckerTest, HooksOrderHostThreads) {
  const int token = 0;
  for (const bool hooked : {true, false}) {
    found.clear();
    buffer = device->allocate(256, MemoryKind::host, MemoryUse::io);
    sched::Mutex mutex{"test"};
    sched::CondVar changed{"test.changed"};
    bool filled = false;
    sched::Thread other("other", [&] {
      {
        sched::UniqueLock lock(mutex);
        changed.wait(lock, [&] { return filled; });
      }
      if (hooked) hooks::acquire(&token);
      run(*compute, consume, Access::read);
    });
    device->host_access({buffer.get(), 0, 256, Access::write}, "fill");
    if (hooked) hooks::release(&token);
    {
      sched::LockGuard lock(mutex);
      filled = true;
    }
    changed.notify_all();
    other.join();
    EXPECT_EQ(found.size(), hooked ? 0u : 1u);
  }
}

TEST_F(CheckerTest, StartingAndJoiningAThreadOrder) {
  device->host_access({buffer.get(), 0, 256, Access::write}, "fill");
  sched::Thread other("other", [&] { device->host_access({buffer.get(), 0, 256, Access::write}, "more"); });
  other.join();
  device->host_access({buffer.get(), 0, 256, Access::read}, "look");
  EXPECT_TRUE(found.empty());
}

TEST_F(CheckerTest, CopyAndWorkspaceCount) {
  BufferRef other = device->allocate(256, MemoryKind::host, MemoryUse::workspace);
  upload->copy({other.get(), 0, 256, Access::write}, {buffer.get(), 0, 256, Access::read});
  compute->launch(consume, {}, {other.get(), 0, 256, Access::write});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].first.operation, "copy");
  EXPECT_EQ(found[0].buffer, "buffer 2 (workspace, 256 bytes)");
  upload->synchronize();  // before the buffer goes
}

TEST_F(CheckerTest, TwoWrapsOfOneAddressAreOneBuffer) {
  alignas(64) static std::byte memory[64];
  BufferRef a = device->wrap(memory, 64, nullptr), b = device->wrap(memory, 64, nullptr);
  const Operand write[1] = {{a.get(), 0, 64, Access::write}}, read[1] = {{b.get(), 0, 64, Access::read}};
  upload->launch(produce, write, {});
  compute->launch(consume, read, {});
  EXPECT_EQ(found.size(), 1u);
  upload->synchronize();
  compute->synchronize();
}

TEST_F(CheckerTest, OperandsOfOneLaunchDoNotConflict) {
  const Operand in_place[2] = {{buffer.get(), 0, 256, Access::read}, {buffer.get(), 0, 256, Access::write}};
  upload->launch(produce, in_place, {});
  EXPECT_TRUE(found.empty());
}

TEST_F(CheckerTest, EachPairIsReportedOnceAndMemoryIsBounded) {
  for (std::size_t i = 0; i < 5000; ++i) {
    run(*upload, produce, Access::write, i % 256, 1);
    run(*compute, consume, Access::read, i % 256, 1);
  }
  EXPECT_EQ(device->hazards(), 2u);  // produce-consume and consume-produce
  EXPECT_EQ(hazard_reports(*device).size(), 2u);
}

TEST_F(CheckerTest, FreedMemoryIsForgotten) {
  run(*upload, produce, Access::write);
  upload->synchronize();
  buffer.reset();
  for (int i = 0; i < 100; ++i) {  // the allocator hands out the same addresses
    buffer = device->allocate(256, MemoryKind::host, MemoryUse::io);
    run(i % 2 ? *upload : *compute, produce, Access::write);
    (i % 2 ? *upload : *compute).synchronize();
  }
  EXPECT_TRUE(found.empty());
}

TEST_F(CheckerTest, AReplayCountsAsItsLaunches) {
  device = make_hazard_checker(make_host_device({.kind = "reference", .threads = 1, .recordings = true}),
                               [this](const Hazard& h) { found.push_back(h); });
  buffer = device->allocate(256, MemoryKind::host, MemoryUse::io);
  upload = device->make_stream({.name = "upload"});
  compute = device->make_stream({.name = "compute"});
  event = device->make_event();
  const auto recording = compute->make_recording([&] {
    run(*compute, consume, Access::read, 0, 128);
    run(*compute, look, Access::read, 128, 128);
  });
  run(*upload, produce, Access::write);  // nothing has run yet, so nothing to order
  EXPECT_TRUE(found.empty());
  upload->record(*event);
  compute->wait(*event);
  compute->replay(*recording);
  EXPECT_TRUE(found.empty());
  run(*upload, produce, Access::write, 200, 8);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].first.operation, "look");
  EXPECT_EQ(found[0].first.actor, "stream 'compute'");
  compute->replay(*recording);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[1].second.operation, "look");
}

}  // namespace
}  // namespace headrace
