// Streams, events and memory of an engine's device, for those who order the work themselves.
//
//   hr::DeviceStream stream{engine};
//   hr::PinnedBuffer<float> host{engine, n};
//   hr::DeviceBuffer<float> input{engine, n}, output{engine, m};
//   fill(host.write());
//   hr::copy(stream, input.span(), host.span());          // the direction follows from the types
//   context.set_shape("x", {1, 4}); context.bind("x", input.span()); context.bind("y", output.span());
//   context.prepare();                                     // all lazy work; records where the device can
//   hr::DeviceEvent consumed;
//   hr::DeviceEvent done = context.enqueue(stream, {.input_consumed = &consumed});
//   done.wait();                                           // throws the Error of failed work
//
// The default is Session (session.h), which does all of this by itself. Memory kinds are types: pinned host
// memory where device memory belongs does not compile, nor does an asynchronous copy of pageable memory.
// There is no stream 0 and no address: memory of others comes in through DLPack (dlpack.h), streams through
// wrap.
//
// Lifetime: spans own nothing. Using one whose owner is gone is Error(misuse); what work in flight uses, or a
// context has bound, lives on until that is over. Spans, streams and events belong to the device of the
// engine they were made with; mixing devices is Error(misuse). Work that fails, fails what follows it on its
// stream and on streams that wait for it, until a host thread has met the Error in a wait. Threads: one at a
// time per stream (a second one gets Error(misuse)); events and memory from any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include <headrace/error.h>
#include <headrace/types.h>

struct CUstream_st;  // CUDA's CUstream and cudaStream_t point to it

namespace headrace {

class Engine;
class Context;
class DeviceStream;
template <class T>
class DeviceBuffer;
template <class T>
class PinnedBuffer;

namespace detail {
struct Memory;
struct Moment;
class SharedStream;

/// A byte range of memory that somebody else owns.
struct Range {
  std::weak_ptr<Memory> memory;
  std::size_t offset = 0, size = 0;
};
enum class Place : std::uint8_t { pinned, device };
std::shared_ptr<Memory> allocate(const Engine& engine, std::size_t elements, std::size_t element_bytes,
                                 Place place);
std::byte* access_host(const std::shared_ptr<Memory>& memory, bool write);
Range sub_range(const Range& range, std::size_t offset, std::size_t size);
void copy(DeviceStream& stream, const Range& dst, const Range& src);
void upload_and_wait(DeviceStream& stream, const Range& dst, const std::byte* src, std::size_t size_bytes);
void download_and_wait(DeviceStream& stream, std::byte* dst, std::size_t size_bytes, const Range& src);

/// Elements in memory of one kind.
template <class T, Place kPlace>
class Span {
 public:
  Span() = default;
  explicit Span(Range range) : range_(std::move(range)) {}
  std::size_t size() const { return range_.size / sizeof(T); }
  std::size_t size_bytes() const { return range_.size; }
  /// `count` elements from `first` on; Error(misuse) when there are fewer.
  Span subspan(std::size_t first, std::size_t count) const {
    return Span(sub_range(range_, checked_bytes(first), checked_bytes(count)));
  }
  operator Span<const T, kPlace>() const requires(!std::is_const_v<T>) {
    return Span<const T, kPlace>(range_);
  }
  const Range& range() const { return range_; }

 private:
  static std::size_t checked_bytes(std::size_t elements) {
    return elements > SIZE_MAX / sizeof(T) ? SIZE_MAX : elements * sizeof(T);
  }
  Range range_;
};
}  // namespace detail

/// Device memory. On a CPU it is host memory, and the rules are the same.
template <class T>
using DeviceSpan = detail::Span<T, detail::Place::device>;
/// Page-locked host memory.
template <class T>
using PinnedSpan = detail::Span<T, detail::Place::pinned>;

/// Pageable memory of the caller: `HostSpan(vector)`.
template <class T>
class HostSpan : public std::span<T> {
 public:
  using std::span<T>::span;
  HostSpan(std::span<T> values) : std::span<T>(values) {}
};
template <class R>
HostSpan(R&&) -> HostSpan<std::remove_reference_t<std::ranges::range_reference_t<R>>>;

/// Owner of `size` uninitialised elements of device memory, 64-byte aligned (256 on GPUs). Movable. Error
/// (out_of_memory) with the size.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer(const Engine& engine, std::size_t size)
      : memory_(detail::allocate(engine, size, sizeof(T), detail::Place::device)), size_(size) {}
  DeviceSpan<T> span() { return DeviceSpan<T>({memory_, 0, size_ * sizeof(T)}); }
  DeviceSpan<const T> span() const { return DeviceSpan<const T>({memory_, 0, size_ * sizeof(T)}); }
  std::size_t size() const { return size_; }

 private:
  std::shared_ptr<detail::Memory> memory_;
  std::size_t size_ = 0;
};

/// The same in page-locked host memory, which the host may touch while no copy that is in flight does: wait
/// for its event first. `write` and `read` tell the hazard checker of the access.
template <class T>
class PinnedBuffer {
 public:
  PinnedBuffer(const Engine& engine, std::size_t size)
      : memory_(detail::allocate(engine, size, sizeof(T), detail::Place::pinned)), size_(size) {}
  PinnedSpan<T> span() { return PinnedSpan<T>({memory_, 0, size_ * sizeof(T)}); }
  PinnedSpan<const T> span() const { return PinnedSpan<const T>({memory_, 0, size_ * sizeof(T)}); }
  std::span<T> write() { return {reinterpret_cast<T*>(detail::access_host(memory_, true)), size_}; }
  std::span<const T> read() const {
    return {reinterpret_cast<const T*>(detail::access_host(memory_, false)), size_};
  }
  std::size_t size() const { return size_; }

 private:
  std::shared_ptr<detail::Memory> memory_;
  std::size_t size_ = 0;
};

/// A point on a stream's timeline: it always means the record that it came from, whatever is recorded later.
/// Cheap to copy. One that came from no record (default-constructed) gives Error(misuse).
class DeviceEvent {
 public:
  DeviceEvent() = default;
  /// True when the work before it is over, failed or not; never blocks.
  [[nodiscard]] bool ready() const;
  /// Blocks the host. Throws the Error of failed work.
  void wait() const;
  /// False when the time passed first.
  [[nodiscard]] bool wait_for(std::chrono::nanoseconds timeout) const;
  explicit operator bool() const { return moment_ != nullptr; }

 private:
  friend class DeviceStream;
  friend class Context;
  friend class Session;
  explicit DeviceEvent(std::shared_ptr<detail::Moment> moment) : moment_(std::move(moment)) {}
  detail::Moment& moment() const;
  std::shared_ptr<detail::Moment> moment_;
};

/// An in-order queue of work. Its destruction waits for what is in it. At most 16 records (of `record`,
/// enqueued inferences, or 32 copies each) are pending: then the caller waits for the oldest.
class DeviceStream {
 public:
  /// A stream of its own; `name` shows in traces and hazard reports.
  explicit DeviceStream(const Engine& engine, std::string_view name = "user");
  /// Somebody else's stream of CUDA, which must outlive this object. Error(invalid_argument) for a default
  /// stream; Error(unsupported) on other devices.
  static DeviceStream wrap(const Engine& engine, CUstream_st* stream, std::string_view name = "wrapped");
  DeviceStream(DeviceStream&&) noexcept;
  DeviceStream& operator=(DeviceStream&&) noexcept;
  ~DeviceStream();

  /// A point after all that was submitted so far.
  [[nodiscard]] DeviceEvent record();
  /// What is submitted from here on runs after the event. Does not block the host.
  void wait(const DeviceEvent& event);
  /// Blocks the host until all is done. Throws the Error of failed work.
  void synchronize();

 private:
  friend class Context;
  friend void detail::copy(DeviceStream&, const detail::Range&, const detail::Range&);
  friend void detail::upload_and_wait(DeviceStream&, const detail::Range&, const std::byte*, std::size_t);
  friend void detail::download_and_wait(DeviceStream&, std::byte*, std::size_t, const detail::Range&);
  explicit DeviceStream(std::unique_ptr<detail::SharedStream> shared);
  detail::SharedStream& shared() const;
  std::unique_ptr<detail::SharedStream> shared_;
};

namespace detail {
template <class To, class From>
constexpr void check_copy_types() {
  static_assert(!std::is_const_v<To>, "copy(stream, destination, source): this destination is read-only");
  static_assert(std::is_same_v<To, std::remove_const_t<From>>,
                "copy: destination and source hold different element types");
}
}  // namespace detail

/// Asynchronous, of equal sizes; memory is kept alive until it is done. Error(misuse) for unequal sizes,
/// overlap, freed memory, or memory of another device.
template <class To, detail::Place kTo, class From, detail::Place kFrom>
void copy(DeviceStream& stream, const detail::Span<To, kTo>& dst, const detail::Span<From, kFrom>& src) {
  detail::check_copy_types<To, From>();
  static_assert(kTo == detail::Place::device || kFrom == detail::Place::device,
                "copy: both sides are host memory; use std::copy on PinnedBuffer::write() and read()");
  detail::copy(stream, dst.range(), src.range());
}
template <class To, detail::Place kTo, class From>
void copy(DeviceStream&, const detail::Span<To, kTo>&, const HostSpan<From>&) {
  static_assert(sizeof(From) == 0,
                "pageable memory is not copied asynchronously: use copy_and_wait, or a PinnedBuffer");
}
template <class To, class From, detail::Place kFrom>
void copy(DeviceStream&, const HostSpan<To>&, const detail::Span<From, kFrom>&) {
  static_assert(sizeof(To) == 0,
                "pageable memory is not copied asynchronously: use copy_and_wait, or a PinnedBuffer");
}

/// Pageable memory: blocks until it, and all that was submitted before, is done. Throws the Error of failed
/// work.
template <class To, class From>
void copy_and_wait(DeviceStream& stream, const DeviceSpan<To>& dst, const HostSpan<From>& src) {
  detail::check_copy_types<To, From>();
  detail::upload_and_wait(stream, dst.range(), reinterpret_cast<const std::byte*>(src.data()),
                          src.size_bytes());
}
template <class To, class From>
void copy_and_wait(DeviceStream& stream, const HostSpan<To>& dst, const DeviceSpan<From>& src) {
  detail::check_copy_types<To, From>();
  detail::download_and_wait(stream, reinterpret_cast<std::byte*>(dst.data()), dst.size_bytes(), src.range());
}

}  // namespace headrace
