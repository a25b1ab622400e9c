// The tracer: a Device around any Device that notes when each piece of work ran.
//
// Problem: overlap that nobody sees is overlap that nobody checks; a vendor's profiler is not always at hand.
// Contract: every launch, replay and copy becomes a span on its stream's track, measured by the device's own
// clock between two timing events; ranges of the host (hooks::Range) become spans on their thread's track.
// What is submitted inside a recording belongs to the replay's one span. Spans of failed work are left out.
// Times are microseconds since the tracer was made; device and host clocks are matched once, then (float
// milliseconds on GPUs: some microseconds of drift after minutes). Memory is bounded: after kMaxSpans spans
// more are counted, not kept. Thread-safe.
//
//   auto tracer = make_tracer(device);   ... use it as the device ...   write(tracer->spans());
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"

namespace headrace {

/// What a span keeps busy.
enum class TraceEngine : std::uint8_t { host, upload, compute, download, copy };
std::string_view to_string(TraceEngine engine);

struct TraceSpan {
  std::string name, track;  ///< kernel or range; stream or thread
  TraceEngine engine = TraceEngine::host;
  double begin_us = 0, end_us = 0;
  std::uint64_t sequence = 0;  ///< the inference, from 1; 0: none is known
  std::size_t size_bytes = 0;  ///< copies
};

class Tracer : public Device {
 public:
  static constexpr std::size_t kMaxSpans = 200'000;
  /// Waits for the work traced so far; in order of begin.
  virtual std::vector<TraceSpan> spans() = 0;
  virtual std::uint64_t dropped() const = 0;  ///< spans beyond kMaxSpans
};

std::shared_ptr<Tracer> make_tracer(DeviceRef inner);

/// Share of [first begin, last end] of device work in which each engine was busy, and two or more at once.
struct TraceSummary {
  double total_us = 0, upload_us = 0, compute_us = 0, download_us = 0, overlap_us = 0;
};
TraceSummary summarize(const std::vector<TraceSpan>& spans);

}  // namespace headrace
