#include "device/device.h"

namespace headrace {

std::string_view to_string(MemoryUse use) {
  switch (use) {
    case MemoryUse::weights: return "weights";
    case MemoryUse::activations: return "activations";
    case MemoryUse::io: return "io";
    case MemoryUse::workspace: return "workspace";
    case MemoryUse::recordings: return "recordings";
  }
  return "?";
}

std::unique_ptr<Recording> Stream::make_recording(const std::function<void()>&) {
  throw Error(ErrorCode::unsupported,
              "this stream cannot record; ask Device::can_record, or enqueue instead");
}

void Stream::replay(Recording&) {
  throw Error(ErrorCode::misuse, "a recording of another device; make it with a stream of this device");
}

std::unique_ptr<Stream> Device::wrap_stream(NativeStream, const StreamOptions&) {
  throw Error(ErrorCode::unsupported, "the device '" + std::string(kind()) +
                                          "' has no streams of others that could be wrapped; make a stream "
                                          "of its own");
}

}  // namespace headrace
