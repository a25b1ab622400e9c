#include "ladder/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace headrace::ladder {
namespace {

struct Part {
  const char* name;
  double ms;
};

Part longest(std::initializer_list<Part> parts) {
  return *std::max_element(parts.begin(), parts.end(),
                           [](const Part& a, const Part& b) { return a.ms < b.ms; });
}

/// Of a pipeline whose engines and post-processing all overlap.
Part bound(const LadderProbes& p, bool narrow) {
  return longest({{"compute", p.compute_fp16_ms},
                  {"upload", narrow ? p.upload_narrow_ms : p.upload_pinned_ms},
                  {"download", p.download_ms},
                  {"post-processing", p.post_ms}});
}

std::string explain_pipeline(const LadderProbes& p, bool narrow) {
  const Part part = bound(p, narrow);
  const std::string name = part.name;
  const std::string remedy = name == "upload" && !narrow
                                 ? fmt::format("rung 9 uploads bytes in {:.3g} ms", p.upload_narrow_ms)
                             : name == "upload"   ? "no rung removes that: the link is the limit"
                             : name == "compute"  ? "no rung removes that: it takes faster kernels or device"
                             : name == "download" ? "no rung removes that: fewer or narrower outputs do"
                                                  : "more post-processing threads remove that";
  return fmt::format("bound by {} alone, {:.3g} ms, under which all else is hidden; {}", name, part.ms,
                     remedy);
}

}  // namespace

double predict(const std::string& rung, const LadderProbes& p) {
  const double back = p.download_ms + p.post_ms;
  if (rung == "0") return p.allocate_ms + p.upload_pageable_ms + p.compute_fp32_ms + back;
  if (rung == "1") return p.upload_pageable_ms + p.compute_fp32_ms + back;
  if (rung == "2") return p.upload_pinned_ms + p.compute_fp32_ms + back;
  if (rung == "2s") return p.staging_ms + p.upload_pinned_ms + p.compute_fp32_ms + back;
  if (rung == "3") return p.upload_pinned_ms + p.compute_fp16_ms + back;
  if (rung == "4") return std::max(p.compute_fp16_ms + back, p.consumed_ms + p.upload_pinned_ms);
  if (rung == "4r") return std::max({p.compute_fp16_ms, p.upload_pinned_ms, p.download_ms}) + p.post_ms;
  return bound(p, rung == "9").ms;
}

std::string explain(const std::string& rung, const LadderProbes& p) {
  const double back = p.download_ms + p.post_ms;
  if (rung == "0")
    return fmt::format(
        "the sum of all parts; making and freeing memory takes {:.3g} ms of it, which rung 1 removes",
        p.allocate_ms);
  if (rung == "1")
    return fmt::format(
        "the sum of its parts; the pageable upload takes {:.3g} ms, {:.3g} from pinned memory: rung 2",
        p.upload_pageable_ms, p.upload_pinned_ms);
  if (rung == "2")
    return fmt::format("the sum of its parts; computing in fp32 takes {:.3g} ms, {:.3g} in fp16: rung 3",
                       p.compute_fp32_ms, p.compute_fp16_ms);
  if (rung == "2s")
    return fmt::format(
        "the sum of its parts; staging takes {:.3g} ms, which rung 2 removes where the producer "
        "writes into pinned memory",
        p.staging_ms);
  if (rung == "3")
    return fmt::format(
        "upload ({:.3g} ms) and compute ({:.3g} ms) take turns; rung 4 runs them at the same time",
        p.upload_pinned_ms, p.compute_fp16_ms);
  if (rung == "4" && p.consumed_ms + p.upload_pinned_ms > p.compute_fp16_ms + back)
    return fmt::format(
        "the one input: it is free after {:.3g} ms, then comes an upload of {:.3g}; rung 4r has a ring",
        p.consumed_ms, p.upload_pinned_ms);
  if (rung == "4")
    return fmt::format(
        "compute, download and post-processing in a row, {:.3g} ms; rung 4r takes the download out of "
        "it, rung 5 the post-processing",
        p.compute_fp16_ms + back);
  if (rung == "4r")
    return fmt::format(
        "the longest of upload, compute and download, then {:.3g} ms of post-processing on the same "
        "thread, which rung 5 moves to its own",
        p.post_ms);
  return explain_pipeline(p, rung == "9");
}

void judge(LadderReport& report) {
  LadderGates& g = report.gates;
  g = {true, true, true, false, false, true, true};
  const LadderRung* previous = nullptr;
  for (LadderRung& rung : report.rungs) {
    rung.predicted_ms_per_batch = predict(rung.rung, report.probes);
    rung.sentence = explain(rung.rung, report.probes);
    rung.ratio_to_previous = previous ? previous->ms_per_batch / rung.ms_per_batch : 1;
    rung.ratio_to_first = report.rungs.front().ms_per_batch / rung.ms_per_batch;
    g.outputs_agree = g.outputs_agree && rung.outputs_equal;
    if (rung.rung != "2s") {
      if (previous && rung.ms_per_batch > 1.03 * previous->ms_per_batch) g.none_slower = false;
      previous = &rung;
    }
    if (std::abs(rung.ms_per_batch - rung.predicted_ms_per_batch) > 0.2 * rung.predicted_ms_per_batch)
      g.as_predicted = false;
    if (rung.rung != "0" && rung.allocations > 0) g.no_allocations = false;
    g.no_hazards = g.no_hazards && rung.hazards.empty();
  }
  const LadderRung& last = report.rungs.back();
  report.bound_ms = bound(report.probes, last.rung == "9").ms;
  report.share_of_bound = report.bound_ms / last.ms_per_batch;
  report.end_to_end_ratio = last.ratio_to_first;
  g.reaches_bound = report.share_of_bound >= 0.99;
  g.end_to_end = report.end_to_end_ratio >= 5.34;
}

}  // namespace headrace::ladder
