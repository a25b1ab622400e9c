#include <algorithm>
#include <cstring>
#include <exception>

#include <fmt/format.h>

#include <headrace/camera.h>
#include <headrace/error.h>
#include <headrace/latency.h>
#include <headrace/pipeline.h>

#include "ladder/rig.h"
#include "workload/camera_memory.h"
#include "workload/frames.h"
#include "workload/site.h"
#include "workload/units.h"

namespace headrace {
namespace workload {
namespace {

using sched::Clock;
using std::chrono::nanoseconds;

/// The camera, the way there, and the one who looks at results.
class Loop {
 public:
  Loop(const Engine& engine, const ShapeMap& shapes, const Frames& frames, const CameraOptions& options)
      : engine_(engine), shapes_(shapes), frames_(frames), o_(options) {}

  nanoseconds preprocess{0};

  /// Median of one inference, from a written input to a held result.
  nanoseconds alone() {
    Session session(engine_);
    session.prepare(shapes_);
    std::vector<nanoseconds> times;
    for (int k = 0; k < 13; ++k) {
      InputLease in = session.acquire(shapes_);
      frames_.write(static_cast<std::uint64_t>(k), in);
      Ticket ticket = session.submit(std::move(in));
      const OutputLease out = ticket.get();
      if (k >= 3) times.push_back(Latency(out).value());
    }
    return summarize(times).median;
  }

  CameraWay blocking() {
    begin("blocking");
    Session session(engine_, {.slots = o_.slots});
    session.prepare(shapes_);
    start();
    for (int k = 0; k < o_.frames; ++k) {
      const auto came = await(k);
      if (o_.fps > 0 && o_.overflow != Overflow::block && k + 1 < o_.frames &&
          came_at(k + 1) < Clock::now()) {
        ++way_.dropped;  // a newer one is there
        continue;
      }
      InputLease in = session.acquire(shapes_);
      prepare(k, in);
      Ticket ticket = session.submit(std::move(in));
      const OutputLease out = ticket.get();
      deliver(came, frames_.judge(static_cast<std::uint64_t>(k), out));
    }
    return end();
  }

  CameraWay pipelined(std::string& slowest) {
    begin("pipelined");
    Session session(engine_, {.slots = o_.slots});
    session.prepare(shapes_);
    std::exception_ptr failure;
    struct Frame {
      int k = 0;
      Clock::time_point came;
    };
    auto pipeline =
        make_pipeline<Frame>({.capacity = 2, .overflow = o_.overflow},
                             {.on_failure =
                                  [&](const ItemFailure& f) {
                                    try {
                                      std::rethrow_exception(f.error);
                                    } catch (const Error& e) {
                                      if (e.code() == ErrorCode::dropped || e.code() == ErrorCode::rejected)
                                        ++way_.dropped;
                                      else
                                        failure = f.error;
                                    } catch (...) {
                                      failure = f.error;
                                    }
                                  }})
            .infer("network", session, shapes_,
                   [&](const Frame& frame, InputLease& in) { prepare(frame.k, in); })
            .sink("results", [&](const Inferred<Frame>& r) {
              deliver(r.item.came, frames_.judge(static_cast<std::uint64_t>(r.item.k), r.output));
            });
    start();
    for (int k = 0; k < o_.frames; ++k) {
      const auto came = await(k);
      try {
        pipeline.push({k, came}, {.tag = static_cast<std::uint64_t>(k)});
      } catch (const Error& e) {
        if (e.code() != ErrorCode::rejected) throw;
        ++way_.dropped;
      }
    }
    pipeline.close();
    if (failure) std::rethrow_exception(failure);
    const PipelineReport report = pipeline.report();
    if (const StageReport* stage = report.slowest())
      slowest = fmt::format("{}, busy {:.0f} % of the time", stage->name, 100 * stage->busy_share);
    return end();
  }

  /// The loop with the wait left out, on one set of buffers: what is read is whatever lies there. Only where
  /// late effects are certain: on the simulated machine.
  CameraWay unawaited() {
    begin("un-awaited");
    runtime::Context context(engine_.data());
    const runtime::Prepared& prepared = context.prepare(shapes_);
    Device& device = engine_.data()->device();
    const CameraBuffers buffers(device, prepared, CameraBuffers::Kind::arena);
    buffers.bind(context);
    const auto stream = device.make_stream({.name = "camera"});
    std::vector<EventRef> queue;  // what a device takes before a call waits for room
    for (int i = 0; i < 32; ++i) queue.push_back(device.make_event());
    start();
    for (int k = 0; k < o_.frames; ++k) {
      const auto came = await(k);
      sched::sleep_for(preprocess);
      buffers.write(frames_.image(static_cast<std::uint64_t>(k)));
      Event& done = *queue[static_cast<std::size_t>(k) % queue.size()];
      if (static_cast<std::size_t>(k) >= queue.size()) done.wait();
      context.enqueue(*stream, done);
      deliver(came, frames_.judge(static_cast<std::uint64_t>(k), buffers.outputs(prepared)));
    }
    CameraWay way = end();
    stream->synchronize();
    return way;
  }

 private:
  void begin(const char* name) { way_ = {.name = name, .ages = {}}; }
  void start() { start_ = last_ = Clock::now(); }
  Clock::time_point came_at(int k) const {
    return o_.fps > 0 ? start_ + nanoseconds(static_cast<std::int64_t>(k * 1e9 / o_.fps)) : Clock::now();
  }
  Clock::time_point await(int k) const {
    const auto came = came_at(k);
    if (o_.fps > 0) sched::sleep_until(came);
    return came;
  }
  void prepare(int k, const InputLease& in) const {
    sched::sleep_for(preprocess);
    frames_.write(static_cast<std::uint64_t>(k == o_.broken_frame ? k + 1 : k), in);
  }
  /// By one thread at a time.
  void deliver(Clock::time_point came, Frames::Verdict verdict) {
    last_ = Clock::now();
    ++way_.delivered;
    way_.wrong += verdict == Frames::Verdict::wrong;
    way_.torn += verdict == Frames::Verdict::torn;
    way_.ages.push_back(last_ - came);
  }
  CameraWay end() {
    const double seconds = std::chrono::duration<double>(last_ - start_).count();
    way_.frames_per_s = seconds > 0 ? way_.delivered / seconds : 0;
    return std::move(way_);
  }

  const Engine& engine_;
  const ShapeMap& shapes_;
  const Frames& frames_;
  const CameraOptions& o_;
  CameraWay way_;
  Clock::time_point start_, last_;
};

void check_options(const CameraOptions& o) {
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) throw Error(ErrorCode::invalid_argument, "camera: " + what);
  };
  require(o.frames >= 2 && o.frames <= 1'000'000, "frames must be 2 to 1000000");
  require(o.fps >= 0 && o.fps <= 1e6, "fps must be 0 (as fast as possible) to 1000000");
  require(o.preprocess_ms <= 60'000, "pre-processing takes at most 60000 ms");
  require(o.slots >= 1 && o.slots <= 4096, "slots must be 1 to 4096");
  for (const std::string& name : o.compare)
    require(find_camera_memory(name).has_value(),
            fmt::format("there is no kind of memory '{}'; use {}", name, camera_memory_names()));
}

}  // namespace
}  // namespace workload

double CameraReport::ratio() const {
  return ways.size() > 1 && ways[0].frames_per_s > 0 ? ways[1].frames_per_s / ways[0].frames_per_s : 0;
}

int CameraReport::wrong() const {
  int sum = 0;
  for (const CameraWay& way : ways)
    if (way.name != "un-awaited") sum += way.wrong + way.torn;
  for (const CameraMemory& m : memory) sum += m.wrong;
  return sum;
}

CameraReport run_camera(const CameraOptions& options) {
  using namespace workload;
  check_options(options);
  const Site site(options.target, 0);
  CameraReport report;
  static_cast<WorkloadRun&>(report) = site.begin();
  report.frames = options.frames;
  report.fps = options.fps;
  const bool narrow =
      std::find(options.compare.begin(), options.compare.end(), "u8") != options.compare.end();
  const std::shared_ptr<const Plan> narrow_plan = narrow ? site.narrow_plan() : nullptr;
  site.run([&] {
    const Placed placed = site.place(site.plan(), {});
    const Engine engine = Engine::from(placed.engine);
    const Frames frames(engine, report.shapes, options.target.seed, options.frames);
    report.distinct = frames.count();
    Loop loop(engine, report.shapes, frames, options);
    report.inference = loop.alone();
    loop.preprocess = options.preprocess_ms < 0 ? report.inference : from_ms(options.preprocess_ms);
    report.preprocess = loop.preprocess;
    report.ways.push_back(loop.blocking());
    report.ways.push_back(loop.pipelined(report.slowest));
    if (site.simulated()) report.ways.push_back(loop.unawaited());
    for (const std::string& name : options.compare) {
      if (name == "u8") continue;
      report.memory.push_back(measure_camera_memory(name, engine, report.shapes, frames));
    }
  });
  if (narrow)
    site.run([&] {
      const Placed placed = site.place(narrow_plan, {});
      const Engine engine = Engine::from(placed.engine);
      const Frames frames(engine, report.shapes, options.target.seed, options.frames);
      report.memory.push_back(measure_camera_memory("u8", engine, report.shapes, frames));
    });
  return report;
}

}  // namespace headrace
