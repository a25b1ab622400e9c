// Requests that come when they like, one by one, through a session with a batcher.
//
//   hr::ServeReport r = hr::run_serve({.target = {.onnx = "net.onnx", .device = "cpu"}, .load = 0.85});
//   use(hr::summarize(r.latencies).p99);
//
// Problem: a client that waits for its answer before it asks again asks less when the server is slow, and
// never sees how long others would have waited. Contract: requests are scheduled beforehand, at exponential
// intervals from a seed, and a latency counts from the scheduled moment, however late the request could be
// submitted. Every result is compared with what the network makes of that request alone.
#pragma once

#include <headrace/workload.h>

namespace headrace {

struct ServeOptions {
  WorkloadTarget target;
  double rate = 0;     ///< requests per second; 0: `load` of the closed loop's
  double load = 0.85;  ///< share of the closed loop's throughput
  int requests = 2000;
  int max_batch = 8;  ///< 1: no batcher
  std::chrono::nanoseconds max_delay = std::chrono::milliseconds(1);
  int slots = 4;
  std::chrono::nanoseconds deadline{0};  ///< of what counts as good; 0: none
  int broken_request = -1;               ///< for tests: this one is given another one's input
};

struct ServeReport : WorkloadRun {
  double closed_per_s = 0;              ///< with always more requests than the session takes
  double offered_per_s = 0;             ///< mean of the schedule
  double achieved_per_s = 0;            ///< answers, from the first scheduled moment to the last answer
  double goodput_per_s = 0;             ///< of them, within the deadline
  int late = 0, wrong = 0;              ///< beyond the deadline; not the request's own result
  double mean_batch = 0;                ///< requests that ran together
  std::chrono::nanoseconds max_lag{0};  ///< that a submit was behind its schedule: the session was full
  std::vector<std::chrono::nanoseconds> arrivals;   ///< scheduled, from the beginning on, by request
  std::vector<std::chrono::nanoseconds> latencies;  ///< from then to the result, by request
};

[[nodiscard]] ServeReport run_serve(const ServeOptions& options);
std::string to_text(const ServeReport& report);

}  // namespace headrace
