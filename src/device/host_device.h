// The machine that computes on the host: memory, events and streams of the reference and cpu backends.
//
// Contract: every MemoryKind is 64-byte aligned host memory. A stream is either inline (work runs at once on
// the calling thread) or has a worker thread with a ring of fixed-size commands; when the ring is full the
// submitting thread waits. After creation no call allocates, except a launch with more operands than any
// before it (above 256). Failed work poisons what follows: device/poison.h. Threads, locks and waiting go
// through base/sched.h, so that the deterministic scheduler can drive all of it.
//
//   DeviceRef device = make_host_device({.kind = "reference", .threads = 2});
//   BufferRef buffer = device->allocate(4096, MemoryKind::host, MemoryUse::io);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "device/device.h"

namespace headrace {

struct HostDeviceOptions {
  std::string kind = "reference";
  std::string model;                    ///< "": the processor's name and instruction set
  int threads = 0;                      ///< OpenMP team of a stream that names none; 0: all usable cores
  std::size_t budget_bytes = SIZE_MAX;  ///< of all buffers that live at the same time
  /// Streams can record, single streams only: nothing is gained on a host, but it lets what is written for
  /// recordings be tested on one.
  bool recordings = false;
  std::size_t recording_limit_bytes = SIZE_MAX;  ///< a larger recording is refused: out_of_memory
  /// Plays a machine with memory of its own, for tests: memory of kind device has no host address, that of
  /// kind host no device address, and fresh memory is filled with garbage.
  bool separate_memory = false;
};

DeviceRef make_host_device(const HostDeviceOptions& options);

}  // namespace headrace
