// A session that computes on the caller's device memory and leaves results there.
#include <gtest/gtest.h>

#include "api/dlpack_abi.h"
#include "base/sched.h"
#include "pipeline/sim_engine.h"
#include "pipeline/small_engine.h"
#include "support/expect_error.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using test::expect_error;
using testing::MoodyEngine;
using testing::SimEngine;

const Shape kShape = {1, 4};

void expect_clean(const SimEngine& sim) {
  for (const std::string& hazard : sim.engine.hazards()) ADD_FAILURE() << hazard;
  for (const std::string& violation : sim.device->violations()) ADD_FAILURE() << violation;
}

/// A user of the session, with a stream and memory of its own.
struct User {
  User(const Engine& e, const char* name)
      : stream(e, name), in(e, DType::f32, kShape), host(e, 4), result(e, 4) {}
  /// Uploads to `in`; the session starts when that is done.
  Ticket submit(Session& session, float value, bool outputs_on_device = true) {
    for (float& v : host.write()) v = value;
    copy(stream, in.as<float>(), host.span());
    return session.submit_device({{"x", in}}, stream.record(), {.outputs_on_device = outputs_on_device});
  }
  float read(OutputLease lease) {
    copy(stream, result.span(), lease.device("y").as<const float>());
    stream.record().wait();
    return result.read()[3];
  }
  DeviceStream stream;
  DeviceTensor in;
  PinnedBuffer<float> host, result;
};

TEST(SessionOnDeviceMemory, NothingIsCopiedButByTheUser) {
  sched::explore(1, 60, [] {
    SimEngine sim({.spec = {.upload_pinned_ms = 2, .compute_fp32_ms = 3, .download_ms = 1}}, true);
    {
      Session session{sim.engine, {.slots = 2}};
      session.prepare({{"x", kShape}});
      User user(sim.engine, "user");
      const auto before = sim.device->counters();
      for (int i = 0; i < 4; ++i) {
        Ticket ticket = user.submit(session, static_cast<float>(i));
        ASSERT_EQ(user.read(ticket.get()), static_cast<float>(i) + 1);
      }
      const auto after = sim.device->counters();
      EXPECT_EQ(after.uploads - before.uploads, 4u) << "the user's own";
      EXPECT_EQ(after.downloads - before.downloads, 4u);
      EXPECT_EQ(after.pageable_copies, 0u);
      EXPECT_EQ(session.stats().staged, 0u);
    }
    expect_clean(sim);
  });
}

TEST(SessionOnDeviceMemory, TwoUsersAndHostMemoryTakeTurns) {
  sched::explore(1, 100, [] {
    SimEngine sim({.spec = {.upload_pinned_ms = 2, .compute_fp32_ms = 3, .download_ms = 1}}, true);
    {
      Session session{sim.engine, {.slots = 4, .contexts = 2}};
      const auto work = [&](float base, const char* name) {
        User user(sim.engine, name);
        for (int i = 0; i < 3; ++i) {
          const float value = base + static_cast<float>(i);
          const bool on_device = i % 2 == 0;
          OutputLease out = user.submit(session, value, on_device).get();
          const float got = on_device ? user.read(std::move(out)) : out["y"].as<float>()[0];
          if (got != value + 1) throw std::runtime_error("a result is not its own input's");
          OutputLease host = session.submit(testing::fill(session.acquire({{"x", kShape}}), -value)).get();
          if (host["y"].as<float>()[1] != 1) throw std::runtime_error("a result is not its own input's");
        }
      };
      sched::Thread other("other", [&] { work(100, "other"); });
      work(10, "user");
      other.join();
      session.close();
      EXPECT_EQ(session.stats().completed, 12u);
    }
    expect_clean(sim);
  });
}

TEST(SessionOnDeviceMemory, WorksOnHostMemoryToo) {
  const Engine engine = testing::small_engine(true);
  Session session{engine, {.slots = 1}};
  User user(engine, "user");
  for (int i = 0; i < 5; ++i) {
    OutputLease out = user.submit(session, static_cast<float>(i)).get();
    EXPECT_EQ(out["y"].as<float>()[0], static_cast<float>(i) + 1);  // it is the same memory
    EXPECT_EQ(user.read(std::move(out)), static_cast<float>(i) + 1);
  }
  EXPECT_TRUE(engine.hazards().empty()) << engine.hazards().front();
}

/// A DLPack tensor of ones for the device type, which counts its deleter's calls.
struct Given {
  explicit Given(DLDeviceType type) {
    managed.dl_tensor = {.data = values,
                         .device = {type, 0},
                         .ndim = 2,
                         .dtype = {kDLFloat, 32, 1},
                         .shape = shape,
                         .strides = nullptr,
                         .byte_offset = 0};
    managed.manager_ctx = this;
    managed.deleter = [](DLManagedTensor* self) { ++static_cast<Given*>(self->manager_ctx)->deleted; };
  }
  alignas(64) float values[4] = {1, 1, 1, 1};
  std::int64_t shape[2] = {1, 4};
  DLManagedTensor managed{};
  std::atomic<int> deleted{0};
};

TEST(SessionOnDeviceMemory, AGivenTensorIsGivenBackWhenItWasRead) {
  for (const bool apart : {false, true}) {
    MoodyEngine engine({.separate_memory = apart, .check_hazards = true});
    Session session{engine, {.slots = 2}};
    Given given(apart ? kDLExtDev : kDLCPU);
    Ticket ticket = session.submit_device({{"x", DeviceTensor::from_dlpack(engine, &given.managed)}});
    const OutputLease out = ticket.get();
    EXPECT_EQ(out["y"].as<float>()[2], 2.0f);
    for (int i = 0; i < 1000 && given.deleted == 0; ++i) sched::sleep_for(1ms);
    EXPECT_EQ(given.deleted, 1) << "the session is still open, and has nothing else to do";
    for (const std::string& hazard : engine.engine().hazards()) ADD_FAILURE() << hazard;
  }
}

TEST(SessionOnDeviceMemory, WhatIsDroppedOrCancelledGivesItsTensorsBack) {
  testing::Gate gate;
  MoodyEngine engine({.mood = [&](float v) {
    if (v == 3) gate.pass();
  }});
  Given dropped(kDLExtDev), cancelled(kDLExtDev);
  Session session{engine, {.slots = 8, .ring = 1}};
  session.prepare({{"x", kShape}});
  std::vector<Ticket> held;
  for (int i = 0; i < 4; ++i)
    held.push_back(session.submit(testing::fill(session.acquire({{"x", kShape}}), 3)));
  gate.await();
  Ticket a = session.submit_device({{"x", DeviceTensor::from_dlpack(engine, &dropped.managed)}});
  Ticket b = session.submit_device({{"x", DeviceTensor::from_dlpack(engine, &cancelled.managed)}});
  EXPECT_TRUE(b.cancel());
  EXPECT_EQ(cancelled.deleted, 1);
  EXPECT_EQ(dropped.deleted, 0);
  sched::Thread opener("opener", [&] {
    sched::sleep_for(5ms);
    gate.open();
  });
  session.close(Closing::cancel);
  opener.join();
  EXPECT_EQ(dropped.deleted, 1);
  EXPECT_THROW((void)a.get(), Error);
}

TEST(SessionOnDeviceMemory, ALeasesTensorsKeepItsMemory) {
  for (const bool apart : {false, true}) {
    MoodyEngine engine({.separate_memory = apart});
    Session session{engine, {.slots = 2}};
    User user(engine, "user");
    DLManagedTensor* exported = nullptr;
    {
      OutputLease out = user.submit(session, 6).get();
      exported = out.device("y").to_dlpack();
    }
    for (int i = 0; i < 5; ++i)  // one output is left for these
      EXPECT_EQ(user.read(user.submit(session, static_cast<float>(i)).get()), static_cast<float>(i) + 1);
    EXPECT_EQ(static_cast<float*>(exported->dl_tensor.data)[0], 7.0f);
    exported->deleter(exported);
    OutputLease first = user.submit(session, 1).get(), second = user.submit(session, 2).get();
    EXPECT_EQ(user.read(std::move(first)), 2);
    EXPECT_EQ(user.read(std::move(second)), 3);
  }
}

TEST(SessionOnDeviceMemory, AFailureBeforeTheEventFailsTheTicketOnly) {
  MoodyEngine engine({.mood = [](float v) {
    if (v == 666) throw Error(ErrorCode::internal, "the producer failed");
  }});
  Session session{engine, {.slots = 2}};
  User user(engine, "user");
  Context producer(engine);
  const DeviceTensor made(engine, DType::f32, kShape);
  producer.bind("x", user.in);
  producer.bind("y", made);
  producer.prepare();
  for (const float value : {1.0f, 666.0f, 2.0f}) {
    for (float& v : user.host.write()) v = value;
    copy(user.stream, user.in.as<float>(), user.host.span());
    Ticket ticket =
        session.submit_device({{"x", made}}, producer.enqueue(user.stream), {.outputs_on_device = true});
    if (value != 666) {
      EXPECT_EQ(user.read(ticket.get()), value + 2);  // both networks add one
      continue;
    }
    expect_error(ErrorCode::internal, "the producer failed", [&] { (void)ticket.get(); });
  }
  EXPECT_EQ(session.stats().failed, 1u);
}

TEST(SessionOnDeviceMemory, MisuseIsRefused) {
  MoodyEngine engine({}), other({});
  Session session{engine, {.slots = 2}};
  User user(engine, "user");
  const auto submit = [&](const Engine& e, DType dtype, Shape shape, const char* name = "x") {
    (void)session.submit_device({{name, DeviceTensor(e, dtype, std::move(shape))}});
  };
  expect_error(ErrorCode::misuse, "another engine's device", [&] { submit(other, DType::f32, kShape); });
  expect_error(ErrorCode::invalid_argument, "takes f32", [&] { submit(engine, DType::i32, kShape); });
  expect_error(ErrorCode::invalid_argument, "'x'", [&] { submit(engine, DType::f32, {9, 4}); });
  expect_error(ErrorCode::invalid_argument, "'z'", [&] { submit(engine, DType::f32, kShape, "z"); });
  expect_error(ErrorCode::invalid_argument, "is missing", [&] { (void)session.submit_device({}); });
  expect_error(ErrorCode::misuse, "no memory", [&] { (void)session.submit_device({{"x", DeviceTensor()}}); });
  DeviceStream foreign(other);
  expect_error(ErrorCode::misuse, "another engine's device", [&] {
    (void)session.submit_device({{"x", user.in}}, foreign.record());
  });
  OutputLease host = session.submit(testing::fill(session.acquire({{"x", kShape}}), 1)).get();
  expect_error(ErrorCode::misuse, "outputs_on_device", [&] { (void)host.device("y"); });
  OutputLease device = user.submit(session, 1).get();
  expect_error(ErrorCode::misuse, "lies in device memory", [&] { (void)device["y"]; });
  expect_error(ErrorCode::invalid_argument, "'q'", [&] { (void)device.device("q"); });
  Session batches{engine, {.batch = {.max_batch = 2}}};
  expect_error(ErrorCode::unsupported, "batches", [&] { (void)batches.submit_device({{"x", user.in}}); });
  const std::vector<float> values(4);
  expect_error(ErrorCode::unsupported, "batches", [&] {
    (void)batches.submit({{"x", ConstTensorView(std::span(values), {1, 4})}}, {.outputs_on_device = true});
  });
}

}  // namespace
}  // namespace headrace
