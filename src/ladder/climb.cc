// Runs the ladder: probes, then every rung for its results, its hazards and its times.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include <headrace/error.h>
#include <headrace/workload.h>

#include "api/registry.h"
#include "base/hooks.h"
#include "device/checker.h"
#include "device/timing.h"
#include "ladder/report.h"
#include "ladder/rungs.h"

namespace headrace::ladder {
namespace {

// Batches before and behind those of the run, so that the window begins and ends in full flow: more than any
// rung has in flight.
constexpr int kWarmUp = 16, kCooldown = 16;

/// Virtual time where the machine is simulated.
void in_time_of(const Machine& machine, std::uint64_t seed, const std::function<void()>& body) {
  if (!machine.spec) return body();
  in_virtual_time(seed, body);
}

// --- probes

double timed(const Machine& machine, const std::function<void()>& work) {
  std::vector<double> ms;
  for (int i = 0; i < (machine.spec ? 1 : 7); ++i) {
    const TimePoint begin = sched::Clock::now();
    work();
    ms.push_back(ms_between(begin, sched::Clock::now()));
  }
  return median(ms);
}

void probe_copies(const Machine& machine, LadderProbes& p) {
  for (const MemoryKind kind : {MemoryKind::host, MemoryKind::pinned}) {
    Rig rig(machine, Variant::fp32, kind, false);
    const auto stream = rig.stream("probe");
    const Io in = rig.make_inputs(MemoryKind::device), out = rig.make_outputs(MemoryKind::device);
    const Io host_out = rig.make_outputs(kind), staged = rig.make_inputs(MemoryKind::pinned);
    const auto up = [&] {
      Rig::copy(*stream, in, rig.batch(0));
      stream->synchronize();
    };
    const auto down = [&] {
      Rig::copy(*stream, host_out, out);
      stream->synchronize();
    };
    up();  // both once before they are timed
    down();
    (kind == MemoryKind::host ? p.upload_pageable_ms : p.upload_pinned_ms) = timed(machine, up);
    if (kind == MemoryKind::host) {
      p.staging_ms = timed(machine, [&] { rig.stage(staged, rig.batch(0)); });
      p.allocate_ms = timed(machine, [&] { static_cast<void>(rig.make_block()); });
      continue;
    }
    p.download_ms = timed(machine, down);
    p.upload_bytes = static_cast<std::int64_t>(in.size_bytes());
    p.download_bytes = static_cast<std::int64_t>(out.size_bytes());
    Delivery delivery(1);
    std::memset(host_out.buffers.front()->host_data(), 0, host_out.sizes.front());
    p.post_ms = timed(machine, [&] { rig.post(0, host_out, rig.rows(), delivery); });
  }
}

void probe_compute(const Machine& machine, Variant variant, LadderProbes& p) {
  Rig rig(machine, variant, MemoryKind::pinned, false);
  const auto stream = rig.stream("probe");
  const Io in = rig.make_inputs(MemoryKind::device), out = rig.make_outputs(MemoryKind::device);
  const auto up = [&] {
    Rig::copy(*stream, in, rig.batch(0));
    stream->synchronize();
  };
  up();
  if (variant == Variant::narrow) {
    p.upload_narrow_ms = timed(machine, up);
    return;
  }
  runtime::Context context = rig.make_context();
  context.prepare(rig.shapes(rig.rows()));
  const EventRef done = rig.event(), consumed = rig.event();
  Delivery delivery(1);
  const auto compute = [&] { Rig::enqueue(context, *stream, in, out, *done, consumed.get(), delivery); };
  compute();
  done->wait();
  const double ms = timed(machine, [&] {
    compute();
    done->wait();
  });
  (variant == Variant::fp32 ? p.compute_fp32_ms : p.compute_fp16_ms) = ms;
  if (variant == Variant::fp32) return;
  std::vector<double> consuming;
  for (int i = 0; i < (machine.spec ? 1 : 7); ++i) {
    const TimePoint begin = sched::Clock::now();
    compute();
    consumed->wait();
    consuming.push_back(ms_between(begin, sched::Clock::now()));
    done->wait();
  }
  p.consumed_ms = median(consuming);
}

// --- results

struct Difference {
  double error = 0;  ///< largest, over the largest finite magnitude of the other side
  std::int64_t rows = 0, agreeing = 0;
};

/// `actual` may have fewer rows than `expected`.
void compare(const Result& expected, const Result& actual, const std::vector<DType>& dtypes, double tolerance,
             Difference& d) {
  for (std::size_t o = 0; o < actual.outputs.size(); ++o) {
    const auto &a = expected.outputs[o], &b = actual.outputs[o];
    if (dtypes[o] != DType::f32) {
      if (!std::equal(b.begin(), b.end(), a.begin())) d.error = INFINITY;
      continue;
    }
    const std::size_t count = b.size() / sizeof(float);
    std::vector<float> x(count), y(count);
    std::memcpy(x.data(), a.data(), b.size());
    std::memcpy(y.data(), b.data(), b.size());
    double scale = 0;
    for (const float v : x) scale = std::max(scale, std::isfinite(v) ? std::abs(static_cast<double>(v)) : 0);
    for (std::size_t i = 0; i < count; ++i) {
      const double error = std::abs(static_cast<double>(x[i]) - y[i]);
      if (!(error <= scale * 1e30)) d.error = INFINITY;  // a NaN
      if (scale > 0) d.error = std::max(d.error, error / scale);
    }
  }
  double top = 0;
  for (const float m : expected.margin) top = std::max(top, static_cast<double>(m));
  for (std::size_t r = 0; r < actual.top.size(); ++r) {
    if (expected.margin[r] <= 2 * tolerance * top) continue;  // a near tie
    ++d.rows;
    d.agreeing += expected.top[r] == actual.top[r];
  }
}

// --- a rung

class Climber {
 public:
  explicit Climber(const Machine& machine) : machine_(machine), o_(machine.options) {}

  LadderRung climb(const Rung& rung) {
    LadderRung figures{.rung = rung.id, .name = rung.name};
    if (rung.variant != Variant::fp32 && !has_half(machine_.device)) figures.name += " (fp32: no fp16 here)";
    check(rung, figures);
    std::vector<double> ms;
    for (int r = 0; r < o_.repeat; ++r)
      ms.push_back(window(rung, o_.seed + static_cast<std::uint64_t>(r), figures));
    figures.repeats = o_.repeat;
    figures.ms_per_batch = median(ms);
    figures.p10_ms = percentile(ms, 0.1);
    figures.p90_ms = percentile(ms, 0.9);
    figures.images_per_s = 1000 * static_cast<double>(o_.batch) / figures.ms_per_batch;
    total(rung, figures);
    steady(rung, figures);
    return figures;
  }

 private:
  int lead(const Rung& rung) const { return rung.small_first ? o_.batches : 0; }

  /// Every output of every batch against rung 0's, under the hazard checker.
  void check(const Rung& rung, LadderRung& figures) {
    in_time_of(machine_, o_.seed, [&] {
      Rig rig(machine_, rung.variant, rung.batches, true);
      if (o_.break_rung == rung.id) rig.swap_batches();
      Delivery delivery(lead(rung) + o_.batches);
      delivery.keep = true;
      rung.run(rig, lead(rung) + o_.batches, delivery);
      figures.hazards = rig.engine->hazards();
      if (reference_.empty()) {
        reference_ = delivery.results;
        for (const runtime::IoInfo& io : rig.engine->outputs()) dtypes_.push_back(io.dtype);
      }
      const double tolerance = rung.variant == Variant::fp32 ? 1e-5 : 2e-2;
      Difference d;
      for (std::size_t k = 0; k < delivery.results.size(); ++k)
        compare(reference_[static_cast<std::size_t>(delivery.batch[k] % o_.batches)], delivery.results[k],
                dtypes_, tolerance, d);
      figures.max_error = d.error;
      figures.top1_agreement =
          d.rows == 0 ? 1 : static_cast<double>(d.agreeing) / static_cast<double>(d.rows);
      figures.outputs_equal = d.error <= tolerance && d.agreeing == d.rows;
    });
  }

  /// Milliseconds per batch of the window.
  double window(const Rung& rung, std::uint64_t seed, LadderRung& figures) {
    double result = 0;
    in_time_of(machine_, seed, [&] {
      Rig rig(machine_, rung.variant, rung.batches, false);
      const int last = lead(rung) + kWarmUp + o_.batches - 1, first = last + 1 - o_.timed;
      const int n = last + 1 + kCooldown;
      struct Reading {
        std::uint64_t allocations = 0, launches = 0;
      } begin, end;
      const auto read = [&](Reading& reading) {
        reading.allocations = rig.device().memory().allocations;
        if (!rig.sim) return;
        const sim::Counters c = rig.sim->counters();
        reading.launches = c.of(sim::Call::launch) + c.of(sim::Call::replay);
      };
      Delivery delivery(n);
      const std::string name = fmt::format("Total Elapsed Time({} batches)", o_.timed);
      std::optional<hooks::Range> shown;  // on the thread that delivers
      delivery.mark_at = first - 1;
      delivery.end_at = last;
      delivery.mark = [&] {
        read(begin);
        shown.emplace(name);
      };
      delivery.end = [&] {
        shown.reset();
        read(end);
        const MemoryStats memory = rig.device().memory();
        figures.io_bytes = static_cast<std::int64_t>(memory.current[static_cast<int>(MemoryUse::io)]);
        figures.activation_bytes =
            static_cast<std::int64_t>(memory.current[static_cast<int>(MemoryUse::activations)]);
      };
      rung.run(rig, n, delivery);
      const auto at = [](int k) { return static_cast<std::size_t>(k); };
      const TimePoint from = delivery.delivered[at(first - 1)], to = delivery.delivered[at(last)];
      // Contexts that share a device finish together: their results come in bunches, windows begin anywhere.
      for (int j = 0; j < rung.contexts; ++j)
        result += ms_between(delivery.delivered[at(first - 1 + j)], delivery.delivered[at(last + j)]) /
                  (o_.timed * rung.contexts);
      std::vector<double> latencies;
      for (int k = first; k <= last; ++k)
        latencies.push_back(ms_between(delivery.submitted[at(k)], delivery.delivered[at(k)]));
      figures.latency_ms = median(latencies);
      figures.enqueue_us =
          std::chrono::duration<double, std::micro>(delivery.enqueuing).count() / static_cast<double>(n);
      figures.allocations =
          static_cast<double>(end.allocations - begin.allocations + delivery.allocations_outside) / o_.timed;
      figures.busy_measured = rig.sim != nullptr;
      if (rig.sim) {
        figures.launches = static_cast<double>(end.launches - begin.launches) / o_.timed;
        const auto spans = rig.sim->timeline();
        figures.busy_upload = sim::busy_share(spans, sim::Engine::upload, from, to);
        figures.busy_compute = sim::busy_share(spans, sim::Engine::compute, from, to);
        figures.busy_download = sim::busy_share(spans, sim::Engine::download, from, to);
      } else {
        const bool one = rung.recorded && rig.device().can_record() && !rig.device().unified_memory();
        figures.launches = one ? 1 : static_cast<double>(rig.steps);
      }
    });
    return result;
  }

  void total(const Rung& rung, LadderRung& figures) {
    in_time_of(machine_, o_.seed, [&] {
      Rig rig(machine_, rung.variant, rung.batches, false);
      Delivery delivery(lead(rung) + o_.batches);
      rung.run(rig, lead(rung) + o_.batches, delivery);
      figures.total_ms =
          ms_between(delivery.submitted[static_cast<std::size_t>(lead(rung))], delivery.delivered.back());
    });
  }

  void steady(const Rung& rung, LadderRung& figures) {
    if (o_.steady < 1) return;
    in_time_of(machine_, o_.seed, [&] {
      Rig rig(machine_, rung.variant, rung.batches, false);
      const int first = lead(rung) + kWarmUp, n = first + o_.steady + kCooldown;
      Delivery delivery(n);
      rung.run(rig, n, delivery);
      figures.steady_ms = ms_between(delivery.delivered[static_cast<std::size_t>(first - 1)],
                                     delivery.delivered[static_cast<std::size_t>(first + o_.steady - 1)]) /
                          o_.steady;
    });
  }

  const Machine& machine_;
  const LadderOptions& o_;
  std::vector<Result> reference_;  ///< rung 0's
  std::vector<DType> dtypes_;
};

void check_options(const LadderOptions& o) {
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) throw Error(ErrorCode::invalid_argument, "ladder: " + what);
  };
  require(o.batch >= 1 && o.batch <= 1 << 20, "batch must be 1 to 1048576");
  require(o.batches >= 1 && o.batches <= 10'000, "batches must be 1 to 10000");
  require(o.timed >= 1 && o.timed <= o.batches,
          fmt::format("{} batches cannot be timed of {}", o.timed, o.batches));
  require(o.repeat >= 1 && o.repeat <= 10'000, "repeat must be 1 to 10000");
  require(o.steady >= 0 && o.steady <= 100'000, "steady must be 0 to 100000");
  require(o.device == "sim" || api::registry().find(o.device.substr(0, o.device.find(':'))) != nullptr,
          "there is no device '" + o.device + "'; use sim, cpu or cuda:0");
  require(o.device == "sim" || !o.onnx.empty(),
          "a model is needed on '" + o.device + "'; pass its ONNX file");
  require(o.device == "sim" || o.sim_spec.empty(),
          "figures for the simulator do not apply to '" + o.device + "'");
  const auto& list = rungs();
  require(o.break_rung.empty() ||
              std::any_of(list.begin(), list.end(), [&](const Rung& r) { return r.id == o.break_rung; }),
          "there is no rung '" + o.break_rung + "'");
}

}  // namespace
}  // namespace headrace::ladder

namespace headrace {

LadderReport run_ladder(const LadderOptions& options) {
  using namespace ladder;
  check_options(options);
  Machine machine{.options = options, .registry = &api::registry()};
  if (options.device == "sim") {
    machine.spec = options.sim_spec.empty() ? sim::Spec{} : sim::load_spec(options.sim_spec);
    machine.device = "reference";
  } else {
    machine.device = options.device;
  }
  for (const Variant v : {Variant::fp32, Variant::fp16, Variant::narrow})
    machine.plans[v] = make_plan(options, machine.device, v, *machine.registry);
  measure_io(machine);
  LadderReport report{.device = options.device};
  report.model = machine.spec ? "simulated machine" : machine.plans.at(Variant::fp32)->device_model;
  in_time_of(machine, options.seed, [&] { probe_copies(machine, report.probes); });
  for (const Variant v : {Variant::fp32, Variant::fp16, Variant::narrow})
    in_time_of(machine, options.seed, [&] { probe_compute(machine, v, report.probes); });
  Climber climber(machine);
  for (const Rung& rung : rungs()) {
    report.rungs.push_back(climber.climb(rung));
    LadderRung& figures = report.rungs.back();
    judge(report);
    if (!figures.busy_measured) {
      const LadderProbes& p = report.probes;
      const double up = rung.variant == Variant::narrow    ? p.upload_narrow_ms
                        : rung.batches == MemoryKind::host ? p.upload_pageable_ms
                                                           : p.upload_pinned_ms;
      const double compute = rung.variant == Variant::fp32 ? p.compute_fp32_ms : p.compute_fp16_ms;
      figures.busy_upload = std::min(1.0, up / figures.ms_per_batch);
      figures.busy_compute = std::min(1.0, compute / figures.ms_per_batch);
      figures.busy_download = std::min(1.0, p.download_ms / figures.ms_per_batch);
    }
    if (options.progress) options.progress(figures);
  }
  return report;
}

}  // namespace headrace
