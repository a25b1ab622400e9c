// Memory of a CUDA device: bounded caching pools over cuMemAlloc and cuMemHostAlloc, and the buffers.
//
// Contract: thread-safe. Freed blocks are kept, up to a limit of bytes, and given to the next allocation that
// they fit without much waste; when the driver has no memory left the cache is emptied before an allocation
// fails. A block is given out again at once: whoever frees a buffer has awaited the work that uses it.
#pragma once

#include <cstddef>
#include <map>
#include <memory>

#include "backends/cuda/device_state.h"
#include "device/device.h"
#include "device/ledger.h"

namespace headrace::cuda {

class Pool {
 public:
  /// `kind`: device or pinned.
  Pool(StateRef state, MemoryKind kind, std::size_t limit)
      : state_(std::move(state)), kind_(kind), limit_(limit) {
    stats_.limit = limit;
  }
  ~Pool();
  struct Block {
    std::byte* data = nullptr;
    std::size_t size = 0;
  };
  /// At least `size` bytes, 256-byte aligned; a null block when there is no memory.
  Block take(std::size_t size);
  void give_back(Block block) noexcept;
  MemoryStats::Pool stats() const;

 private:
  using Blocks = std::multimap<std::size_t, std::byte*>;  ///< by size
  std::byte* allocate(std::size_t size);
  void release(Blocks::iterator block) noexcept;
  void free(std::byte* data) noexcept;

  StateRef state_;
  MemoryKind kind_;
  std::size_t limit_;
  mutable sched::Mutex mutex_{"cuda.pool"};
  Blocks cached_;
  MemoryStats::Pool stats_;
};

/// The memory of one device; buffers share it.
class Memory : public std::enable_shared_from_this<Memory> {
 public:
  Memory(StateRef state, std::size_t budget, std::size_t device_cache, std::size_t pinned_cache);
  BufferRef allocate(std::size_t size, MemoryKind kind, MemoryUse use);
  /// Error(invalid_argument) for kind device when the address is not this GPU's.
  BufferRef wrap(std::byte* data, std::size_t size, MemoryKind kind, std::shared_ptr<const void> owner);
  MemoryStats stats() const;
  Ledger& ledger() { return ledger_; }
  const StateRef& state() const { return state_; }

 private:
  friend class PooledBuffer;
  StateRef state_;
  Ledger ledger_;
  Pool device_, pinned_;
};
using MemoryRef = std::shared_ptr<Memory>;

}  // namespace headrace::cuda
