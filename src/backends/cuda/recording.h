// A CUDA graph, ready to launch. Contract: device/device.h.
#pragma once

#include "backends/cuda/memory.h"
#include "device/device.h"

namespace headrace::cuda {

class CudaRecording final : public Recording {
 public:
  /// Takes what a stream has captured; uploads it through `stream`, so that the first replay is like any.
  /// The device is current.
  CudaRecording(MemoryRef memory, CUgraph captured, CUstream stream);
  ~CudaRecording() override;
  std::size_t nodes() const override { return nodes_; }
  std::size_t size_bytes() const override { return size_bytes_; }
  CUgraphExec native() const { return executable_; }
  const StateRef& state() const { return memory_->state(); }

 private:
  MemoryRef memory_;
  CUgraphExec executable_ = nullptr;
  std::size_t nodes_ = 0, size_bytes_ = 0;
};

/// The CUDA recording of this device behind `recording`; Error(misuse) when it belongs to another device.
CudaRecording& recording_of(Recording& recording, const DeviceState& state);

}  // namespace headrace::cuda
