#include <fmt/format.h>

#include <headrace/error.h>
#include <headrace/latency.h>
#include <headrace/timing.h>

#include "ladder/rig.h"
#include "workload/site.h"
#include "workload/units.h"
#include "workload/warm_up.h"

namespace headrace {
namespace workload {
namespace {

using std::chrono::nanoseconds;

Series make_series(const TimingReport& report, std::string name) {
  return {.name = std::move(name),
          .why_not = {},
          .run = report.run,
          .began_ns = sched::Clock::now().time_since_epoch().count(),
          .samples = {}};
}
Series missing(const TimingReport& report, std::string name, std::string why) {
  Series series = make_series(report, std::move(name));
  series.why_not = std::move(why);
  return series;
}
Series measured(const TimingReport& report, std::string name, const std::vector<double>& us) {
  Series series = make_series(report, std::move(name));
  series.samples = from_us(us);
  return series;
}

/// Items one by one through a session, from and to its own pinned memory.
class OneByOne {
 public:
  OneByOne(const Engine& engine, const ShapeMap& shapes, std::uint64_t seed)
      : shapes_(shapes), seed_(seed), session_(engine) {
    for (const TensorInfo& input : engine.inputs()) inputs_.push_back(input.name);
    session_.prepare(shapes);
  }
  /// End to end; `submit`: of the call; `running`: from a context's taking it to its end.
  nanoseconds run(nanoseconds& submit, nanoseconds& running) {
    InputLease in = session_.acquire(shapes_);
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const TensorView to = in[inputs_[i]];
      ladder::fill_values(to.data(), static_cast<std::size_t>(element_count(to.shape())), to.dtype(), false,
                          seed_ + i);
    }
    const auto begin = sched::Clock::now();
    Ticket ticket = session_.submit(std::move(in));
    submit = sched::Clock::now() - begin;
    const OutputLease out = ticket.get();
    const Latency latency(out);
    running = nanoseconds(out.times().finished_ns - out.times().started_ns);
    return latency.value();
  }

 private:
  const ShapeMap& shapes_;
  std::uint64_t seed_;
  Session session_;
  std::vector<std::string> inputs_;
};

void measure(const Engine& engine, const TimingOptions& options, TimingReport& report) {
  OneByOne items(engine, report.shapes, options.target.seed);
  nanoseconds submit{}, running{};
  WarmUp warm_up;
  while (!warm_up.over()) warm_up.add(items.run(submit, running));
  report.warm_up = warm_up.count();
  report.stable = warm_up.stable();
  report.submit = make_series(report, "submit");
  report.compute = make_series(report, "device");
  report.end_to_end = make_series(report, "end to end");
  for (int i = 0; i < options.repeats; ++i) {
    report.end_to_end.samples.push_back(items.run(submit, running));
    report.submit.samples.push_back(submit);
    report.compute.samples.push_back(running);
  }
  if (engine.data()->device().unified_memory()) {
    const std::string copies = "device memory is host memory, nothing is copied";
    report.enqueue = missing(report, "enqueue", "the session's thread computes, there is no queue");
    report.upload = missing(report, "upload", copies);
    report.download = missing(report, "download", copies);
    return;
  }
  runtime::Context context(engine.data());
  context.prepare(report.shapes);
  const auto stream = engine.data()->device().make_stream({.name = "timing"});
  report.enqueue = measured(report, "enqueue", context.enqueue_times_us(*stream, options.repeats));
  report.upload = make_series(report, "upload");
  report.download = make_series(report, "download");
  for (const runtime::CopyTime& t : context.copy_times_us(*stream, options.repeats)) {
    report.upload.samples.push_back(from_us(t.upload_us));
    report.download.samples.push_back(from_us(t.download_us));
  }
  report.compute = measured(report, "device", context.device_times_us(*stream, options.repeats));
  if (report.compute.samples.empty())
    report.compute.why_not = "an inference is not one recording here: " +
                             (options.recordings == 0 ? std::string("recordings are off")
                                                      : engine.statistics().recordings_failed_why);
}

}  // namespace

bool WarmUp::stable() const {
  if (samples_.size() < 2 * kWindow) return false;
  const auto median = [&](std::size_t back) {
    const auto end = samples_.end() - static_cast<std::ptrdiff_t>(back);
    return summarize(std::vector<nanoseconds>(end - static_cast<std::ptrdiff_t>(kWindow), end)).median;
  };
  const nanoseconds before = median(kWindow), last = median(0);
  return std::chrono::abs(last - before) * 20 <= before;
}

}  // namespace workload

double TimingReport::enqueue_share() const {
  const auto host = summarize(enqueue.samples).median, device = summarize(compute.samples).median;
  return device.count() > 0 ? static_cast<double>(host.count()) / static_cast<double>(device.count()) : 0;
}

bool TimingReport::sum_holds() const {
  return summarize(end_to_end.samples).median >= summarize(compute.samples).median;
}

TimingReport run_timing(const TimingOptions& options) {
  if (options.repeats < 1 || options.repeats > 100'000)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("timing: repeats is {}; use 1 to 100000", options.repeats));
  const workload::Site site(options.target, 0);
  TimingReport report;
  static_cast<WorkloadRun&>(report) = site.begin();
  site.run([&] {
    const workload::Placed placed =
        site.place(site.plan(), {.max_recordings = static_cast<std::size_t>(options.recordings)});
    workload::measure(Engine::from(placed.engine), options, report);
  });
  return report;
}

std::string to_text(const TimingReport& report) {
  std::string text = workload::where(report) + "\n";
  text += fmt::format("warm-up     {} items, {}; tracing off\n", report.warm_up,
                      report.stable ? "until the figures were stable" : "and the figures still move");
  text += fmt::format("{:<11} {:>5} {:>12} {:>12} {:>12} {:>12} {:>12}\n", "", "n", "min", "median", "p90",
                      "p99", "p90 - p10");
  for (const Series* series : report.parts()) {
    if (series->samples.empty()) {
      text += fmt::format("{:<11}  none: {}\n", series->name, series->why_not);
      continue;
    }
    const Summary s = summarize(series->samples);
    text +=
        fmt::format("{:<11} {:>5} {:>12} {:>12} {:>12} {:>12} {:>12}\n", series->name, s.n, to_text(s.min),
                    to_text(s.median), to_text(s.p90), to_text(s.p99), to_text(s.spread()));
  }
  if (report.enqueue.samples.empty() || report.compute.samples.empty())
    text += "enqueue-bound: no; the host's time to enqueue and the device's cannot be compared here\n";
  else
    text += fmt::format(
        "enqueue-bound: {}; the host takes {:.1f} % of the device's time to enqueue (limit 20 %)\n",
        report.enqueue_bound() ? "yes" : "no", 100 * report.enqueue_share());
  text += report.sum_holds()
              ? "sum check: end to end is not shorter than the device's time\n"
              : "sum check FAILS: end to end is shorter than the device's time, these figures are wrong\n";
  return text;
}

}  // namespace headrace
