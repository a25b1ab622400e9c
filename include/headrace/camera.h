// Frames from a camera through a network: one after the other, or in a pipeline.
//
//   hr::CameraReport report = hr::run_camera({.target = {.onnx = "net.onnx", .device = "cpu"}, .fps = 30});
//   if (report.wrong() > 0) ...
//
// Problem: a loop that leaves out the wait is twice as fast, and hands out results of other frames.
// Contract: every frame is an image of its own, and what the network makes of it alone is known beforehand:
// each result is compared with that, so that one which belongs to another frame, or to none, is counted.
// Pre-processing is a wait of so many milliseconds (a camera's own processor works) and a write into the
// input.
#pragma once

#include <functional>

#include <headrace/session.h>
#include <headrace/workload.h>

namespace headrace {

struct CameraOptions {
  WorkloadTarget target;
  int frames = 300;
  double fps = 0;                       ///< 0: as fast as they are taken
  double preprocess_ms = -1;            ///< negative: as long as one inference takes, end to end
  Overflow overflow = Overflow::block;  ///< what happens to frames that come too fast
  int slots = 4;                        ///< of the session
  std::vector<std::string> compare;     ///< out of pageable, pinned, arena, u8: see CameraMemory
  int broken_frame = -1;                ///< for tests: this frame is given another one's pixels
};

/// One way of running the loop.
struct CameraWay {
  std::string name;  ///< "blocking", "pipelined", "un-awaited"
  int delivered = 0, dropped = 0;
  int wrong = 0;  ///< results of another frame than the one that they were taken for
  int torn = 0;   ///< results of no frame at all
  double frames_per_s =
      0;  ///< delivered, from the first frame's coming to the last result; un-awaited: turns
  std::vector<std::chrono::nanoseconds> ages;  ///< from a frame's coming to its result
};

/// Where frames and results lie in host memory: "pageable"; "pinned", each tensor by itself; "arena", all
/// inputs and all outputs in one block of pinned memory, one copy each; "u8", that with inputs of bytes,
/// converted on the device.
struct CameraMemory {
  std::string name;
  std::vector<std::chrono::nanoseconds> end_to_end;  ///< awaited, of frames that lie ready
  std::chrono::nanoseconds device{0};                ///< median without copies; 0: there are none
  int copies = 0, wrong = 0;
  std::uint64_t upload_bytes = 0;
  /// Median of end to end less device.
  std::chrono::nanoseconds overhead() const;
};

struct CameraReport : WorkloadRun {
  int frames = 0, distinct = 0;  ///< distinct images, that the network tells apart
  double fps = 0;
  std::chrono::nanoseconds preprocess{0}, inference{0};  ///< inference: median, one by one
  std::vector<CameraWay> ways;
  std::string slowest;  ///< stage of the pipeline
  std::vector<CameraMemory> memory;
  double ratio() const;  ///< frames per second, pipelined over blocking
  /// Results that do not belong to their frame; those of the un-awaited loop do not count.
  int wrong() const;
};

[[nodiscard]] CameraReport run_camera(const CameraOptions& options);
std::string to_text(const CameraReport& report);

}  // namespace headrace
