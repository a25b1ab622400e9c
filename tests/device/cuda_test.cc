// What only a GPU has: real kernels, asynchronous copies, timing, pools, and a device that dies. The suite of
// all devices is device_test.cc.
#ifdef HEADRACE_CUDA
#include <atomic>

#include "base/sched.h"
#include "device/gpu_fixture.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;
using namespace test;

TEST_F(GpuTest, SaysWhatItIs) {
  EXPECT_EQ(device->kind(), "cuda");
  EXPECT_NE(device->model().find(", sm_"), std::string::npos) << device->model();
  EXPECT_FALSE(device->unified_memory());
  EXPECT_TRUE(device->can_record());
}

TEST_F(GpuTest, KernelsRunInStreamOrder) {
  put(in, numbers(1));
  work(*stream);
  stream->synchronize();
  EXPECT_EQ(get(out), affine(numbers(1), 2));
  EXPECT_EQ(device->memory().waiting_copies, 0u);
}

TEST_F(GpuTest, CopiesInEveryDirection) {
  std::vector<std::byte> mine(kBytes);
  std::vector<BufferRef> buffers = {device->allocate(kBytes, MemoryKind::host, MemoryUse::io),
                                    device->wrap(mine.data(), kBytes, nullptr), out, a};
  std::uint64_t seed = 0, waited = 0;
  for (const BufferRef& src : buffers)
    for (BufferRef dst : buffers) {
      if (dst == src) dst = device->allocate(kBytes, src->kind(), MemoryUse::io);
      put(in, numbers(++seed));
      if (src->host_data())
        put(src, numbers(seed));
      else
        copy(*stream, src, in);
      if (dst->host_data()) std::memset(dst->host_data(), 0, kBytes);
      const bool one_side = src->kind() == MemoryKind::device || dst->kind() == MemoryKind::device;
      waited += !one_side || src->kind() == MemoryKind::host || dst->kind() == MemoryKind::host;
      copy(*stream, dst, src);
      EXPECT_EQ(device->memory().waiting_copies, waited);
      BufferRef result = dst;
      if (!dst->host_data())
        copy(*stream, result = device->allocate(kBytes, MemoryKind::pinned, MemoryUse::io), dst);
      stream->synchronize();
      EXPECT_EQ(get(result), numbers(seed))
          << static_cast<int>(src->kind()) << " to " << static_cast<int>(dst->kind());
    }
}

TEST_F(GpuTest, PartsAreCopiedAtTheirOffsets) {
  put(in, numbers(3));
  copy(*stream, a, in);
  stream->copy({a.get(), 40, 400, Access::write}, {a.get(), 4000, 400, Access::read});
  copy(*stream, out, a);
  stream->synchronize();
  std::vector<float> want = numbers(3);
  std::copy_n(want.begin() + 1000, 100, want.begin() + 10);
  EXPECT_EQ(get(out), want);
}

TEST_F(GpuTest, KernelsRefusePageableMemory) {
  const BufferRef host = device->allocate(kBytes, MemoryKind::host, MemoryUse::io);
  std::string message;
  EXPECT_EQ(code_of([&] { launch(*stream, host, b); }, &message), ErrorCode::misuse);
  EXPECT_NE(message.find("pageable"), std::string::npos) << message;
}

TEST_F(GpuTest, LaunchesDoNotWait) {
  for (const bool spin : {false, true}) {
    const EventRef done = device->make_event({.spin = spin});
    stream->launch(*slow, {}, {});
    stream->record(*done);
    EXPECT_FALSE(done->ready());
    EXPECT_FALSE(done->wait_for(1ms));
    done->wait();
    EXPECT_TRUE(done->ready());
    EXPECT_TRUE(done->wait_for(0ns));
    stream->launch(*slow, {}, {});
    stream->record(*done);
    EXPECT_FALSE(done->ready()) << "an event means its last record";
    EXPECT_TRUE(done->wait_for(10s));
  }
}

TEST_F(GpuTest, AnOldWaiterIsRightWhenTheEventIsRecordedAgain) {
  const EventRef event = device->make_event(), done = device->make_event();
  put(in, numbers(4));
  copy(*stream, a, in);
  stream->launch(*slow, {}, {});
  launch(*stream, a, b);
  stream->record(*event);
  other->wait(*event);  // means the launch into b
  stream->launch(*slow, {}, {});
  stream->record(*event);
  copy(*other, out, b);
  other->record(*done);
  done->wait();
  EXPECT_EQ(get(out), affine(numbers(4)));
  EXPECT_FALSE(event->ready());
  stream->synchronize();
}

TEST_F(GpuTest, AHostThatWaitsIsNotHeldUpByTheNextRecord) {
  for (const int way : {0, 1, 2}) {
    const EventRef event = device->make_event({.spin = way == 2});
    stream->launch(*slow, {}, {});
    stream->record(*event);
    std::atomic<bool> next_is_open{false};
    sched::Thread waiter("waiter", [&] {
      way == 0 ? event->wait() : static_cast<void>(event->wait_for(10s));
      next_is_open = !event->ready();
    });
    sched::sleep_for(2ms);
    for (int i = 0; i < 10; ++i) stream->launch(*slow, {}, {});
    stream->record(*event);
    waiter.join();
    EXPECT_TRUE(next_is_open) << way;
    event->wait();
    EXPECT_TRUE(event->ready());
  }
}

TEST_F(GpuTest, TimeBetweenEvents) {
  const EventRef begin = device->make_event({.timing = true}), end = device->make_event({.timing = true});
  stream->record(*begin);
  stream->launch(*slow, {}, {});
  stream->record(*end);
  const auto time = device->elapsed_us(*begin, *end);
  ASSERT_TRUE(time);
  EXPECT_GT(*time, 19'000);
  EXPECT_LT(*time, 200'000);
  const EventRef plain = device->make_event();
  stream->record(*plain);
  EXPECT_EQ(code_of([&] { static_cast<void>(device->elapsed_us(*begin, *plain)); }), ErrorCode::misuse);
}

TEST_F(GpuTest, FreedMemoryIsUsedAgainWithinBounds) {
  use(cuda::make_device({.device_cache_bytes = 8 << 20, .pinned_cache_bytes = 8 << 20}));
  for (const MemoryKind kind : {MemoryKind::device, MemoryKind::pinned}) {
    const auto pool = [&] {
      const MemoryStats stats = device->memory();
      return kind == MemoryKind::device ? stats.device_pool : stats.pinned_pool;
    };
    device->allocate(3 << 20, kind, MemoryUse::io).reset();
    const auto first = pool();
    for (int i = 0; i < 1000; ++i) device->allocate((3 << 20) - i, kind, MemoryUse::io).reset();
    EXPECT_EQ(pool().system_allocations, first.system_allocations);
    EXPECT_EQ(pool().high_water, first.high_water);
    device->allocate(32 << 20, kind, MemoryUse::io).reset();
    EXPECT_LE(pool().cached, std::size_t{8} << 20);
    std::vector<BufferRef> many;
    for (int i = 0; i < 20; ++i) many.push_back(device->allocate(1 << 20, kind, MemoryUse::io));
    many.clear();
    EXPECT_LE(pool().cached, std::size_t{8} << 20);
    EXPECT_GT(pool().cached, 0u);
    EXPECT_GE(pool().high_water, std::size_t{32} << 20);
  }
}

TEST_F(GpuTest, MemoryThatIsNotThereIsAnError) {
  std::string message;
  EXPECT_EQ(code_of([&] { device->allocate(std::size_t{1} << 46, MemoryKind::device, MemoryUse::weights); },
                    &message),
            ErrorCode::out_of_memory);
  EXPECT_NE(message.find("cuda:0 has no 70368744177664 bytes of device memory for weights"),
            std::string::npos)
      << message;
  EXPECT_EQ(device->memory().current[0], 0u);
  put(in, numbers(7));
  work(*stream);
  stream->synchronize();
  EXPECT_EQ(get(out), affine(numbers(7), 2));
}

TEST_F(GpuTest, TheCacheIsGivenUpBeforeAnAllocationFails) {
  const std::size_t free = free_device_bytes();
  const DeviceRef hoarder = cuda::make_device({.device_cache_bytes = SIZE_MAX});
  const auto allocate = [&](double part) {
    return hoarder->allocate(static_cast<std::size_t>(static_cast<double>(free) * part), MemoryKind::device,
                             MemoryUse::io);
  };
  allocate(0.5).reset();
  EXPECT_GT(hoarder->memory().device_pool.cached, free / 3);
  EXPECT_NO_THROW(allocate(0.7));
  EXPECT_EQ(hoarder->memory().device_pool.system_allocations, 3u);  // one failed
}

TEST_F(GpuTest, TheBudgetIsOfDeviceMemory) {
  const DeviceRef small = cuda::make_device({.budget_bytes = 1000});
  const BufferRef have = small->allocate(600, MemoryKind::device, MemoryUse::weights);
  EXPECT_EQ(code_of([&] { small->allocate(401, MemoryKind::device, MemoryUse::io); }),
            ErrorCode::out_of_memory);
  EXPECT_NO_THROW(small->allocate(4000, MemoryKind::pinned, MemoryUse::io));
  EXPECT_NO_THROW(small->allocate(400, MemoryKind::device, MemoryUse::io));
}

TEST_F(GpuTest, RoundsLeaveNothingBehind) {
  const auto round = [&] {
    const DeviceRef d = cuda::make_device("cuda");
    const BufferRef x = d->allocate(5 << 20, MemoryKind::device, MemoryUse::activations);
    const auto s = d->make_stream({});
    const EventRef e = d->make_event();
    const auto recording = s->make_recording([&] {
      s->copy({x.get(), 0, 1 << 20, Access::write}, {x.get(), 2 << 20, 1 << 20, Access::read});
    });
    s->replay(*recording);
    s->record(*e);
    e->wait();
  };
  for (int i = 0; i < 10; ++i) round();
  const std::size_t before = free_device_bytes();
  for (int i = 0; i < 300; ++i) round();
  EXPECT_GE(free_device_bytes() + (4 << 20), before);
}

TEST_F(GpuTest, FailingLaunchesOfCudaPoison) {
  class TooLarge final : public Kernel {
   public:
    explicit TooLarge(const PtxKernel& k) : k_(k) {}
    void launch(NativeStream stream, std::span<std::byte* const>, std::byte*) const override {
      static_cast<void>(k_);
      cuda::check(cuda::driver().cuLaunchKernel(nullptr, 1, 1, 1, 4096, 1, 1, 0,
                                                static_cast<CUstream>(stream), nullptr, nullptr));
    }
    std::string_view name() const override { return "too large"; }

   private:
    const PtxKernel& k_;
  } bad(*kernel);
  const EventRef done = device->make_event();
  put(in, numbers(8));
  std::memset(out->host_data(), 0, kBytes);
  stream->launch(bad, {}, {});
  work(*stream);  // skipped
  stream->record(*done);
  std::string message;
  EXPECT_EQ(code_of([&] { done->wait(); }, &message), ErrorCode::device);
  EXPECT_NE(message.find("CUDA_ERROR_"), std::string::npos) << message;
  EXPECT_EQ(get(out), std::vector<float>(kCount, 0.f));
  work(*stream);
  stream->record(*done);
  done->wait();
  EXPECT_EQ(get(out), affine(numbers(8), 2));
}

TEST(CudaDevice, NamesAreChecked) {
  for (const char* text : {"cud", "cuda:", "cuda:x", "cuda:-1", "cuda:0 ", "cpu", "cuda1"})
    EXPECT_EQ(code_of([&] { cuda::make_device(text); }), ErrorCode::invalid_argument) << text;
  std::string message;
  EXPECT_EQ(code_of([&] { cuda::make_device("cuda:99"); }, &message), ErrorCode::device);
  EXPECT_NE(message.find(test::has_cuda() ? "there is no cuda:99" : "no CUDA driver"), std::string::npos)
      << message;
}

/// In a child process: a kernel writes where it may not. Prints what each later call says.
void die() {
  const DeviceRef device = cuda::make_device("cuda:0");
  const auto inside = device->enter();
  const PtxKernel crash("crash", 0);
  auto stream = device->make_stream({.name = "s"}), other = device->make_stream({.name = "t"});
  const EventRef event = device->make_event(), later = device->make_event();
  BufferRef buffer = device->allocate(64, MemoryKind::device, MemoryUse::io);
  const auto recording = stream->make_recording([&] {
    stream->copy({buffer.get(), 0, 8, Access::write}, {buffer.get(), 16, 8, Access::read});
  });
  other->record(*later);
  stream->launch(crash, {}, {});
  stream->record(*event);
  int said = 0;
  const std::function<void()> calls[] = {
      [&] { event->wait(); },
      [&] { static_cast<void>(event->ready()); },
      [&] { static_cast<void>(later->wait_for(1s)); },
      [&] { stream->synchronize(); },
      [&] { stream->launch(crash, {}, {}); },
      [&] {
        stream->copy({buffer.get(), 0, 8, Access::write}, {buffer.get(), 16, 8, Access::read});
      },
      [&] { stream->replay(*recording); },
      [&] { other->record(*later); },
      [&] { other->wait(*later); },
      [&] { static_cast<void>(device->make_stream({})); },
      [&] { static_cast<void>(device->make_event()); },
      [&] { static_cast<void>(device->enter()); },
      [&] { static_cast<void>(device->allocate(1 << 30, MemoryKind::device, MemoryUse::io)); },
  };
  for (const auto& call : calls) {
    try {
      call();
    } catch (const Error& e) {
      const std::string text = e.what();
      said += e.code() == ErrorCode::device && text.find("is dead since ") != text.npos &&
              text.find(" s: CUDA: CUDA_ERROR_ILLEGAL_ADDRESS") != text.npos;
      if (said == 1) std::fprintf(stderr, "%s\n", e.what());
    }
  }
  std::fprintf(stderr, "said %d of %zu\n", said, std::size(calls));
  stream.reset();
  other.reset();
  buffer.reset();
}

TEST(GpuDeathTest, ADeadDeviceSaysSoToEverybody) {
  std::string why;
  if (!test::has_cuda(&why)) GTEST_SKIP() << why;
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fresh process: CUDA does not survive a fork
  EXPECT_EXIT(
      {
        die();
        std::_Exit(7);
      },
      testing::ExitedWithCode(7),
      "cuda:0 .* is dead since .*end the process and start it again(.|\n)*said 13 of 13");
}

}  // namespace
}  // namespace headrace
#endif
