#include <algorithm>
#include <cmath>
#include <exception>
#include <random>

#include <fmt/format.h>

#include <headrace/error.h>
#include <headrace/latency.h>
#include <headrace/serve.h>

#include "base/sched.h"
#include "workload/frames.h"
#include "workload/site.h"
#include "workload/units.h"

namespace headrace {
namespace workload {
namespace {

using sched::Clock;
using std::chrono::nanoseconds;

/// Poisson arrivals: exponential intervals.
std::vector<nanoseconds> schedule(double per_s, int requests, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<nanoseconds> times;
  double at_us = 0;
  for (int k = 0; k < requests; ++k) {
    const double unit = static_cast<double>(random() >> 11) * 0x1p-53;  // [0, 1)
    at_us -= std::log1p(-unit) / per_s * 1e6;
    times.push_back(from_us(at_us));
  }
  return times;
}

/// Shapes of one request, of the session's largest inference.
ShapeMap one_item(const Site& site, const Engine& engine, int max_batch) {
  ShapeMap shapes = site.shapes();
  if (max_batch == 1) return shapes;
  for (const TensorInfo& input : engine.inputs()) {
    if (input.shape.empty() || input.shape[0] >= 0)
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("the first axis of input '{}' ({}) is fixed, so that requests cannot be batched; "
                      "use --max-batch 1, or export the model with a dynamic batch",
                      input.name, input.shape_text));
    shapes[input.name][0] = 1;
  }
  return shapes;
}

class Server {
 public:
  Server(const Engine& engine, const Frames& frames, const ShapeMap& shapes, const ServeOptions& options,
         bool simulated)
      : frames_(frames), shapes_(shapes), o_(options), simulated_(simulated) {
    session_.emplace(engine,
                     SessionOptions{.slots = options.slots, .batch = {options.max_batch, options.max_delay}});
    session_->prepare(shapes);
  }

  /// Items per second with always more of them than the session takes.
  double closed_loop() {
    const int warm_up = o_.slots * o_.max_batch, n = warm_up + std::max(20, 8 * o_.slots) * o_.max_batch;
    ready_.assign(static_cast<std::size_t>(n), {});
    for (int k = 0; k < n; ++k) submit(k, Clock::now());
    finish();
    const auto at = [&](int k) { return ready_[static_cast<std::size_t>(k - 1)].end_ns; };
    return (n - warm_up) * 1e9 / static_cast<double>(std::max<std::int64_t>(at(n) - at(warm_up), 1));
  }

  void open_loop(ServeReport& report) {
    ready_.assign(report.arrivals.size(), {});
    const auto start = Clock::now();
    for (int k = 0; k < o_.requests; ++k) {
      const auto scheduled = start + report.arrivals[static_cast<std::size_t>(k)];
      await(scheduled);
      report.max_lag = std::max<nanoseconds>(report.max_lag, submit(k, scheduled));
    }
    finish();
    std::int64_t last = 0;
    for (const Ready& r : ready_) {
      report.latencies.push_back(r.latency);
      report.late += o_.deadline.count() > 0 && r.latency > o_.deadline;
      report.wrong += !r.right;
      last = std::max(last, r.end_ns);
    }
    const double seconds =
        static_cast<double>(last - (start + report.arrivals.front()).time_since_epoch().count()) * 1e-9;
    report.achieved_per_s = o_.requests / seconds;
    report.goodput_per_s = (o_.requests - report.late) / seconds;
    const SessionStats stats = session_->stats();
    const std::uint64_t runs = o_.max_batch == 1 ? stats.completed : stats.batches;
    report.mean_batch = runs > 0 ? static_cast<double>(stats.completed) / static_cast<double>(runs) : 0;
  }

 private:
  struct Ready {
    nanoseconds latency{0};
    std::int64_t end_ns = 0;
    bool right = false;
  };

  /// Sleeps, and on a real clock polls at the end: a thread that slept wakes up late.
  void await(Clock::time_point moment) const {
    const nanoseconds early = std::chrono::microseconds(simulated_ ? 0 : 100);
    sched::sleep_until(moment - early);
    while (Clock::now() < moment) sched::poll_pause(false);
  }
  /// How far behind the schedule the session took it.
  nanoseconds submit(int k, Clock::time_point scheduled) {
    const auto shown = static_cast<std::uint64_t>(k == o_.broken_request ? k + 1 : k);
    SubmitOptions how{.tag = static_cast<std::uint64_t>(k),
                      .callback = [this, scheduled](Ticket ticket) { answer(std::move(ticket), scheduled); }};
    if (o_.max_batch == 1) {
      InputLease in = session_->acquire(shapes_);
      frames_.write(shown, in);
      static_cast<void>(session_->submit(std::move(in), std::move(how)));
    } else {
      std::vector<NamedView> views;
      for (const NamedTensor& t : frames_.image(shown)) views.push_back({t.name, t.tensor.view()});
      static_cast<void>(session_->submit(views, std::move(how)));
    }
    return Clock::now() - scheduled;
  }
  /// One at a time.
  void answer(Ticket ticket, Clock::time_point scheduled) {
    try {
      const OutputLease out = ticket.get();
      const Latency latency(out, scheduled.time_since_epoch().count());
      ready_[out.tag()] = {latency.value(), latency.end_ns(),
                           frames_.judge(out.tag(), out) == Frames::Verdict::right};
    } catch (...) {
      if (!failure_) failure_ = std::current_exception();
    }
  }
  void finish() {
    session_->close();
    if (failure_) std::rethrow_exception(failure_);
  }

  const Frames& frames_;
  const ShapeMap& shapes_;
  const ServeOptions& o_;
  bool simulated_;
  std::vector<Ready> ready_;
  std::exception_ptr failure_;
  std::optional<Session> session_;  ///< last: its callbacks use the others
};

void check_options(const ServeOptions& o) {
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) throw Error(ErrorCode::invalid_argument, "serve: " + what);
  };
  require(o.requests >= 1 && o.requests <= 10'000'000, "requests must be 1 to 10000000");
  require(o.rate >= 0 && o.rate <= 1e7,
          "rate must be 0 (a share of the closed loop's) to 10000000 per second");
  require(o.load > 0 && o.load <= 100, "load must be above 0, and at most 100");
  require(o.max_batch >= 1 && o.max_batch <= 4096, "max_batch must be 1 to 4096");
  require(o.slots >= 1 && o.slots <= 4096, "slots must be 1 to 4096");
  require(o.max_delay.count() >= 0 && o.deadline.count() >= 0, "times must not be negative");
}

}  // namespace
}  // namespace workload

ServeReport run_serve(const ServeOptions& options) {
  using namespace workload;
  check_options(options);
  const Site site(options.target, options.max_batch);
  ServeReport report;
  static_cast<WorkloadRun&>(report) = site.begin();
  site.run([&] {
    const Placed placed = site.place(site.plan(), {});
    const Engine engine = Engine::from(placed.engine);
    report.shapes = one_item(site, engine, options.max_batch);
    const Frames frames(engine, report.shapes, options.target.seed, options.requests);
    report.closed_per_s = Server(engine, frames, report.shapes, options, site.simulated()).closed_loop();
    report.offered_per_s = options.rate > 0 ? options.rate : options.load * report.closed_per_s;
    report.arrivals = schedule(report.offered_per_s, options.requests, options.target.seed);
    Server(engine, frames, report.shapes, options, site.simulated()).open_loop(report);
  });
  return report;
}

std::string to_text(const ServeReport& r) {
  const Summary s = summarize(r.latencies);
  std::string text = workload::where(r) + "; tracing off\n";
  text += fmt::format("closed loop {:.2f} requests/s\n", r.closed_per_s);
  text += fmt::format(
      "open loop   {:.2f} requests/s offered ({:.1f} % of the closed loop's), {:.2f} answered, n "
      "= {}; {:.2f} in a batch\n",
      r.offered_per_s, 100 * r.offered_per_s / r.closed_per_s, r.achieved_per_s, s.n, r.mean_batch);
  text += fmt::format("latency     p50 {}  p90 {}  p99 {}  max {}, from the scheduled arrival\n",
                      to_text(s.median), to_text(s.p90), to_text(s.p99), to_text(s.max));
  text += fmt::format(
      "goodput     {:.2f} requests/s within the deadline ({:.1f} % of the closed loop's), {} "
      "late, {} wrong\n",
      r.goodput_per_s, 100 * r.goodput_per_s / r.closed_per_s, r.late, r.wrong);
  text += fmt::format("behind      at most {} between a scheduled arrival and its submit's return\n",
                      to_text(r.max_lag));
  return text;
}

}  // namespace headrace
