// What is behind the public streams, events and memory (headrace/device.h): an internal stream that keeps the
// memory of its work alive, and events that are points nobody can move.
//
// Contract: work in flight shares its memory, so that an owner may go at any time. A moment is recorded once
// for each that hold it: the stream uses it again only when nobody holds it and its work is over, so a wait
// never means another record than the one it was asked for. Nothing is allocated after construction, unless
// all of a stream's moments are held, or one piece of work uses more than kKept pieces of memory. At most
// kMoments records are pending: then the submitting thread waits for the oldest.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "base/sched.h"
#include "device/device.h"

namespace headrace::detail {

/// Memory of a device, with the device.
struct Memory {
  BufferRef buffer;
  DeviceRef device;
};

/// A range, and its memory while this lives.
struct Held {
  std::shared_ptr<Memory> memory;
  std::size_t offset = 0, size = 0;
  Operand operand(Access access) const {
    return {memory ? memory->buffer.get() : nullptr, offset, size, access};
  }
  BufferRef buffer() const { return memory ? memory->buffer : nullptr; }
};
/// Error(misuse) when the memory was freed, never was, or belongs to another device. `what` names it.
Held hold(const std::weak_ptr<Memory>& memory, std::size_t offset, std::size_t size, const DeviceRef& device,
          std::string_view what);

using Keep = std::shared_ptr<const void>;

/// A point on a stream's timeline.
struct Moment {
  explicit Moment(DeviceRef device);
  DeviceRef device;
  EventRef event;
  bool recorded = false;

  void keep(std::vector<Keep>& memory);  ///< takes them, and what was kept before is given up
  void forget();                         ///< its work is over: gives up what it kept
  bool over() const noexcept;            ///< never blocks, and meets no error

 private:
  sched::Mutex mutex_{"moment"};
  std::vector<Keep> kept_;
};
using MomentRef = std::shared_ptr<Moment>;

class SharedStream {
 public:
  static constexpr std::size_t kMoments = 16, kKept = 64;

  SharedStream(DeviceRef device, std::unique_ptr<Stream> stream);
  ~SharedStream();  ///< waits for its work

  // By the thread that holds `busy` (base/busy.h):
  void copy(const Held& dst, const Held& src);
  MomentRef record();
  void wait(const Moment& moment);
  void synchronize();
  /// Moments for work that records them itself; then `recorded` says so. Memory kept before goes with `done`.
  MomentRef next_moment();
  void recorded(Moment& done);
  void make_room(std::size_t pieces);  ///< for `keep`, without allocating
  void keep(Keep memory);

  const DeviceRef& device() const { return device_; }
  Stream& stream() { return *stream_; }
  std::atomic<bool> busy{false};

 private:
  DeviceRef device_;
  std::vector<MomentRef> moments_;  ///< in the order of use, from next_ on
  std::size_t next_ = 0;
  std::vector<Keep> kept_;  ///< since the last record
  std::unique_ptr<Stream> stream_;
};

inline constexpr const char* kStream = "a DeviceStream";

}  // namespace headrace::detail
