// Streams, events and memory of headrace/device.h.
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <headrace/device.h>
#include <headrace/runtime.h>

#include "api/device_state.h"
#include "base/busy.h"
#include "device/checker.h"
#include "runtime/engine_state.h"

namespace headrace {

using detail::kStream;
using detail::SharedStream;

namespace api {

DeviceRef device_of(const Engine& engine) { return engine.data()->state().device; }

detail::Held hold(const detail::Range& range, const DeviceRef& device, std::string_view what) {
  return detail::hold(range.memory, range.offset, range.size, device, what);
}

}  // namespace api

namespace detail {

std::shared_ptr<Memory> allocate(const Engine& engine, std::size_t elements, std::size_t element_bytes,
                                 Place place) {
  if (elements > std::numeric_limits<std::size_t>::max() / element_bytes)
    throw Error(ErrorCode::out_of_memory,
                fmt::format("{} elements are more than any memory holds", elements));
  const DeviceRef device = api::device_of(engine);
  const MemoryKind kind = place == Place::device ? MemoryKind::device : MemoryKind::pinned;
  return std::make_shared<Memory>(
      Memory{device->allocate(elements * element_bytes, kind, MemoryUse::io), device});
}

std::byte* access_host(const std::shared_ptr<Memory>& memory, bool write) {
  if (!memory) throw Error(ErrorCode::misuse, "this PinnedBuffer was moved away and holds nothing");
  Buffer& buffer = *memory->buffer;
  declare_host_access(*memory->device,
                      {&buffer, 0, buffer.size_bytes(), write ? Access::write : Access::read},
                      write ? "PinnedBuffer::write" : "PinnedBuffer::read");
  return buffer.host_data();
}

Range sub_range(const Range& range, std::size_t offset, std::size_t size) {
  if (offset > range.size || size > range.size - offset)
    throw Error(ErrorCode::misuse, fmt::format("subspan: bytes [{}, +{}) lie outside a span of {} bytes",
                                               offset, size, range.size));
  return {range.memory, range.offset + offset, size};
}

void copy(DeviceStream& stream, const Range& dst, const Range& src) {
  SharedStream& shared = stream.shared();
  const Busy busy(shared.busy, kStream);
  shared.copy(api::hold(dst, shared.device(), "copy, destination"),
              api::hold(src, shared.device(), "copy, source"));
}

namespace {

/// The caller's own memory, which stays where it is until the copy is over.
Held wrap_host(const DeviceRef& device, std::byte* data, std::size_t size_bytes) {
  return {std::make_shared<Memory>(Memory{device->wrap(data, size_bytes, nullptr), device}), 0, size_bytes};
}

}  // namespace

void upload_and_wait(DeviceStream& stream, const Range& dst, const std::byte* src, std::size_t size_bytes) {
  SharedStream& shared = stream.shared();
  const Busy busy(shared.busy, kStream);
  const Held device_side = api::hold(dst, shared.device(), "copy_and_wait, destination");
  // A copy only reads its source; Buffer has one address for both.
  shared.copy(device_side, wrap_host(shared.device(), const_cast<std::byte*>(src), size_bytes));
  shared.synchronize();
}

void download_and_wait(DeviceStream& stream, std::byte* dst, std::size_t size_bytes, const Range& src) {
  SharedStream& shared = stream.shared();
  const Busy busy(shared.busy, kStream);
  const Held device_side = api::hold(src, shared.device(), "copy_and_wait, source");
  shared.copy(wrap_host(shared.device(), dst, size_bytes), device_side);
  shared.synchronize();
}

}  // namespace detail

// --- events

detail::Moment& DeviceEvent::moment() const {
  if (!moment_)
    throw Error(ErrorCode::misuse,
                "this event was never recorded; take it from DeviceStream::record or Context::enqueue");
  return *moment_;
}
bool DeviceEvent::ready() const {
  if (!moment().event->ready()) return false;
  moment_->forget();
  return true;
}
void DeviceEvent::wait() const {
  moment().event->wait();
  moment_->forget();
}
bool DeviceEvent::wait_for(std::chrono::nanoseconds timeout) const {
  if (!moment().event->wait_for(timeout)) return false;
  moment_->forget();
  return true;
}

// --- streams

DeviceStream::DeviceStream(std::unique_ptr<SharedStream> shared) : shared_(std::move(shared)) {}
DeviceStream::DeviceStream(DeviceStream&&) noexcept = default;
DeviceStream& DeviceStream::operator=(DeviceStream&&) noexcept = default;
DeviceStream::~DeviceStream() = default;

DeviceStream::DeviceStream(const Engine& engine, std::string_view name) {
  const DeviceRef device = api::device_of(engine);
  shared_ = std::make_unique<SharedStream>(
      device, device->make_stream({.name = std::string(name), .threads = engine.threads()}));
}

DeviceStream DeviceStream::wrap(const Engine& engine, CUstream_st* stream, std::string_view name) {
  const DeviceRef device = api::device_of(engine);
  return DeviceStream(
      std::make_unique<SharedStream>(device, device->wrap_stream(stream, {.name = std::string(name)})));
}

SharedStream& DeviceStream::shared() const {
  if (!shared_) throw Error(ErrorCode::misuse, "this DeviceStream was moved away and has no stream");
  return *shared_;
}
DeviceEvent DeviceStream::record() {
  const Busy busy(shared().busy, kStream);
  return DeviceEvent(shared_->record());
}
void DeviceStream::wait(const DeviceEvent& event) {
  const Busy busy(shared().busy, kStream);
  shared_->wait(event.moment());
}
void DeviceStream::synchronize() {
  const Busy busy(shared().busy, kStream);
  shared_->synchronize();
}

}  // namespace headrace
