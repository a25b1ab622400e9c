// Engine::save_trace: the tracer's spans as a file that Chrome and Perfetto show.
// Format: "Trace Event Format", complete events ("X") and metadata ("M").
#include <map>

#include <nlohmann/json.hpp>

#include <headrace/runtime.h>

#include "base/file.h"
#include "device/tracer.h"
#include "runtime/engine.h"

namespace headrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kHost = 1, kDevice = 2;

Json label(const char* what, int process, std::size_t track, const std::string& name) {
  return {{"ph", "M"}, {"name", what}, {"pid", process}, {"tid", track}, {"args", {{"name", name}}}};
}

}  // namespace

TraceReport Engine::save_trace(const std::string& path) const {
  Tracer* tracer = data()->tracer();
  if (!tracer) throw Error(ErrorCode::misuse, "there is no trace; load the engine with LoadOptions::trace");
  const std::vector<TraceSpan> spans = tracer->spans();
  Json events = Json::array();
  events.push_back(label("process_name", kHost, 0, "host"));
  events.push_back(label("process_name", kDevice, 0, device() + ", " + data()->device().model()));
  std::map<std::string, std::size_t> tracks;
  for (const TraceSpan& span : spans) {
    const int process = span.engine == TraceEngine::host ? kHost : kDevice;
    const auto [track, added] = tracks.try_emplace(span.track, tracks.size() + 1);
    if (added) events.push_back(label("thread_name", process, track->second, span.track));
    Json event = {{"ph", "X"},
                  {"name", span.name},
                  {"cat", to_string(span.engine)},
                  {"pid", process},
                  {"tid", track->second},
                  {"ts", span.begin_us},
                  {"dur", span.end_us - span.begin_us},
                  {"args", Json::object()}};
    if (span.sequence != 0) event["args"]["inference"] = span.sequence;
    if (span.size_bytes != 0) event["args"]["bytes"] = span.size_bytes;
    events.push_back(std::move(event));
  }
  write_file_atomic(path, Json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}}.dump() + "\n");
  const TraceSummary s = summarize(spans);
  return {.total_ms = s.total_us / 1000,
          .upload_ms = s.upload_us / 1000,
          .compute_ms = s.compute_us / 1000,
          .download_ms = s.download_us / 1000,
          .overlap_ms = s.overlap_us / 1000,
          .spans = spans.size(),
          .dropped = tracer->dropped()};
}

}  // namespace headrace
