// Tensors of other libraries, in and out without copies.
#include <gtest/gtest.h>

#include "api/dlpack_abi.h"
#include "pipeline/sim_engine.h"
#include "pipeline/small_engine.h"
#include "support/expect_error.h"

namespace headrace {
namespace {

using testing::MoodyEngine;
using testing::SimEngine;

/// A tensor of another library, which counts how often it is given back.
template <class Managed>
struct Foreign {
  explicit Foreign(DLDevice device, std::vector<std::int64_t> extents = {2, 4})
      : shape(std::move(extents)), values(64, 0.0f) {
    managed.dl_tensor = {.data = values.data(),
                         .device = device,
                         .ndim = static_cast<std::int32_t>(shape.size()),
                         .dtype = {kDLFloat, 32, 1},
                         .shape = shape.data(),
                         .strides = nullptr,
                         .byte_offset = 0};
    managed.manager_ctx = this;
    managed.deleter = [](Managed* self) { ++static_cast<Foreign*>(self->manager_ctx)->deleted; };
  }
  Managed managed{};
  std::vector<std::int64_t> shape, strides;
  std::vector<float> values;
  int deleted = 0;
};
using ForeignTensor = Foreign<DLManagedTensor>;

const DLDevice kCpu{kDLCPU, 0}, kSim{kDLExtDev, 0};

void expect_refused(const Engine& engine, ForeignTensor& tensor, const char* part) {
  test::expect_error(ErrorCode::invalid_argument, part,
                     [&] { (void)DeviceTensor::from_dlpack(engine, &tensor.managed); });
  EXPECT_EQ(tensor.deleted, 0) << "a refused tensor stays its owner's";
}

TEST(DLPack, ATensorOfTheCpuIsComputedOnWhereItLies) {
  const Engine engine = testing::small_engine(true);
  ForeignTensor in(kCpu), out(kCpu);
  std::fill(in.values.begin(), in.values.end(), 4.0f);
  {
    Context context(engine);
    DeviceStream stream(engine);
    context.bind("x", DeviceTensor::from_dlpack(engine, &in.managed));
    context.bind("y", DeviceTensor::from_dlpack(engine, &out.managed));
    EXPECT_EQ(context.prepare().at("y"), (Shape{2, 4}));
    context.enqueue(stream).wait();
    EXPECT_EQ(in.deleted + out.deleted, 0) << "what is bound is kept";
  }
  EXPECT_EQ(in.deleted, 1);
  EXPECT_EQ(out.deleted, 1);
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(out.values[i], i < 8 ? 5.0f : 0.0f) << i;
  EXPECT_TRUE(engine.hazards().empty());
}

TEST(DLPack, TheSimulatedMachinesMemoryGoesOutAndComesBack) {
  SimEngine sim({.spec = sim::Spec::instant()}, true);
  const Engine& engine = sim.engine;
  Context context(engine);
  DeviceStream stream(engine);
  std::vector<float> values(8, 1), results(8);
  const DeviceTensor x(engine, DType::f32, {2, 4});
  DLManagedTensor* exported = DeviceTensor(engine, DType::f32, {2, 4}).to_dlpack();  // outlives its handle
  EXPECT_EQ(exported->dl_tensor.device.device_type, kDLExtDev);
  const DeviceTensor y = DeviceTensor::from_dlpack(engine, exported);
  copy_and_wait(stream, x.as<float>(), HostSpan(values));
  context.bind("x", x);
  context.bind("y", y);
  context.prepare();
  (void)context.enqueue(stream);
  copy_and_wait(stream, HostSpan(results), y.as<const float>());
  EXPECT_EQ(results, std::vector<float>(8, 2));
  EXPECT_EQ(sim.device->counters().of(sim::Call::replay), 1u);
  EXPECT_TRUE(engine.hazards().empty()) << engine.hazards().front();
  EXPECT_TRUE(sim.device->violations().empty()) << sim.device->violations().front();
}

TEST(DLPack, ExportsShareTheMemory) {
  const Engine engine = testing::small_engine();
  DLManagedTensor* first = nullptr;
  DLManagedTensorVersioned* second = nullptr;
  {
    const DeviceTensor tensor(engine, DType::i16, {3, 1, 5});
    first = tensor.to_dlpack();
    second = tensor.to_dlpack_versioned();
  }
  EXPECT_EQ(first->dl_tensor.data, second->dl_tensor.data);
  EXPECT_EQ(second->version.major, 1u);
  EXPECT_EQ(second->flags, 0u);
  const DLTensor& t = first->dl_tensor;
  EXPECT_EQ(t.dtype.code, kDLInt);
  EXPECT_EQ(t.dtype.bits, 16);
  EXPECT_EQ(std::vector(t.shape, t.shape + t.ndim), (std::vector<std::int64_t>{3, 1, 5}));
  EXPECT_EQ(std::vector(t.strides, t.strides + t.ndim), (std::vector<std::int64_t>{5, 5, 1}));
  static_cast<std::int16_t*>(t.data)[14] = 7;
  first->deleter(first);
  EXPECT_EQ(static_cast<std::int16_t*>(second->dl_tensor.data)[14], 7);
  second->deleter(second);
  EXPECT_EQ(engine.statistics().io.now, 0u) << "the memory was not freed";
  EXPECT_THROW((void)DeviceTensor().to_dlpack(), Error);
}

TEST(DLPack, TheDeleterIsCalledOnceWhenTheLastUserIsGone) {
  const Engine engine = testing::small_engine();
  ForeignTensor tensor(kCpu);
  {
    DeviceTensor first = DeviceTensor::from_dlpack(engine, &tensor.managed), second = first;
    DLManagedTensor* again = second.to_dlpack();
    first = {};
    second = {};
    EXPECT_EQ(tensor.deleted, 0);
    again->deleter(again);
  }
  EXPECT_EQ(tensor.deleted, 1);
  ForeignTensor without(kCpu);
  without.managed.deleter = nullptr;
  (void)DeviceTensor::from_dlpack(engine, &without.managed);
}

TEST(DLPack, WhatDoesNotFitIsRefusedAndStaysItsOwners) {
  const Engine engine = testing::small_engine();
  const auto with = [](auto&& change) {
    auto tensor = std::make_unique<ForeignTensor>(kCpu);
    change(*tensor, tensor->managed.dl_tensor);
    return tensor;
  };
  const auto refused = [&](const char* part, auto&& change) {
    const auto tensor = with(change);
    expect_refused(engine, *tensor, part);
  };
  refused("device type 2, number 0", [](auto&, DLTensor& t) { t.device = {kDLCUDA, 0}; });
  refused("device type 1, number 1", [](auto&, DLTensor& t) { t.device = {kDLCPU, 1}; });
  refused("code 5, 64 bits", [](auto&, DLTensor& t) { t.dtype = {5, 64, 1}; });
  refused("32 bits, 4 lanes", [](auto&, DLTensor& t) { t.dtype = {kDLFloat, 32, 4}; });
  refused("no data", [](auto&, DLTensor& t) { t.data = nullptr; });
  refused("no shape", [](auto&, DLTensor& t) { t.shape = nullptr; });
  refused("axes", [](auto&, DLTensor& t) { t.ndim = -1; });
  refused("2x-4", [](auto& f, DLTensor&) { f.shape[1] = -4; });
  refused("axis 1 of 2x4 has the stride 2, dense would be 1", [](auto& f, DLTensor& t) {
    f.strides = {8, 2};
    t.strides = f.strides.data();
  });
  const auto huge = with([](auto& f, DLTensor&) { f.shape = {1LL << 40, 1LL << 40}; });
  huge->managed.dl_tensor.shape = huge->shape.data();
  EXPECT_THROW((void)DeviceTensor::from_dlpack(engine, &huge->managed), Error);
  EXPECT_EQ(huge->deleted, 0);
  EXPECT_THROW((void)DeviceTensor::from_dlpack(engine, static_cast<DLManagedTensor*>(nullptr)), Error);

  MoodyEngine apart({});
  ForeignTensor cpu(kCpu);
  expect_refused(apart, cpu, "device type 1, number 0");  // host memory is no device memory

  const auto dense = with([](auto& f, DLTensor& t) {  // strides of axes of extent 1 say nothing
    f.shape = {2, 1, 4};
    f.strides = {4, 99, 1};
    t.ndim = 3;
    t.shape = f.shape.data();
    t.strides = f.strides.data();
  });
  EXPECT_EQ(DeviceTensor::from_dlpack(engine, &dense->managed).shape(), (Shape{2, 1, 4}));
  EXPECT_EQ(dense->deleted, 1);
}

TEST(DLPack, OffsetsTypesAndReadOnlyMemory) {
  const Engine engine = testing::small_engine();
  Foreign<DLManagedTensorVersioned> tensor(kCpu);
  tensor.managed.version = {1, 3};
  tensor.managed.flags = kDLFlagReadOnly;
  tensor.managed.dl_tensor.byte_offset = 16;
  for (std::size_t i = 0; i < 16; ++i) tensor.values[i] = static_cast<float>(i);
  {
    const DeviceTensor in = DeviceTensor::from_dlpack(engine, &tensor.managed);
    EXPECT_TRUE(in.read_only());
    EXPECT_EQ(in.dtype(), DType::f32);
    EXPECT_THROW((void)in.as<float>(), Error);
    EXPECT_THROW((void)in.as<const std::int32_t>(), Error);
    EXPECT_THROW((void)in.to_dlpack(), Error);  // cannot say that it is read-only
    Context context(engine);
    DeviceStream stream(engine);
    EXPECT_THROW(context.bind("y", in), Error);
    const DeviceTensor out(engine, DType::f32, {2, 4});
    context.bind("x", in);
    context.bind("y", out);
    context.prepare();
    (void)context.enqueue(stream);
    std::vector<float> results(8);
    copy_and_wait(stream, HostSpan(results), out.as<const float>());
    EXPECT_EQ(results, (std::vector<float>{5, 6, 7, 8, 9, 10, 11, 12}));
  }
  EXPECT_EQ(tensor.deleted, 1);
  tensor.managed.version = {2, 0};
  EXPECT_THROW((void)DeviceTensor::from_dlpack(engine, &tensor.managed), Error);
  EXPECT_EQ(tensor.deleted, 1);
}

}  // namespace
}  // namespace headrace
