// One suite for every Device: memory, events, streams, failures. A device enters by a line in `devices()`.
#include "backends/sim/device.h"

#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <numeric>

#include <gtest/gtest.h>

#include "base/sched.h"
#include "device/checker.h"
#include "device/host_device.h"
#include "device/test_kernels.h"
#include "support/gate.h"
#ifdef HEADRACE_CUDA
#include "backends/cuda/device.h"
#endif

namespace headrace {
namespace {

using namespace std::chrono_literals;
using test::all;
using test::code_of;
using test::FailingKernel;
using test::Gate;
using test::TestKernel;

struct Kind {
  std::string name;
  std::function<DeviceRef()> make;
};
std::vector<Kind> devices() {
  std::vector<Kind> all = {
      {"host", [] { return make_host_device({.kind = "reference", .model = "", .threads = 1}); }},
      {"checked_host",
       [] { return make_checked_device(make_host_device({.kind = "cpu", .model = "", .threads = 2})); }},
      {"recording_host",
       [] {
         return make_checked_device(
             make_host_device({.kind = "cpu", .model = "", .threads = 1, .recordings = true}));
       }},
      {"separate_host",
       [] {
         return make_host_device(
             {.kind = "cpu", .model = "", .threads = 1, .recordings = true, .separate_memory = true});
       }},
      {"sim", [] { return sim::make_device({.spec = sim::Spec::instant()}); }},
      {"checked_sim", [] { return make_checked_device(sim::make_device({.spec = sim::Spec::instant()})); }}};
#ifdef HEADRACE_CUDA
  if (test::has_cuda()) {
    all.push_back({"cuda", [] { return cuda::make_device("cuda"); }});
    all.push_back({"checked_cuda", [] { return make_checked_device(cuda::make_device("cuda:0")); }});
  }
#endif
  return all;
}
TEST(GpuDevices, JoinTheSuite) {
  std::string why;
  if (!test::has_cuda(&why)) GTEST_SKIP() << "the suite of devices was not run on cuda: " << why;
}

struct Case {
  Kind kind;
  bool inline_execution;
  friend void PrintTo(const Case& c, std::ostream* out) {
    *out << c.kind.name << (c.inline_execution ? ", inline" : ", worker");
  }
};

class DeviceTest : public testing::TestWithParam<Case> {
 protected:
  DeviceTest() { TestKernel::on_cuda = on_cuda; }
  ~DeviceTest() override { TestKernel::on_cuda = false; }
  DeviceRef device = GetParam().kind.make();
  const bool on_cuda = device->kind() == "cuda";
  std::unique_ptr<Stream> stream() {
    return device->make_stream({.name = "s", .inline_execution = GetParam().inline_execution});
  }
  BufferRef buffer(std::size_t size) { return device->allocate(size, MemoryKind::pinned, MemoryUse::io); }
};

TEST_P(DeviceTest, MemoryIsAlignedAndCounted) {
  const MemoryStats before = device->memory();
  {
    std::vector<BufferRef> buffers;
    for (std::size_t size : {1, 63, 64, 1000}) {
      for (const MemoryKind kind : {MemoryKind::host, MemoryKind::pinned, MemoryKind::device}) {
        buffers.push_back(device->allocate(size, kind, MemoryUse::activations));
        const Buffer& b = *buffers.back();
        EXPECT_EQ(b.size_bytes(), size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.device_data()) % (on_cuda ? 256 : 64), 0u);
        EXPECT_EQ(b.host_data() == nullptr, kind == MemoryKind::device && !device->unified_memory());
        EXPECT_EQ(b.device_data() == nullptr, kind == MemoryKind::host && !device->unified_memory());
        if (b.host_data()) std::memset(b.host_data(), 7, size);
      }
    }
    EXPECT_EQ(device->memory().current[1], before.current[1] + 3 * 1128);
  }
  EXPECT_EQ(device->memory().current[1], before.current[1]);
  EXPECT_EQ(device->memory().high_water[1], before.high_water[1] + 3 * 1128);
  EXPECT_EQ(device->memory().allocations, before.allocations + 12);
}

TEST_P(DeviceTest, ImpossibleAllocationIsAnError) {
  EXPECT_EQ(code_of([&] { buffer(std::size_t{1} << 60); }), ErrorCode::out_of_memory);
  EXPECT_EQ(device->memory().current[static_cast<int>(MemoryUse::io)], 0u);
}

TEST_P(DeviceTest, WrapUsesTheOwnersMemory) {
  auto owner = std::make_shared<std::array<std::byte, 16>>();
  std::weak_ptr<const void> alive = owner;
  BufferRef wrapped = device->wrap(owner->data(), 16, owner);
  EXPECT_EQ(wrapped->host_data(), owner->data());
  owner.reset();
  EXPECT_FALSE(alive.expired());
  wrapped.reset();
  EXPECT_TRUE(alive.expired());
}

TEST_P(DeviceTest, WaitingForAnEventThatWasNeverRecordedIsMisuse) {
  EventRef event = device->make_event();
  auto s = stream();
  EXPECT_EQ(code_of([&] { event->wait(); }), ErrorCode::misuse);
  EXPECT_EQ(code_of([&] { static_cast<void>(event->ready()); }), ErrorCode::misuse);
  EXPECT_EQ(code_of([&] { static_cast<void>(event->wait_for(1ms)); }), ErrorCode::misuse);
  EXPECT_EQ(code_of([&] { s->wait(*event); }), ErrorCode::misuse);
}

TEST_P(DeviceTest, LaunchSeesOperandsInOrderAndEventFollows) {
  BufferRef a = buffer(8), b = buffer(8), scratch = buffer(64);
  const TestKernel fill([](auto data, std::byte* workspace) {
    workspace[63] = std::byte{1};
    std::memset(data[0], 1, 4);
    std::memset(data[1], 2, 8);
  });
  auto s = stream();
  EventRef done = device->make_event();
  const Operand operands[2] = {{a.get(), 4, 4, Access::write}, all(b, Access::write)};
  std::memset(a->host_data(), 0, 8);
  s->launch(fill, operands, all(scratch, Access::write));
  s->record(*done);
  done->wait();
  EXPECT_TRUE(done->ready());
  EXPECT_EQ(a->host_data()[3], std::byte{0});
  EXPECT_EQ(a->host_data()[4], std::byte{1});
  EXPECT_EQ(b->host_data()[7], std::byte{2});
}

TEST_P(DeviceTest, OperandOutsideItsBufferIsMisuse) {
  BufferRef a = buffer(8);
  auto s = stream();
  const TestKernel nothing([](auto, std::byte*) {});
  const Operand outside[1] = {{a.get(), 4, 5, Access::read}};
  EXPECT_EQ(code_of([&] { s->launch(nothing, outside, {}); }), ErrorCode::misuse);
  EXPECT_EQ(code_of([&] {
              s->copy({a.get(), 0, 4, Access::write}, {a.get(), 4, 3, Access::read});
            }),
            ErrorCode::misuse);
  EXPECT_EQ(code_of([&] {
              s->copy({a.get(), 0, 4, Access::write}, {a.get(), 3, 4, Access::read});
            }),
            ErrorCode::misuse);
}

TEST_P(DeviceTest, CopiesInStreamOrder) {
  BufferRef a = buffer(4096), b = buffer(4096), c = buffer(4096);
  std::memset(a->host_data(), 5, 4096);
  auto s = stream();
  s->copy(all(b, Access::write), all(a, Access::read));
  s->copy(all(c, Access::write), all(b, Access::read));
  s->synchronize();
  EXPECT_EQ(std::memcmp(a->host_data(), c->host_data(), 4096), 0);
}

TEST_P(DeviceTest, ManyLaunchesKeepTheirOrder) {  // more than the ring holds
  std::vector<int> seen;
  std::vector<std::unique_ptr<TestKernel>> kernels;
  auto s = stream();
  for (int i = 0; i < 2000; ++i)
    kernels.push_back(std::make_unique<TestKernel>([&seen, i](auto, std::byte*) { seen.push_back(i); }));
  for (const auto& kernel : kernels) s->launch(*kernel, {}, {});
  s->synchronize();
  std::vector<int> expected(2000);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(seen, expected);
}

TEST_P(DeviceTest, LongOperandLists) {
  BufferRef a = buffer(400);
  std::vector<Operand> operands;
  for (std::size_t i = 0; i < 400; ++i) operands.push_back({a.get(), i, 1, Access::write});
  const TestKernel number([](auto data, std::byte*) {
    for (std::size_t i = 0; i < data.size(); ++i) *data[i] = static_cast<std::byte>(i % 251);
  });
  auto s = stream();
  for (int repeat = 0; repeat < 20; ++repeat) s->launch(number, operands, {});
  s->launch(number, {operands.data(), 30}, {});
  s->synchronize();
  for (std::size_t i = 0; i < 400; ++i) ASSERT_EQ(a->host_data()[i], static_cast<std::byte>(i % 251));
}

TEST_P(DeviceTest, FailedWorkPoisonsWhatFollowsUntilTheErrorIsMet) {
  const FailingKernel fails(ErrorCode::device, "broken kernel");
  int ran = 0;
  const TestKernel counts([&](auto, std::byte*) { ++ran; });
  auto s = stream();
  EventRef before = device->make_event(), middle = device->make_event(), done = device->make_event();
  s->record(*before);
  s->launch(fails, {}, {});
  s->record(*middle);
  s->launch(counts, {}, {});
  s->record(*done);
  before->wait();
  EXPECT_EQ(code_of([&] { done->wait(); }), ErrorCode::device);
  EXPECT_EQ(code_of([&] { middle->wait(); }), ErrorCode::device);
  EXPECT_EQ(code_of([&] { static_cast<void>(done->wait_for(1s)); }), ErrorCode::device);
  EXPECT_TRUE(done->ready());
  EXPECT_EQ(ran, 0);
  s->launch(counts, {}, {});  // independent later work
  s->record(*done);
  done->wait();
  EXPECT_EQ(ran, 1);
  s->synchronize();
}

TEST_P(DeviceTest, SynchronizeThrowsTheFirstError) {
  const FailingKernel fails(ErrorCode::device, "first");
  const FailingKernel fails_too(ErrorCode::internal, "second");
  auto s = stream();
  s->launch(fails, {}, {});
  s->launch(fails_too, {}, {});
  EXPECT_EQ(code_of([&] { s->synchronize(); }), ErrorCode::device);
  s->synchronize();
}

TEST_P(DeviceTest, AnItemThatStartsAfterFailedWorkRuns) {
  const FailingKernel fails(ErrorCode::device, "broken kernel");
  std::atomic<int> runs = 0;
  const TestKernel counts([&](auto, std::byte*) { ++runs; });
  auto s = stream(), other = stream();
  EventRef failed = device->make_event(), done = device->make_event(), elsewhere = device->make_event();
  s->launch(fails, {}, {});
  s->record(*failed);
  s->start_item();
  s->launch(counts, {}, {});
  s->record(*done);
  other->wait(*failed);  // for its memory, say
  other->start_item();
  other->launch(counts, {}, {});
  other->record(*elsewhere);
  done->wait();
  elsewhere->wait();
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(code_of([&] { failed->wait(); }), ErrorCode::device);
}

TEST_P(DeviceTest, AStreamThatWaitsForPoisonIsPoisoned) {
  const FailingKernel fails(ErrorCode::device, "upstream");
  bool ran = false;
  const TestKernel use([&](auto, std::byte*) { ran = true; });
  auto a = stream(), b = stream();
  EventRef made = device->make_event(), done = device->make_event();
  a->launch(fails, {}, {});
  a->record(*made);
  b->wait(*made);
  b->launch(use, {}, {});
  b->record(*done);
  EXPECT_EQ(code_of([&] { done->wait(); }), ErrorCode::device);
  EXPECT_FALSE(ran);
}

TEST_P(DeviceTest, StreamsAreOrderedByEvents) {
  constexpr int kStreams = 6, kRounds = 50;
  BufferRef value = buffer(sizeof(int));
  std::memset(value->host_data(), 0, sizeof(int));
  const TestKernel increment([](auto data, std::byte*) { ++*reinterpret_cast<int*>(data[0]); });
  std::vector<std::unique_ptr<Stream>> streams;
  std::vector<EventRef> events;
  for (int i = 0; i < kStreams; ++i) {
    streams.push_back(stream());
    events.push_back(device->make_event());
  }
  const Operand operand[1] = {all(value, Access::read_write)};
  for (int i = 0; i < kStreams * kRounds; ++i) {  // each stream waits for the one before it
    const auto me = static_cast<std::size_t>(i % kStreams),
               before = static_cast<std::size_t>((i + kStreams - 1) % kStreams);
    if (i > 0) streams[me]->wait(*events[before]);
    streams[me]->launch(increment, operand, {});
    streams[me]->record(*events[me]);
  }
  events[kStreams - 1]->wait();
  EXPECT_EQ(*reinterpret_cast<int*>(value->host_data()), kStreams * kRounds);
  EXPECT_TRUE(hazard_reports(*device).empty()) << hazard_reports(*device)[0];
}

TEST_P(DeviceTest, DestroyingAStreamRunsWhatIsLeft) {
  std::atomic<int> ran{0};
  const TestKernel counts([&](auto, std::byte*) { ++ran; });
  {
    auto s = stream();
    for (int i = 0; i < 10; ++i) s->launch(counts, {}, {});
  }
  EXPECT_EQ(ran, 10);
}

TEST_P(DeviceTest, InlineRunsAtOnceAndWorkerDoesNot) {
  Gate gate;
  bool ran = false;
  if (GetParam().inline_execution) gate.open();
  const TestKernel kernel([&](auto, std::byte*) {
    gate.pass();
    ran = true;
  });
  auto s = stream();
  EventRef done = device->make_event();
  s->launch(kernel, {}, {});
  s->record(*done);
  EXPECT_EQ(done->ready(), GetParam().inline_execution);
  EXPECT_EQ(done->wait_for(2ms), GetParam().inline_execution);
  gate.open();
  done->wait();
  EXPECT_TRUE(ran);
}

TEST_P(DeviceTest, AnEventRecordedAgainMeansTheNewRecord) {
  if (GetParam().inline_execution) GTEST_SKIP() << "an inline stream has no work in flight";
  Gate first, second;
  const TestKernel one([&](auto, std::byte*) { first.pass(); }),
      two([&](auto, std::byte*) { second.pass(); });
  auto s = stream();
  EventRef event = device->make_event();
  s->launch(one, {}, {});
  s->record(*event);
  first.open();
  event->wait();
  s->launch(two, {}, {});
  s->record(*event);
  EXPECT_FALSE(event->ready());
  second.open();
  event->wait();
}

class RecordingTest : public DeviceTest {};  // of the devices that can

TEST_P(RecordingTest, ARecordingRunsAtEachReplay) {
  BufferRef a = buffer(sizeof(int)), b = device->allocate(sizeof(int), MemoryKind::device, MemoryUse::io),
            c = buffer(sizeof(int));
  auto& value = *reinterpret_cast<int*>(a->host_data());
  const TestKernel triple([](auto data, std::byte*) { *reinterpret_cast<int*>(data[0]) *= 3; });
  const Operand operand[1] = {all(a, Access::read_write)};
  auto s = stream();
  EventRef inside = device->make_event(), done = device->make_event();
  value = 5;
  const auto recording = s->make_recording([&] {
    s->launch(triple, operand, {});
    s->record(*inside);
    s->wait(*inside);
    s->copy(all(b, Access::write), all(a, Access::read));
    s->copy(all(c, Access::write), all(b, Access::read));
  });
  s->synchronize();
  EXPECT_EQ(value, 5) << "recording runs nothing";
  EXPECT_EQ(recording->nodes(), 3u);
  for (int want : {15, 45, 135}) {
    s->replay(*recording);
    s->record(*done);
    done->wait();
    EXPECT_EQ(*reinterpret_cast<int*>(c->host_data()), want);
  }
  EXPECT_EQ(code_of([&] { inside->wait(); }), ErrorCode::misuse);
  EXPECT_EQ(code_of([&] { s->wait(*inside); }), ErrorCode::misuse);
  EXPECT_TRUE(hazard_reports(*device).empty());
}

TEST_P(RecordingTest, AnErrorEndsARecordingAndTheStreamGoesOn) {
  const FailingKernel fails(ErrorCode::device, "broken kernel");
  int ran = 0;
  const TestKernel counts([&](auto, std::byte*) { ++ran; });
  auto s = stream();
  EventRef outside = device->make_event(), done = device->make_event();
  s->record(*outside);
  const std::pair<ErrorCode, std::function<void()>> bad[] = {
      {ErrorCode::device, [&] { s->launch(fails, {}, {}); }},
      {ErrorCode::misuse, [&] { s->wait(*outside); }},
      {ErrorCode::misuse, [&] { s->synchronize(); }},
      {ErrorCode::misuse, [&] { static_cast<void>(s->make_recording([] {})); }},
      {ErrorCode::cancelled, [&] { throw Error(ErrorCode::cancelled, "by the caller"); }},
      {ErrorCode::internal, [&] { throw std::runtime_error("something else"); }},
  };
  for (const auto& [code, work] : bad) {
    if (code == ErrorCode::device && !on_cuda) continue;  // a host's launch runs, and fails, at the replay
    std::string message;
    EXPECT_EQ(code_of(
                  [&] {
                    static_cast<void>(s->make_recording([&, &work = work] {
                      s->launch(counts, {}, {});
                      work();
                      s->launch(counts, {}, {});
                    }));
                  },
                  &message),
              code);
    EXPECT_NE(message.find("while recording stream 's'"), std::string::npos) << message;
    s->record(*done);
    done->wait();
  }
  s->synchronize();
  EXPECT_EQ(ran, 0);
  s->launch(counts, {}, {});
  s->synchronize();
  EXPECT_EQ(ran, 1);
}

TEST_P(RecordingTest, AReplayAfterFailedWorkIsSkipped) {
  const FailingKernel fails(ErrorCode::device, "broken kernel");
  int ran = 0;
  const TestKernel counts([&](auto, std::byte*) { ++ran; });
  auto s = stream();
  EventRef done = device->make_event();
  const auto recording = s->make_recording([&] { s->launch(counts, {}, {}); });
  s->launch(fails, {}, {});
  s->replay(*recording);
  s->record(*done);
  EXPECT_EQ(code_of([&] { done->wait(); }), ErrorCode::device);
  EXPECT_EQ(ran, 0);
  s->replay(*recording);
  s->synchronize();
  EXPECT_EQ(ran, 1);
}

TEST_P(DeviceTest, CanRecordSaysTheTruth) {
  auto s = stream();
  const auto record = [&] { static_cast<void>(s->make_recording([] {})); };
  if (device->can_record())
    EXPECT_NO_THROW(record());
  else
    EXPECT_EQ(code_of(record), ErrorCode::unsupported);
}

std::vector<Case> cases(bool only_recording) {
  std::vector<Case> all;
  for (const Kind& kind : devices())
    for (bool inline_execution : {true, false}) {
      if (inline_execution && kind.name.ends_with("cuda")) continue;  // all its streams are asynchronous
      if (!only_recording || kind.make()->can_record()) all.push_back({kind, inline_execution});
    }
  return all;
}
std::string name_of(const testing::TestParamInfo<Case>& info) {
  return info.param.kind.name + (info.param.inline_execution ? "_inline" : "_worker");
}
INSTANTIATE_TEST_SUITE_P(Every, DeviceTest, testing::ValuesIn(cases(false)), name_of);
INSTANTIATE_TEST_SUITE_P(Every, RecordingTest, testing::ValuesIn(cases(true)), name_of);

TEST(HostDevice, KeepsToItsBudget) {
  DeviceRef device = make_host_device({.kind = "cpu", .model = "", .threads = 1, .budget_bytes = 1000});
  BufferRef a = device->allocate(600, MemoryKind::host, MemoryUse::weights);
  EXPECT_EQ(code_of([&] { device->allocate(401, MemoryKind::host, MemoryUse::weights); }),
            ErrorCode::out_of_memory);
  a.reset();
  EXPECT_NO_THROW(device->allocate(1000, MemoryKind::host, MemoryUse::weights));
}

TEST(HostDevice, UnderTheDeterministicScheduler) {
  sched::explore(1, 200, [] {
    DeviceRef device = make_host_device({.kind = "reference", .model = "", .threads = 1});
    BufferRef value = device->allocate(sizeof(int), MemoryKind::host, MemoryUse::io);
    *reinterpret_cast<int*>(value->host_data()) = 1;
    const TestKernel twice([](auto data, std::byte*) { *reinterpret_cast<int*>(data[0]) *= 2; });
    const TestKernel plus([](auto data, std::byte*) { *reinterpret_cast<int*>(data[0]) += 3; });
    const Operand operand[1] = {{value.get(), 0, sizeof(int), Access::read_write}};
    auto a = device->make_stream({.name = "a"}), b = device->make_stream({.name = "b"});
    EventRef first = device->make_event(), second = device->make_event();
    a->launch(twice, operand, {});
    a->record(*first);
    b->wait(*first);
    b->launch(plus, operand, {});
    b->record(*second);
    second->wait();
    if (*reinterpret_cast<int*>(value->host_data()) != 5) throw Error(ErrorCode::internal, "out of order");
  });
}

}  // namespace
}  // namespace headrace
