// What is behind the public streams, events and memory (headrace/device.h): an internal stream that keeps the
// memory of its work alive, and events that are points nobody can move.
//
// Contract: work in flight shares its memory, so that an owner may go at any time. A moment is recorded once
// for each that hold it: the stream uses it again only when nobody holds it and its work is over, so a wait
// never means another record than the one it was asked for. Nothing is allocated after construction, unless
// all of a stream's moments are held, or one piece of work uses more than kKept pieces of memory. At most
// kMoments records are pending: then the submitting thread waits for the oldest. Memory is given up when a
// host has waited for a record after its use, when the stream is found idle at its next record, or kMoments
// records later.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
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

/// Error(misuse) when kernels of its device could not be given the address.
void check_alignment(const Held& held, std::size_t element_bytes, std::string_view what);

using Keep = std::shared_ptr<const void>;

/// Memory that a stream's work uses, by the record that comes after it. Thread-safe.
class Keeper {
 public:
  Keeper();
  void add(std::uint64_t record, Keep memory);
  /// The work before this record is over.
  void forget_until(std::uint64_t record);

 private:
  sched::Mutex mutex_{"stream.memory"};
  std::vector<std::pair<std::uint64_t, Keep>> kept_;  ///< rising
  std::vector<std::pair<std::uint64_t, Keep>> gone_;  ///< empty: room that is used again
};

/// A point on a stream's timeline.
struct Moment {
  Moment(DeviceRef d, std::shared_ptr<Keeper> k)
      : device(std::move(d)), event(device->make_event()), keeper(std::move(k)) {}
  const DeviceRef device;
  const EventRef event;
  const std::shared_ptr<Keeper> keeper;  ///< of its stream; null: none
  bool recorded = false;                 ///< for whoever records it
  std::atomic<std::uint64_t> record{0};  ///< its number on the stream, from 1; an earlier one, or 0: none

  bool over() const noexcept;  ///< never blocks, and meets no error
  /// The work before it is over: what it used is given up.
  void forget() const {
    if (keeper) keeper->forget_until(record);
  }
};
using MomentRef = std::shared_ptr<Moment>;

inline constexpr std::size_t kMoments = 16, kKept = 64;

/// By one thread at a time.
class MomentPool {
 public:
  explicit MomentPool(DeviceRef device, std::shared_ptr<Keeper> keeper = nullptr);
  /// One that nobody holds and whose work is over; waits for it while there is work, else makes another.
  MomentRef next();

 private:
  DeviceRef device_;
  std::shared_ptr<Keeper> keeper_;
  std::vector<MomentRef> moments_;  ///< in the order of use, from next_ on
  std::size_t next_ = 0;
};

class SharedStream {
 public:
  SharedStream(DeviceRef device, std::unique_ptr<Stream> stream);
  ~SharedStream();  ///< waits for its work

  // By the thread that holds `busy` (base/busy.h):
  void copy(const Held& dst, const Held& src);
  MomentRef record();
  void wait(const Moment& moment);
  void synchronize();
  /// For work that records it itself; then `recorded` says so.
  MomentRef next_moment();
  void recorded(const MomentRef& moment);
  void make_room(std::size_t pieces);  ///< for `keep`, without allocating
  void keep(Keep memory);              ///< until the next record is over

  const DeviceRef& device() const { return device_; }
  Stream& stream() { return *stream_; }
  std::atomic<bool> busy{false};

 private:
  DeviceRef device_;
  std::shared_ptr<Keeper> keeper_ = std::make_shared<Keeper>();
  MomentPool moments_;
  std::uint64_t records_ = 1;     ///< the next one's number
  std::size_t kept_ = 0;          ///< since the last record
  const Moment* last_ = nullptr;  ///< recorded last; the pool has it
  std::unique_ptr<Stream> stream_;
};

inline constexpr const char* kStream = "a DeviceStream";

}  // namespace headrace::detail
