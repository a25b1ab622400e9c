#include <fmt/format.h>

#include <headrace/camera.h>

#include "workload/units.h"

namespace headrace {
namespace {

std::string memory_text(const CameraReport& report) {
  if (report.memory.empty()) return {};
  std::string text =
      fmt::format("\n{:<10} {:>12} {:>12} {:>12} {:>10} {:>7} {:>12} {:>6}\n", "memory", "end to end",
                  "device", "overhead", "to before", "copies", "bytes up", "wrong");
  const CameraMemory* before = nullptr;
  for (const CameraMemory& m : report.memory) {
    const bool known = m.device.count() > 0;
    text +=
        fmt::format("{:<10} {:>12} {:>12} {:>12} {:>10} {:>7} {:>12} {:>6}\n", m.name,
                    to_text(summarize(m.end_to_end).median), known ? to_text(m.device) : "-",
                    known ? to_text(m.overhead()) : "-",
                    known && before && before->overhead().count() > 0
                        ? fmt::format("{:+.0f} %", 100.0 * static_cast<double>(m.overhead().count()) /
                                                           static_cast<double>(before->overhead().count()) -
                                                       100)
                        : "-",
                    m.copies, m.upload_bytes, m.wrong);
    before = &m;
  }
  if (report.memory.front().device.count() == 0)
    text += "device memory is host memory here: nothing is copied, all kinds are one\n";
  return text;
}

}  // namespace

std::string to_text(const CameraReport& report) {
  std::string text = fmt::format(
      "{}\nframes      {} of {} different images, {}; pre-processing {}, inference {}; "
      "tracing "
      "off\n",
      workload::where(report), report.frames, report.distinct,
      report.fps > 0 ? fmt::format("{:g} per second", report.fps) : std::string("as fast as they are taken"),
      to_text(report.preprocess), to_text(report.inference));
  text += fmt::format("{:<11} {:>10} {:>9} {:>8} {:>6} {:>6} {:>12} {:>12}\n", "", "frames/s", "delivered",
                      "dropped", "wrong", "torn", "age p50", "age p99");
  for (const CameraWay& way : report.ways) {
    const Summary age = summarize(way.ages);
    text +=
        fmt::format("{:<11} {:>10.2f} {:>9} {:>8} {:>6} {:>6} {:>12} {:>12}\n", way.name, way.frames_per_s,
                    way.delivered, way.dropped, way.wrong, way.torn, to_text(age.median), to_text(age.p99));
  }
  text += fmt::format("ratio       {:.2f} pipelined over blocking{}\n", report.ratio(),
                      report.slowest.empty() ? "" : "; the slowest stage: " + report.slowest);
  if (report.ways.size() > 2)
    text += fmt::format(
        "un-awaited  a demonstration: {} of {} results were not those of their frame; counting turns of the "
        "loop hides that\n",
        report.ways[2].wrong + report.ways[2].torn, report.ways[2].delivered);
  return text + memory_text(report);
}

}  // namespace headrace
