// A machine in virtual time: a Device whose copies and kernels take as long as a table says.
//
// Problem: overlap, races and failures of an accelerator cannot be tested where there is none, and where
// there is one they happen once in a million runs. Contract: two copy engines (to the device, to the host)
// and one compute engine serve all streams in the order in which work becomes ready. Work takes effect at its
// end on that engine's timeline: kernels read late, a copy moves its first half at half time, so what races
// yields wrong values. Kernels really compute, with whatever tactics the engine's plan names. Memory is
// pageable, pinned or device memory; fresh memory holds signalling NaNs and lies between red zones that are
// checked after every kernel. A copy from or to pageable memory blocks the host. Recordings follow the rules
// of capture: inside one, no allocation, no synchronisation, no pageable copy by the capturing thread (by any
// thread under `global_capture`); streams join and must be joined back. Waiting goes through base/sched.h:
// inside DeterministicScheduler::run time is virtual, outside it really passes. All of it allocates as it
// likes: no hot path is measured here.
//
//   auto device = sim::make_device({.spec = sim::load_spec("v100.json")});
//   Registry registry;
//   registry.add(sim::on_device(make_reference_backend(), device));   // plans for "reference" now run on it
//   device->inject({.call = sim::Call::copy, .number = 7});           // the 8th copy from now on fails
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "backends/sim/spec.h"
#include "backends/sim/timeline.h"
#include "device/device.h"

namespace headrace::sim {

/// Milliseconds that a launch occupies the compute engine.
using LaunchMs = std::function<double(const Kernel&, std::span<const Operand>)>;

struct Options {
  Spec spec{};
  std::string kind = "sim";
  std::string model = "simulated machine";
  /// Bytes of one batch, to which the spec's copy times belong: other sizes take their share. 0: every copy
  /// takes the time of a batch.
  std::size_t upload_bytes = 0, download_bytes = 0;
  LaunchMs launch_ms{};  ///< empty: each launch takes compute_fp32_ms
  bool recordings = true;
  bool global_capture = false;  ///< one thread's capture forbids every thread's allocations
  std::size_t budget_bytes = SIZE_MAX;
};

/// Calls that can be made to fail, and are counted.
enum class Call : std::uint8_t { allocate, copy, launch, record, wait, synchronize, make_recording, replay };
inline constexpr std::size_t kCalls = 8;
std::string_view to_string(Call call);

struct Fault {
  Call call = Call::copy;
  std::uint64_t number = 0;  ///< calls of that kind that still succeed, counted from inject
  enum Way : std::uint8_t {
    refused,       ///< the call itself throws
    asynchronous,  ///< launch, copy, replay: the work fails when it runs; else as `refused`
    sticky,        ///< as asynchronous, and everything after it fails on every stream: the device has died
  } way = refused;
};

struct Counters {
  std::uint64_t calls[kCalls] = {};
  std::uint64_t uploads = 0, downloads = 0, pageable_copies = 0;
  std::uint64_t device_allocations = 0, upload_bytes = 0, download_bytes = 0;
  std::uint64_t of(Call call) const { return calls[static_cast<std::size_t>(call)]; }
};

/// Objects that exist now, and work that was submitted and has not ended.
struct Live {
  std::int64_t buffers = 0, streams = 0, events = 0, recordings = 0, operations = 0;
  bool operator==(const Live&) const = default;
};

class SimDevice : public Device {
 public:
  virtual Counters counters() const = 0;
  virtual Live live() const = 0;
  virtual void inject(const Fault& fault) = 0;
  /// What no correct program does and no call could refuse: red zones overwritten, memory freed under work.
  virtual std::vector<std::string> violations() const = 0;
  /// What ran since creation or the last clear, in order of completion.
  virtual std::vector<Span> timeline() const = 0;
  virtual void clear_timeline() = 0;
};

std::shared_ptr<SimDevice> make_device(const Options& options = {});

/// `computes` with its device replaced.
Backend on_device(Backend computes, std::shared_ptr<SimDevice> device);

/// A kernel may derive from this as well: called on the host thread that launches it, before the work is
/// submitted or captured. It is where a vendor's library loads code or allocates workspace the first time.
class HostSide {
 public:
  virtual ~HostSide() = default;
  virtual void on_launch(Device& device) const = 0;
};

}  // namespace headrace::sim
