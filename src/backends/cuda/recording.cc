#include "backends/cuda/recording.h"

#include <headrace/error.h>

namespace headrace::cuda {
namespace {

std::size_t free_bytes(DeviceState& state) {
  std::size_t free = 0, total = 0;
  state.check(driver().cuMemGetInfo(&free, &total));
  return free;
}

}  // namespace

CudaRecording::CudaRecording(MemoryRef memory, CUgraph captured, CUstream stream)
    : memory_(std::move(memory)) {
  DeviceState& state = *memory_->state();
  state.check(driver().cuGraphGetNodes(captured, nullptr, &nodes_));
  const std::size_t before = free_bytes(state);
  state.check(driver().cuGraphInstantiateWithFlags(&executable_, captured, 0));
  try {
    state.check(driver().cuGraphUpload(executable_, stream));
    state.check(driver().cuStreamSynchronize(stream));
    const std::size_t after = free_bytes(state);  // other allocations meanwhile blur it
    size_bytes_ = before > after ? before - after : 0;
    memory_->ledger().take(size_bytes_, MemoryUse::recordings, false);
  } catch (...) {
    if (state.alive()) check_quietly(driver().cuGraphExecDestroy(executable_));
    throw;
  }
}

CudaRecording::~CudaRecording() {
  memory_->ledger().give_back(size_bytes_, MemoryUse::recordings, false);
  if (!state()->alive()) return;
  const Entered entered(state());
  check_quietly(driver().cuGraphExecDestroy(executable_));
}

CudaRecording& recording_of(Recording& recording, const DeviceState& state) {
  auto* own = dynamic_cast<CudaRecording*>(&recording);
  if (!own || own->state().get() != &state)
    throw Error(ErrorCode::misuse, "a recording of another device; make it with a stream of this device");
  return *own;
}

}  // namespace headrace::cuda
