#include "backends/cuda/memory.h"

#include <algorithm>
#include <new>

#include <fmt/format.h>

#include "device/operand.h"

namespace headrace::cuda {
namespace {

constexpr std::size_t kSmall = std::size_t{1} << 20, kSmallStep = 512, kLargeStep = std::size_t{2} << 20;
constexpr std::align_val_t kHostAlignment{256};
constexpr std::size_t kAddressSpace = std::size_t{1} << 47;  // of a process on x86-64

/// The driver gives large memory in steps of 2 MiB anyway.
std::size_t round_up(std::size_t size) {
  const std::size_t step = size <= kSmall ? kSmallStep : kLargeStep;
  return std::max<std::size_t>((size + step - 1) / step, 1) * step;
}

/// Calls that the driver forbids on a thread that captures, for fear that captured work depends on them:
/// memory does not.
class AllowedWhileRecording {
 public:
  AllowedWhileRecording() noexcept { exchange(); }
  ~AllowedWhileRecording() { exchange(); }
  AllowedWhileRecording(const AllowedWhileRecording&) = delete;
  AllowedWhileRecording& operator=(const AllowedWhileRecording&) = delete;

 private:
  void exchange() noexcept { check_quietly(driver().cuThreadExchangeStreamCaptureMode(&mode_)); }
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

}  // namespace

Pool::~Pool() {
  while (!cached_.empty()) release(cached_.begin());
}

Pool::Block Pool::take(std::size_t size) {
  if (size >= kAddressSpace) return {};
  Block block{nullptr, round_up(size)};
  sched::LockGuard lock(mutex_);
  if (const auto fit = cached_.lower_bound(block.size);
      fit != cached_.end() && fit->first <= block.size + block.size / 4) {
    block = {fit->second, fit->first};
    stats_.cached -= block.size;
    cached_.erase(fit);
  } else {
    block.data = allocate(block.size);
    if (!block.data && !cached_.empty()) {
      while (!cached_.empty()) release(cached_.begin());
      block.data = allocate(block.size);
    }
    if (!block.data) return {};
  }
  stats_.in_use += block.size;
  stats_.high_water = std::max(stats_.high_water, stats_.in_use + stats_.cached);
  return block;
}

void Pool::give_back(Block block) noexcept {
  sched::LockGuard lock(mutex_);
  stats_.in_use -= block.size;
  try {
    if (block.size <= limit_ && state_->alive()) {
      while (stats_.cached + block.size > limit_) release(std::prev(cached_.end()));
      cached_.emplace(block.size, block.data);
      stats_.cached += block.size;
      return;
    }
  } catch (const std::bad_alloc&) {  // no room to remember it
  }
  free(block.data);
}

MemoryStats::Pool Pool::stats() const {
  sched::LockGuard lock(mutex_);
  return stats_;
}

std::byte* Pool::allocate(std::size_t size) {
  state_->require_alive();
  const Entered entered(state_);
  const AllowedWhileRecording allowed;
  CUresult result;
  std::byte* data = nullptr;
  if (kind_ == MemoryKind::device) {
    CUdeviceptr address = 0;
    result = driver().cuMemAlloc(&address, size);
    data = reinterpret_cast<std::byte*>(address);
  } else {
    void* address = nullptr;
    result = driver().cuMemHostAlloc(&address, size, CU_MEMHOSTALLOC_PORTABLE);
    data = static_cast<std::byte*>(address);
  }
  ++stats_.system_allocations;
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return nullptr;
  state_->check(result);
  return data;
}

void Pool::release(Blocks::iterator block) noexcept {
  stats_.cached -= block->first;
  free(block->second);
  cached_.erase(block);
}

void Pool::free(std::byte* data) noexcept {
  if (!state_->alive()) return;
  const Entered entered(state_);
  const AllowedWhileRecording allowed;
  check_quietly(kind_ == MemoryKind::device ? driver().cuMemFree(reinterpret_cast<CUdeviceptr>(data))
                                            : driver().cuMemFreeHost(data));
}

/// Device or pinned memory of a pool.
class PooledBuffer final : public Buffer {
 public:
  PooledBuffer(MemoryRef memory, std::size_t size, MemoryKind kind, MemoryUse use)
      : memory_(std::move(memory)), size_(size), kind_(kind), use_(use) {
    memory_->ledger_.take(size_, use_, on_device());
    try {
      block_ = pool().take(size_);
      if (!block_.data)
        throw Error(ErrorCode::out_of_memory,
                    fmt::format("{} has no {} bytes of {} memory for {}", memory_->state()->name(), size_,
                                on_device() ? "device" : "pinned", to_string(use_)));
    } catch (...) {
      memory_->ledger_.give_back(size_, use_, on_device());
      throw;
    }
  }
  ~PooledBuffer() override {
    pool().give_back(block_);
    memory_->ledger_.give_back(size_, use_, on_device());
  }
  std::size_t size_bytes() const override { return size_; }
  MemoryKind kind() const override { return kind_; }
  std::byte* device_data() const override { return block_.data; }  // pinned: one address space
  std::byte* host_data() const override { return on_device() ? nullptr : block_.data; }

 private:
  bool on_device() const { return kind_ == MemoryKind::device; }
  Pool& pool() const { return on_device() ? memory_->device_ : memory_->pinned_; }

  MemoryRef memory_;
  std::size_t size_;
  MemoryKind kind_;
  MemoryUse use_;
  Pool::Block block_;
};

namespace {

/// Memory of somebody else. Pageable memory is nothing that the device sees.
class WrappedBuffer final : public Buffer {
 public:
  WrappedBuffer(std::byte* data, std::size_t size, MemoryKind kind, std::shared_ptr<const void> owner)
      : data_(data), size_(size), kind_(kind), owner_(std::move(owner)) {}
  std::size_t size_bytes() const override { return size_; }
  MemoryKind kind() const override { return kind_; }
  std::byte* device_data() const override { return kind_ == MemoryKind::host ? nullptr : data_; }
  std::byte* host_data() const override { return kind_ == MemoryKind::device ? nullptr : data_; }

 private:
  std::byte* data_;
  std::size_t size_;
  MemoryKind kind_;
  std::shared_ptr<const void> owner_;
};

}  // namespace

Memory::Memory(StateRef state, std::size_t budget, std::size_t device_cache, std::size_t pinned_cache)
    : state_(std::move(state)),
      ledger_(budget),
      device_(state_, MemoryKind::device, device_cache),
      pinned_(state_, MemoryKind::pinned, pinned_cache) {}

BufferRef Memory::allocate(std::size_t size, MemoryKind kind, MemoryUse use) {
  if (kind != MemoryKind::host) return std::make_shared<PooledBuffer>(shared_from_this(), size, kind, use);
  ledger_.take(size, use, false);
  std::byte* data = nullptr;
  if (size < kAddressSpace)
    data =
        static_cast<std::byte*>(::operator new(std::max<std::size_t>(size, 1), kHostAlignment, std::nothrow));
  if (!data) {
    ledger_.give_back(size, use, false);
    throw Error(ErrorCode::out_of_memory,
                fmt::format("the system has no {} bytes for {}", size, to_string(use)));
  }
  return wrap(data, size, MemoryKind::host,
              {data, [memory = shared_from_this(), size, use](const std::byte* p) {
                 ::operator delete(const_cast<std::byte*>(p), kHostAlignment);
                 memory->ledger_.give_back(size, use, false);
               }});
}

BufferRef Memory::wrap(std::byte* data, std::size_t size, MemoryKind kind,
                       std::shared_ptr<const void> owner) {
  check_wrapped(data, size);
  if (kind == MemoryKind::device && size != 0) {
    const Entered entered(state_);
    int ordinal = -1;
    const CUresult found = driver().cuPointerGetAttribute(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                                          reinterpret_cast<CUdeviceptr>(data));
    if (found != CUDA_SUCCESS || ordinal != state_->ordinal())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("wrap: this address is no memory of {}", state_->name()));
  }
  return std::make_shared<WrappedBuffer>(data, size, kind, std::move(owner));
}

MemoryStats Memory::stats() const {
  MemoryStats stats = ledger_.stats();
  stats.device_pool = device_.stats();
  stats.pinned_pool = pinned_.stats();
  return stats;
}

}  // namespace headrace::cuda
