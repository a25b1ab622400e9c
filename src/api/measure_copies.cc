#include <cstring>

#include <fmt/format.h>

#include <headrace/measure.h>

#include "api/measure_time.h"
#include "api/registry.h"

namespace headrace {
namespace {

using api::first_bytes;
using api::queued_us;

std::vector<CopySpeed> measure(Device& device, const std::vector<std::uint64_t>& sizes, int repeats) {
  const std::shared_ptr<void> inside = device.enter();
  const auto up = device.make_stream({.name = "up"}), down = device.make_stream({.name = "down"});
  const auto wait = [&] {
    up->synchronize();
    down->synchronize();
  };
  std::vector<CopySpeed> result;
  for (const std::uint64_t bytes : sizes) {
    const auto make = [&](MemoryKind kind) {
      BufferRef buffer = device.allocate(bytes, kind, MemoryUse::io);
      if (buffer->host_data()) std::memset(buffer->host_data(), 1, bytes);
      return buffer;
    };
    const BufferRef pageable = make(MemoryKind::host), pageable2 = make(MemoryKind::host),
                    pinned = make(MemoryKind::pinned), pinned2 = make(MemoryKind::pinned),
                    a = make(MemoryKind::device), b = make(MemoryKind::device);
    const auto copy = [bytes](Stream& stream, const BufferRef& dst, const BufferRef& src) {
      stream.copy(first_bytes(dst, bytes, Access::write), first_bytes(src, bytes, Access::read));
    };
    const auto add = [&](const char* path, int directions, const std::function<void()>& submit) {
      const double us = queued_us(submit, wait, repeats);
      result.push_back({path, bytes, us, static_cast<double>(bytes) * directions / us * 1e6});
    };
    if (device.unified_memory()) {
      add("host to host, one thread", 1, [&] { copy(*up, pageable, pageable2); });
      add("host to host, two threads at once", 2, [&] {
        copy(*up, pageable, pageable2);
        copy(*down, pinned, pinned2);
      });
      continue;
    }
    add("pageable to device", 1, [&] { copy(*up, a, pageable); });
    add("device to pageable", 1, [&] { copy(*down, pageable, b); });
    add("pinned to device", 1, [&] { copy(*up, a, pinned); });
    add("device to pinned", 1, [&] { copy(*down, pinned2, b); });
    add("both ways at once, pinned", 2, [&] {
      copy(*up, a, pinned);
      copy(*down, pinned2, b);
    });
    add("inside the device", 1, [&] { copy(*up, a, b); });
  }
  return result;
}

}  // namespace

CopySpeeds measure_copies(const std::string& device, const std::vector<std::uint64_t>& sizes, int repeats) {
  if (repeats < 1) throw Error(ErrorCode::invalid_argument, "measuring needs at least one repeat");
  for (const std::uint64_t size : sizes)
    if (size == 0) throw Error(ErrorCode::invalid_argument, "a copy of 0 bytes has no speed");
  const Backend* backend = api::registry().find(device.substr(0, device.find(':')));
  if (!backend)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("there is no device '{}'; `headrace env` lists them", device));
  const DeviceRef made = backend->make_device(device);
  return {device, made->model(), !made->unified_memory(), measure(*made, sizes, repeats)};
}

}  // namespace headrace
