// The kinds of host memory that frames may lie in, and what each costs an inference.
#pragma once

#include <optional>
#include <string>

#include <headrace/camera.h>

#include "runtime/engine.h"
#include "workload/frames.h"

namespace headrace::workload {

/// Host memory of one inference's inputs and outputs.
class CameraBuffers {
 public:
  enum class Kind : std::uint8_t { pageable, pinned, arena };
  CameraBuffers(Device& device, const runtime::Prepared& prepared, Kind kind);
  void bind(runtime::Context& context) const;
  void write(const std::vector<NamedTensor>& image) const;
  /// As they lie there now.
  Frames::Outputs outputs(const runtime::Prepared& prepared) const;
  int copies() const { return copies_; }  ///< up and down

 private:
  struct Part {
    BufferRef buffer;
    std::size_t offset = 0;
    std::byte* data() const { return buffer->host_data() + offset; }
  };
  std::vector<Part> inputs_, outputs_;
  int copies_ = 0;
};

/// Of CameraMemory::name; nothing for an unknown one.
std::optional<CameraBuffers::Kind> find_camera_memory(const std::string& name);
std::string camera_memory_names();

/// Awaited inferences one by one, of frames that lie in that memory.
CameraMemory measure_camera_memory(const std::string& name, const Engine& engine, const ShapeMap& shapes,
                                   const Frames& frames);

}  // namespace headrace::workload
