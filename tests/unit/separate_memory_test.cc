// A machine whose device memory is not host memory, played on the host: what a context uploads, records,
// replays and downloads, and what the tuner times there.
#include <gtest/gtest.h>

#include "device/host_device.h"
#include "plan/apart.h"
#include "runtime/engine_state.h"

namespace headrace {
namespace {

runtime::EngineRef make_engine(int opt_level) {
  return test::apart_engine(test::apart_registry(), opt_level);
}

using test::inputs_of;

void expect_right(runtime::Context& context, const test::Tensors& inputs) {
  const auto expected = test::run_graph(test::small_graph(), inputs);
  const auto got = test::run_context(context, inputs);
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(test::close(got[i], expected[i])) << i;
}

TEST(SeparateMemory, HostMemoryIsUploadedAndTheRecordingReplayed) {
  const auto engine = make_engine(0);
  runtime::Context context(engine);
  for (std::uint32_t seed : {1, 2, 3}) {
    expect_right(context, inputs_of(2, seed));
    EXPECT_EQ(context.launches(), 1u) << "not recorded";
  }
  EXPECT_EQ(engine->state().stats.unrecorded, 0u);
}

TEST(SeparateMemory, LargerShapesMakeOldRecordingsAnew) {
  runtime::Context context(make_engine(0));
  for (std::int64_t n : {1, 3, 1, 4, 0, 3, 2, 1}) {
    SCOPED_TRACE(n);
    expect_right(context, inputs_of(n, static_cast<std::uint32_t>(n) + 7));
  }
}

TEST(SeparateMemory, DeviceMemoryIsUsedAsItIs) {
  const auto engine = make_engine(0);
  Device& device = engine->device();
  runtime::Context context(engine);
  const auto inputs = inputs_of(2, 9);
  const runtime::Prepared& prepared = context.prepare({{"x", {2, 2, 4, 4}}, {"i", {3}}});
  const auto stream = device.make_stream({.name = "test"});
  const auto done = device.make_event();
  std::vector<BufferRef> out;
  for (std::size_t i = 0; i < prepared.inputs.size(); ++i) {
    const std::span<const std::byte> bytes = inputs.at(engine->inputs()[i].name).bytes();
    const BufferRef host = device.allocate(bytes.size(), MemoryKind::pinned, MemoryUse::io);
    const BufferRef own = device.allocate(bytes.size(), MemoryKind::device, MemoryUse::io);
    std::memcpy(host->host_data(), bytes.data(), bytes.size());
    stream->copy({own.get(), 0, bytes.size(), Access::write}, {host.get(), 0, bytes.size(), Access::read});
    stream->synchronize();
    context.bind_input(i, own);
  }
  for (std::size_t i = 0; i < prepared.outputs.size(); ++i) {
    out.push_back(device.allocate(prepared.outputs[i].span_bytes(), MemoryKind::device, MemoryUse::io));
    context.bind_output(i, out.back());
  }
  context.enqueue(*stream, *done);
  done->wait();
  const auto expected = test::run_graph(test::small_graph(), inputs);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const BufferRef host = device.allocate(out[i]->size_bytes(), MemoryKind::pinned, MemoryUse::io);
    stream->copy({host.get(), 0, host->size_bytes(), Access::write},
                 {out[i].get(), 0, host->size_bytes(), Access::read});
    stream->synchronize();
    HostTensor got(expected[i].dtype(), expected[i].shape());
    std::memcpy(got.mutable_bytes().data(), host->host_data(), host->size_bytes());
    EXPECT_TRUE(test::close(got, expected[i])) << i;
  }
}

TEST(SeparateMemory, TheTunerTimesInRecordings) {
  runtime::Context context(make_engine(1));
  expect_right(context, inputs_of(3, 4));
}

TEST(SeparateMemory, TimesOfWholeInferencesAndSteps) {
  const auto engine = make_engine(0);
  runtime::Context context(engine);
  context.prepare({{"x", {2, 2, 4, 4}}, {"i", {3}}});
  const auto stream = engine->device().make_stream({.name = "test", .inline_execution = true});
  EXPECT_EQ(context.device_times_us(*stream, 5).size(), 5u);
  EXPECT_GT(context.profile_steps(*stream, 3).size(), 3u);
}

TEST(SeparateMemory, APlanTunedOnAnotherModelIsRefusedUnlessAllowed) {
  Plan plan = make_engine(0)->plan();
  plan.device_model = "Another, sm_1";
  const auto shared = std::make_shared<const Plan>(plan);
  try {
    runtime::Engine::create(shared, test::apart_registry(), {.threads = 1});
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_plan);
    EXPECT_NE(e.message().find("tuned on 'Another, sm_1'"), std::string::npos) << e.what();
    EXPECT_NE(e.message().find("build the plan again here"), std::string::npos) << e.what();
  }
  const auto engine =
      runtime::Engine::create(shared, test::apart_registry(), {.threads = 1, .foreign_plans = true});
  runtime::Context context(engine);
  expect_right(context, inputs_of(2, 3));
}

TEST(SeparateMemory, SubmittingIsTimedAndBindingsStay) {
  const auto engine = make_engine(0);
  runtime::Context context(engine);
  expect_right(context, inputs_of(2, 9));
  const auto stream = engine->device().make_stream({.name = "test", .inline_execution = true});
  EXPECT_EQ(context.enqueue_times_us(*stream, 5).size(), 5u);
  const auto done = engine->device().make_event();
  context.enqueue(*stream, *done);  // what was bound before still is
  done->wait();
}

TEST(SeparateMemory, LayersTellTheirTensorsAndCosts) {
  const auto engine = make_engine(0);
  runtime::Context context(engine);
  context.prepare({{"x", {2, 2, 4, 4}}, {"i", {3}}});
  const auto stream = engine->device().make_stream({.name = "test", .inline_execution = true});
  double flops = 0;
  for (const runtime::StepTime& t : context.profile_steps(*stream, 1)) {
    ASSERT_FALSE(t.dsts.empty());
    EXPECT_EQ(t.dsts[0].shape.at(0), 2);
    EXPECT_GE(t.cost.bytes, 4.0 * static_cast<double>(t.dsts[0].elements()));
    flops += t.cost.flops;
  }
  EXPECT_EQ(flops, 2.0 * (2 * 3 * 4 * 4) * (2 * 3 * 3)) << "of the one convolution";
}

TEST(SeparateMemory, KernelsCannotReachHostMemory) {
  const auto device = make_host_device({.separate_memory = true});
  const auto stream = device->make_stream({.name = "test", .inline_execution = true});
  const BufferRef host = device->allocate(64, MemoryKind::host, MemoryUse::io);
  class Nothing final : public Kernel {
   public:
    void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override {}
    std::string_view name() const override { return "nothing"; }
  } kernel;
  const Operand operand{host.get(), 0, 64, Access::read};
  EXPECT_THROW(stream->launch(kernel, {&operand, 1}, {}), Error);
}

}  // namespace
}  // namespace headrace
