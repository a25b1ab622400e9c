// Memory of the simulated machine: poisoned when fresh, between red zones, kept while work still needs it.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "backends/sim/machine.h"

namespace headrace::sim {

/// The bytes of a buffer. Work in flight shares it, so that freeing the buffer too early is found and
/// reported instead of crashing.
class Storage {
 public:
  /// Error(out_of_memory) above the budget or what the system has.
  Storage(MachineRef machine, std::size_t size, MemoryKind kind, MemoryUse use);
  Storage(MachineRef machine, std::byte* data, std::size_t size, MemoryKind kind,
          std::shared_ptr<const void> owner);
  ~Storage();
  Storage(const Storage&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  MemoryKind kind() const { return kind_; }
  std::string describe() const;
  /// Reports overwritten red zones, once each.
  void check_red_zones(const std::string& after);
  /// The buffer is gone: reports work that is still to come.
  void released();

  std::atomic<std::int64_t> pending{0};  ///< operations that were submitted and have not ended

 private:
  MachineRef machine_;
  std::byte* block_ = nullptr;  ///< red zone, data, red zone; null when wrapped
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  MemoryKind kind_ = MemoryKind::host;
  MemoryUse use_ = MemoryUse::io;
  std::shared_ptr<const void> owner_;
};
using StorageRef = std::shared_ptr<Storage>;

class SimBuffer final : public Buffer {
 public:
  SimBuffer(MachineRef machine, StorageRef storage)
      : machine_(std::move(machine)), storage_(std::move(storage)) {
    ++machine_->live.buffers;
  }
  ~SimBuffer() override {
    storage_->released();
    --machine_->live.buffers;
  }
  std::size_t size_bytes() const override { return storage_->size(); }
  MemoryKind kind() const override { return storage_->kind(); }
  std::byte* device_data() const override { return kind() == MemoryKind::host ? nullptr : storage_->data(); }
  std::byte* host_data() const override { return kind() == MemoryKind::device ? nullptr : storage_->data(); }
  const StorageRef& storage() const { return storage_; }

 private:
  MachineRef machine_;
  StorageRef storage_;
};

}  // namespace headrace::sim
