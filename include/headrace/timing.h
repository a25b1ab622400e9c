// Where the time of one inference goes: submit, enqueue, upload, device, download, and end to end.
//
// Contract: end to end is awaited (latency.h), one item at a time, after a warm-up that lasts until the
// figures are stable. The other parts are measured alone: the host's by its clock, the device's by the
// device's. What a device does not have is a series without samples that says why.
#pragma once

#include <headrace/workload.h>

namespace headrace {

struct TimingOptions {
  WorkloadTarget target;
  int repeats = 50;     ///< samples of each series
  int recordings = 16;  ///< as LoadOptions::max_recordings
};

struct TimingReport : WorkloadRun {
  int warm_up = 0;  ///< items before the samples
  bool stable = false;
  Series submit;      ///< Session::submit, on the caller's thread
  Series enqueue;     ///< handing an inference and its copies to the device, on the session's thread
  Series upload;      ///< of all inputs from pinned memory
  Series compute;     ///< on the device, without copies
  Series download;    ///< of all outputs to pinned memory
  Series end_to_end;  ///< submit until the result is held, pinned memory at both ends
  std::vector<const Series*> parts() const {
    return {&submit, &enqueue, &upload, &compute, &download, &end_to_end};
  }
  /// Host time to enqueue over device time, medians; 0 where one of them does not exist.
  double enqueue_share() const;
  /// Above 20 %: the host, not the device, decides how fast it goes.
  bool enqueue_bound() const { return enqueue_share() > 0.2; }
  /// No inference ends before the device can have done it: the medians of end to end and device. False is a
  /// fault of the measurement, and its figures are worth nothing.
  bool sum_holds() const;
};

[[nodiscard]] TimingReport run_timing(const TimingOptions& options);
/// A table with units, and the verdicts.
std::string to_text(const TimingReport& report);

}  // namespace headrace
