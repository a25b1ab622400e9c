// The hazard checker: a Device around any Device that reports work on the same bytes that nothing orders.
//
// Problem: a missing event between two streams shows as a wrong number once in a million runs.
// Contract: happens-before is derived, with vector clocks (the method: FastTrack, Flanagan and Freund 2009),
// from the order of each stream, from a host thread submitting after what it has seen, from events (record;
// wait by a stream or a host), from Stream::synchronize, and from the hooks of base/hooks.h (queues, leases,
// threads that start and are joined). Two accesses of overlapping bytes, at least one of them a write,
// without that order are a hazard, whether or not this run happened to go well. An inline stream orders
// nothing by itself: code that is clean here is clean on an asynchronous stream. Each pair of operations is
// reported once per buffer, unless `every` is set. Buffers that begin at the same address (wrap) are one;
// other overlaps of buffers are not seen. Memory is bounded: a buffer remembers at most kMaxAccesses;
// `forgotten` counts those dropped. A recording remembers its operands: each replay counts as if its launches
// were submitted then.
//
//   auto checker = make_hazard_checker(inner, [](const Hazard& h) { log(to_string(h)); });
//   ... use checker as the device ...
//   checker->host_access({buffer.get(), 0, 64, Access::read}, "reader");
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"

namespace headrace {

/// One side of a hazard.
struct HazardAccess {
  std::string operation;  ///< kernel name, "copy", or what host_access was given
  std::string actor;      ///< "stream 'compute'" or "host thread 2"
  bool writes = false;
  std::uint64_t number = 0;  ///< which of the actor's operations it is, from 0
};
struct Hazard {
  HazardAccess first, second;      ///< in the order of submission
  std::string buffer;              ///< "buffer 3 (activations, 4096 bytes)"
  std::size_t begin = 0, end = 0;  ///< the bytes of the buffer that both touch
};
/// "'a' on stream 's0' (writes) and 'b' on stream 's1' (reads) are not ordered: bytes [0, 64) of buffer 3
/// (...)".
std::string to_string(const Hazard& hazard);

/// Called on the thread that submitted the second access, with no lock of the checker held. Must not throw.
using HazardSink = std::function<void(const Hazard&)>;

class HazardChecker : public Device {
 public:
  static constexpr std::size_t kMaxAccesses = 512;  ///< remembered per buffer
  static constexpr std::size_t kMaxReports = 1000;
  static constexpr std::size_t kMaxTokens = 4096;  ///< of hooks, remembered apart

  /// Declares that the calling host thread accesses the bytes now.
  virtual void host_access(const Operand& operand, std::string_view name) = 0;
  virtual std::uint64_t hazards() const = 0;  ///< reported so far
  /// The first kMaxReports of them, as text.
  virtual std::vector<std::string> reports() const = 0;
  virtual std::uint64_t forgotten() const = 0;  ///< accesses dropped because a buffer had too many
};

struct HazardOptions {
  bool every = false;  ///< report a pair of operations each time it conflicts, not once per buffer
};

/// `sink` may be empty.
std::shared_ptr<HazardChecker> make_hazard_checker(DeviceRef inner, HazardSink sink = {},
                                                   const HazardOptions& options = {});

/// The same for those who only hold a Device: nothing is reported or declared for one that is not checked.
DeviceRef make_checked_device(DeviceRef inner);
std::vector<std::string> hazard_reports(const Device& device);
void declare_host_access(Device& device, const Operand& operand, std::string_view name);

}  // namespace headrace
