// The simulated machine: time, late effects, memory, captures, faults.
#include <cmath>
#include <cstring>
#include <set>

#include <gtest/gtest.h>

#include "backends/sim/device.h"
#include "base/sched.h"
#include "device/checker.h"
#include "device/test_kernels.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using sim::Call;
using sim::Fault;
using test::all;
using test::code_of;
using test::read;
using test::TestKernel;
using test::write;

/// One virtual machine per seed; `body` runs under each seed.
void explore(int seeds, const std::function<void()>& body) {
  sched::explore(1, static_cast<std::uint64_t>(seeds), body);
}
double ms_since(sched::Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(sched::Clock::now() - begin).count();
}
const sim::Spec kSpec{.upload_pageable_ms = 8,
                      .upload_pinned_ms = 4,
                      .compute_fp32_ms = 6,
                      .compute_fp16_ms = 3,
                      .download_ms = 2,
                      .post_ms = 1,
                      .alloc_ms = 5,
                      .consumed_ms = 0.5};

/// A machine with a pair of host and device buffers of eight ints.
struct Bench {
  explicit Bench(sim::Options options = {.spec = kSpec}) : device(sim::make_device(options)) {
    host = device->allocate(32, MemoryKind::pinned, MemoryUse::io);
    memory = device->allocate(32, MemoryKind::device, MemoryUse::io);
    fill(1);
  }
  void fill(int value) { std::fill_n(reinterpret_cast<int*>(host->host_data()), 8, value); }
  int at(int i) const { return reinterpret_cast<const int*>(host->host_data())[i]; }
  std::unique_ptr<Stream> stream(const char* name) { return device->make_stream({.name = name}); }

  std::shared_ptr<sim::SimDevice> device;
  BufferRef host, memory;
  TestKernel add_one{[](std::span<std::byte* const> data, std::byte*) {
    int values[8];
    std::memcpy(values, data[0], 32);
    for (int& v : values) ++v;
    std::memcpy(data[0], values, 32);
  }};
};

TEST(Sim, OneStreamTakesTheSumAndGivesTheResult) {
  explore(50, [] {
    Bench b;
    auto s = b.stream("s");
    const auto begin = sched::Clock::now();
    s->copy(write(b.memory), read(b.host));
    const Operand operand = all(b.memory, Access::read_write);
    s->launch(b.add_one, {&operand, 1}, {});
    s->copy(write(b.host), read(b.memory));
    EXPECT_EQ(ms_since(begin), 0) << "submitting waits for nothing";
    EXPECT_EQ(b.at(0), 1) << "nothing is written before it is done";
    s->synchronize();
    EXPECT_DOUBLE_EQ(ms_since(begin), 4 + 6 + 2);
    EXPECT_EQ(b.at(7), 2);
    EXPECT_TRUE(b.device->violations().empty());
  });
}

TEST(Sim, EnginesWorkAtTheSameTimeAndEachServesOneAtATime) {
  explore(50, [] {
    Bench b;
    const BufferRef other = b.device->allocate(32, MemoryKind::device, MemoryUse::io);
    auto up = b.stream("up"), compute = b.stream("compute"), second = b.stream("second");
    const auto begin = sched::Clock::now();
    const Operand operand = all(other, Access::read_write);
    compute->launch(b.add_one, {&operand, 1}, {});
    up->copy(write(b.memory), read(b.host));
    up->synchronize();
    EXPECT_DOUBLE_EQ(ms_since(begin), 4);
    second->launch(b.add_one, {&operand, 1}, {});
    compute->synchronize();
    EXPECT_DOUBLE_EQ(ms_since(begin), 6);
    second->synchronize();
    EXPECT_DOUBLE_EQ(ms_since(begin), 12) << "one compute engine";
    const auto spans = b.device->timeline();
    EXPECT_EQ(sim::overlap(spans, sim::Engine::upload, sim::Engine::compute), 4ms);
    EXPECT_DOUBLE_EQ(sim::busy_share(spans, sim::Engine::upload, begin, begin + 12ms), 4.0 / 12);
    EXPECT_DOUBLE_EQ(sim::busy_share(spans, sim::Engine::compute, begin, begin + 12ms), 1);
  });
}

TEST(Sim, AKernelReadsLateAndACopyTearsWhenItRaces) {
  explore(50, [] {
    Bench b;
    auto s = b.stream("s");
    s->copy(write(b.memory), read(b.host));
    sched::sleep_for(3ms);  // of 4: the first half has been read
    b.fill(9);
    s->copy(write(b.host), read(b.memory));
    s->synchronize();
    EXPECT_EQ(b.at(0), 1);
    EXPECT_EQ(b.at(7), 9);
  });
}

TEST(Sim, CopyTimesFollowTheBytesOfABatch) {
  explore(10, [] {
    Bench b({.spec = kSpec, .upload_bytes = 128, .download_bytes = 64});
    auto s = b.stream("s");
    const auto begin = sched::Clock::now();
    s->copy(write(b.memory), read(b.host));
    s->copy(write(b.host), read(b.memory));
    s->synchronize();
    EXPECT_DOUBLE_EQ(ms_since(begin), 4.0 / 4 + 2.0 / 2);
  });
}

TEST(Sim, PageableCopiesBlockTheHostAndAreCounted) {
  explore(20, [] {
    Bench b;
    const BufferRef pageable = b.device->allocate(32, MemoryKind::host, MemoryUse::io);
    auto s = b.stream("s");
    const auto begin = sched::Clock::now();
    s->copy(write(b.memory), read(pageable));
    EXPECT_DOUBLE_EQ(ms_since(begin), 8);
    EXPECT_EQ(b.device->counters().pageable_copies, 1u);
    EXPECT_EQ(b.device->memory().waiting_copies, 1u);
    const auto allocating = sched::Clock::now();
    b.device->allocate(32, MemoryKind::device, MemoryUse::io);
    EXPECT_DOUBLE_EQ(ms_since(allocating), 5);
  });
}

TEST(Sim, FreshMemoryIsPoisoned) {
  explore(1, [] {
    Bench b;
    const BufferRef fresh = b.device->allocate(6, MemoryKind::pinned, MemoryUse::io);
    float value = 0;
    std::memcpy(&value, fresh->host_data(), 4);
    EXPECT_TRUE(std::isnan(value));
    auto s = b.stream("s");
    s->copy(write(b.host), read(b.memory));
    s->synchronize();
    std::memcpy(&value, b.host->host_data(), 4);
    EXPECT_TRUE(std::isnan(value));
  });
}

TEST(Sim, AKernelThatWritesPastItsMemoryIsNamed) {
  explore(5, [] {
    Bench b;
    TestKernel past([](std::span<std::byte* const> data, std::byte*) { data[0][32] = std::byte{0}; });
    auto s = b.stream("s");
    const Operand operand = write(b.memory);
    s->launch(past, {&operand, 1}, {});
    s->synchronize();
    ASSERT_EQ(b.device->violations().size(), 1u);
    EXPECT_NE(b.device->violations()[0].find("after device memory of 32 bytes (io) were overwritten"),
              std::string::npos);
    EXPECT_NE(b.device->violations()[0].find("'test' on stream 's'"), std::string::npos);
  });
}

TEST(Sim, FreeingMemoryUnderWorkIsNamed) {
  explore(20, [] {
    Bench b;
    auto s = b.stream("s");
    s->copy(write(b.memory), read(b.host));
    b.memory.reset();
    s->synchronize();
    ASSERT_EQ(b.device->violations().size(), 1u);
    EXPECT_NE(b.device->violations()[0].find("was freed under 1 operation still to come"), std::string::npos);
  });
}

TEST(Sim, PageableMemoryIsNoOperandOfAKernel) {
  explore(1, [] {
    Bench b;
    const BufferRef pageable = b.device->allocate(32, MemoryKind::host, MemoryUse::io);
    const Operand operand = write(pageable);
    auto s = b.stream("s");
    EXPECT_EQ(code_of([&] { s->launch(b.add_one, {&operand, 1}, {}); }), ErrorCode::misuse);
  });
}

// --- captures ---------------------------------------------------------------------------------------------

TEST(SimCapture, StreamsJoinAndAreJoinedBack) {
  explore(20, [] {
    Bench b;
    auto main = b.stream("main"), aux = b.stream("aux");
    const EventRef fork = b.device->make_event(), join = b.device->make_event();
    const Operand operand = all(b.memory, Access::read_write);
    const auto work = [&](bool joined) {
      main->copy(write(b.memory), read(b.host));
      main->record(*fork);
      aux->wait(*fork);
      aux->launch(b.add_one, {&operand, 1}, {});
      aux->record(*join);
      if (joined) main->wait(*join);
      if (joined) main->copy(write(b.host), read(b.memory));
    };
    const auto recording = main->make_recording([&] { work(true); });
    EXPECT_EQ(recording->nodes(), 3u);
    EXPECT_EQ(b.at(0), 1) << "nothing ran";
    main->replay(*recording);
    main->replay(*recording);
    main->synchronize();
    EXPECT_EQ(b.at(0), 3);
    std::string why;
    EXPECT_EQ(code_of([&] { auto r = main->make_recording([&] { work(false); }); }, &why), ErrorCode::misuse);
    EXPECT_NE(why.find("'aux' joined the recording and was not waited for"), std::string::npos) << why;
    aux->launch(b.add_one, {&operand, 1}, {});  // is usable again
    aux->synchronize();
  });
}

TEST(SimCapture, WhatCannotBeCapturedFailsIt) {
  explore(3, [] {
    Bench b;
    auto s = b.stream("s"), other = b.stream("other");
    const BufferRef pageable = b.device->allocate(32, MemoryKind::host, MemoryUse::io);
    const EventRef outside = b.device->make_event();
    s->record(*outside);
    const std::function<void()> forbidden[] = {
        [&] { b.device->allocate(32, MemoryKind::device, MemoryUse::io); },
        [&] { s->synchronize(); },
        [&] { other->synchronize(); },
        [&] { outside->wait(); },
        [&] { s->wait(*outside); },
        [&] { s->copy(write(b.memory), read(pageable)); },
    };
    for (const auto& work : forbidden)
      EXPECT_EQ(code_of([&] { auto r = s->make_recording(work); }), ErrorCode::misuse);
    // Swallowing the error does not save the capture.
    EXPECT_EQ(code_of([&] {
                auto r = s->make_recording([&] {
                  try {
                    forbidden[0]();
                  } catch (const Error&) {
                  }
                });
              }),
              ErrorCode::misuse);
    s->copy(write(b.memory), read(b.host));
    s->synchronize();
  });
}

// --- faults -----------------------------------------------------------------------------------------------

TEST(SimFaults, TheNthCallFailsOnce) {
  explore(20, [] {
    Bench b;
    auto s = b.stream("s");
    b.device->inject({.call = Call::copy, .number = 1});
    s->copy(write(b.memory), read(b.host));
    EXPECT_EQ(code_of([&] { s->copy(write(b.host), read(b.memory)); }), ErrorCode::device);
    s->copy(write(b.host), read(b.memory));
    s->synchronize();
  });
}

TEST(SimFaults, FailedWorkReachesWhoeverWaits) {
  explore(20, [] {
    Bench b;
    auto s = b.stream("s");
    const EventRef event = b.device->make_event();
    b.device->inject({.call = Call::copy, .way = Fault::asynchronous});
    s->copy(write(b.memory), read(b.host));
    s->record(*event);
    EXPECT_EQ(code_of([&] { event->wait(); }), ErrorCode::device);
    s->copy(write(b.memory), read(b.host));  // the error was met: later work runs
    s->synchronize();
  });
}

TEST(SimFaults, ADeviceThatHasDiedFailsEverything) {
  explore(20, [] {
    Bench b;
    auto s = b.stream("s"), other = b.stream("other");
    const EventRef event = b.device->make_event();
    other->record(*event);
    b.device->inject({.call = Call::copy, .way = Fault::sticky});
    s->copy(write(b.memory), read(b.host));
    std::string why;
    EXPECT_EQ(code_of([&] { s->synchronize(); }, &why), ErrorCode::device);
    EXPECT_NE(why.find("the device has died"), std::string::npos);
    EXPECT_EQ(code_of([&] { other->copy(write(b.memory), read(b.host)); }), ErrorCode::device);
    EXPECT_EQ(code_of([&] { event->wait(); }), ErrorCode::device);
    EXPECT_EQ(code_of([&] { b.device->allocate(8, MemoryKind::device, MemoryUse::io); }), ErrorCode::device);
  });
}

TEST(Sim, ObjectsAreCounted) {
  explore(5, [] {
    auto device = sim::make_device({.spec = kSpec});
    {
      auto s = device->make_stream({.name = "s"});
      const EventRef event = device->make_event();
      const BufferRef buffer = device->allocate(8, MemoryKind::device, MemoryUse::io);
      const auto recording = s->make_recording([] {});
      EXPECT_EQ(device->live(), (sim::Live{1, 1, 1, 1, 0}));
    }
    EXPECT_EQ(device->live(), sim::Live{});
  });
}

TEST(Sim, TheSameSeedGivesTheSameTimeline) {
  const auto run = [](std::uint64_t seed) {
    std::string text;
    sched::DeterministicScheduler scheduler(seed);
    scheduler.run([&] {
      Bench b;
      auto one = b.stream("one"), two = b.stream("two");
      const Operand operand = all(b.memory, Access::read_write);
      for (int i = 0; i < 5; ++i) {
        one->launch(b.add_one, {&operand, 1}, {});
        two->launch(b.add_one, {&operand, 1}, {});
      }
      one->synchronize();
      two->synchronize();
      for (const sim::Span& s : b.device->timeline()) text += s.stream + " ";
    });
    return text;
  };
  std::set<std::string> seen;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const std::string first = run(seed);
    EXPECT_EQ(first, run(seed));
    seen.insert(first);
  }
  EXPECT_GT(seen.size(), 1u) << "seeds explore different orders";
}

TEST(SimSpec, KeysAreReadAndCheckedByName) {
  EXPECT_EQ(sim::parse_spec("{}"), sim::Spec{});
  EXPECT_EQ(sim::parse_spec(R"({"post_ms": 3})").post_ms, 3);
  EXPECT_DOUBLE_EQ(sim::Spec{}.staging(), 13.429 - 6.912);
  for (const char* bad : {"", "[]", R"({"post": 3})", R"({"post_ms": -1})", R"({"post_ms": "3"})",
                          R"({"post_ms": 1e300})", R"({"post_ms": null})"})
    EXPECT_EQ(code_of([&] { sim::parse_spec(bad); }), ErrorCode::invalid_argument) << bad;
  EXPECT_EQ(code_of([&] { sim::load_spec("/nonexistent.json"); }), ErrorCode::io);
}

}  // namespace
}  // namespace headrace
