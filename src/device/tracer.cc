#include "device/tracer.h"

#include <algorithm>
#include <deque>
#include <map>

#include "base/hooks.h"
#include "base/sched.h"

namespace headrace {

std::string_view to_string(TraceEngine engine) {
  constexpr std::string_view kNames[] = {"host", "upload", "compute", "download", "copy"};
  return kNames[static_cast<std::size_t>(engine)];
}

namespace {

/// Work whose times are not yet known.
struct Pending {
  TraceSpan span;
  EventRef begin, end;
};

class Log {
 public:
  static constexpr std::size_t kMaxPending =
      4096;  ///< then the older half, long awaited by its users, is read

  explicit Log(DeviceRef device) : device_(std::move(device)), base_(device_->make_event({.timing = true})) {
    const auto stream = device_->make_stream({.name = "trace", .inline_execution = true});
    stream->record(*base_);
    stream->synchronize();
    start_ = sched::Clock::now();
    ranges().add(this);
  }
  ~Log() { ranges().remove(this); }

  double now_us() const {
    return std::chrono::duration<double, std::micro>(sched::Clock::now() - start_).count();
  }
  EventRef take_event() {
    {
      sched::LockGuard lock(mutex_);
      if (!free_.empty()) {
        EventRef event = std::move(free_.back());
        free_.pop_back();
        return event;
      }
    }
    return device_->make_event({.timing = true});
  }
  void add(Pending work) {
    std::size_t full = 0;
    {
      sched::LockGuard lock(mutex_);
      if (known_.size() + pending_.size() >= Tracer::kMaxSpans) {
        ++dropped_;
        free_.push_back(std::move(work.begin));
        free_.push_back(std::move(work.end));
        return;
      }
      pending_.push_back(std::move(work));
      if (pending_.size() >= kMaxPending) full = kMaxPending / 2;
    }
    read(full);
  }
  void add_range(std::string_view name, sched::Clock::time_point begin, std::uint64_t sequence) noexcept {
    try {
      const double end = now_us();
      const double from = std::chrono::duration<double, std::micro>(begin - start_).count();
      sched::LockGuard lock(mutex_);
      if (known_.size() + pending_.size() >= Tracer::kMaxSpans)
        ++dropped_;
      else
        known_.push_back({std::string(name), thread_name(), TraceEngine::host, from, end, sequence, 0});
    } catch (const std::exception&) {  // out of memory: a span is lost, the program goes on
    }
  }
  std::vector<TraceSpan> spans() {
    read(SIZE_MAX);
    sched::LockGuard lock(mutex_);
    std::vector<TraceSpan> result = known_;
    std::stable_sort(result.begin(), result.end(),
                     [](const TraceSpan& a, const TraceSpan& b) { return a.begin_us < b.begin_us; });
    return result;
  }
  std::uint64_t dropped() const {
    sched::LockGuard lock(mutex_);
    return dropped_;
  }

 private:
  /// Hooks are process-wide, and ranges may be open when a log goes, in whatever order: the newest log hears.
  class Ranges final : public hooks::RangeObserver {
   public:
    void add(Log* log) {
      sched::LockGuard lock(mutex_);
      logs_.push_back(log);
      hooks::set_range_observer(this);
    }
    void remove(Log* log) {
      sched::LockGuard lock(mutex_);
      std::erase(logs_, log);
      if (logs_.empty()) hooks::set_range_observer(nullptr);
    }
    void on_range(std::string_view name, sched::Clock::time_point begin,
                  std::uint64_t sequence) noexcept override {
      sched::LockGuard lock(mutex_);
      if (!logs_.empty()) logs_.back()->add_range(name, begin, sequence);
    }

   private:
    sched::Mutex mutex_{"tracer.ranges"};
    std::vector<Log*> logs_;
  };
  static Ranges& ranges() {
    static Ranges instance;
    return instance;
  }
  std::string thread_name() {
    const auto [it, added] = threads_.try_emplace(sched::this_thread_id(), threads_.size());
    return "host thread " + std::to_string(it->second);
  }
  /// Asks the device for the times of the `count` oldest pieces of work.
  void read(std::size_t count) {
    for (; count > 0; --count) {
      Pending work;
      {
        sched::LockGuard lock(mutex_);
        if (pending_.empty()) return;
        work = std::move(pending_.front());
        pending_.pop_front();
      }
      try {
        const auto begin = device_->elapsed_us(*base_, *work.begin);
        const auto took = device_->elapsed_us(*work.begin, *work.end);
        if (begin && took) {
          work.span.begin_us = *begin;
          work.span.end_us = *begin + *took;
          sched::LockGuard lock(mutex_);
          known_.push_back(std::move(work.span));
        }
      } catch (const Error&) {  // failed work has no times; its user hears of it elsewhere
      }
      sched::LockGuard lock(mutex_);
      free_.push_back(std::move(work.begin));
      free_.push_back(std::move(work.end));
    }
  }

  DeviceRef device_;
  EventRef base_;
  sched::Clock::time_point start_;
  mutable sched::Mutex mutex_{"tracer"};
  std::vector<EventRef> free_;
  std::deque<Pending> pending_;
  std::vector<TraceSpan> known_;
  std::map<std::uint64_t, std::size_t> threads_;
  std::uint64_t dropped_ = 0;
};

/// True while the calling thread makes a recording: nothing runs then.
thread_local int t_recording = 0;

class TracedStream final : public Stream {
 public:
  TracedStream(std::unique_ptr<Stream> inner, std::shared_ptr<Log> log, const std::string& name)
      : inner_(std::move(inner)), log_(std::move(log)), track_("stream " + name) {}
  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) override {
    traced(kernel.name(), TraceEngine::compute, 0, [&] { inner_->launch(kernel, operands, workspace); });
  }
  void copy(const Operand& dst, const Operand& src) override {
    const auto on_device = [](const Operand& o) {
      return o.buffer && o.buffer->kind() == MemoryKind::device;
    };
    const bool to = on_device(dst), from = on_device(src);
    const TraceEngine engine = to == from ? TraceEngine::copy
                               : to       ? TraceEngine::upload
                                          : TraceEngine::download;
    traced(to_string(engine), engine, dst.size, [&] { inner_->copy(dst, src); });
  }
  void record(Event& event) override { inner_->record(event); }
  void wait(Event& event) override { inner_->wait(event); }
  void start_item() override { inner_->start_item(); }
  void synchronize() override { inner_->synchronize(); }
  std::unique_ptr<Recording> make_recording(const std::function<void()>& work) override {
    return inner_->make_recording([&] {
      ++t_recording;
      try {
        work();
      } catch (...) {
        --t_recording;
        throw;
      }
      --t_recording;
    });
  }
  void replay(Recording& recording) override {
    traced("replay", TraceEngine::compute, 0, [&] { inner_->replay(recording); });
  }
  NativeStream native() const override { return inner_->native(); }

 private:
  template <class Work>
  void traced(std::string_view name, TraceEngine engine, std::size_t size, const Work& work) {
    if (t_recording > 0) return work();
    Pending pending{{std::string(name), track_, engine, 0, 0, hooks::current_sequence(), size},
                    log_->take_event(),
                    log_->take_event()};
    inner_->record(*pending.begin);
    work();
    inner_->record(*pending.end);
    log_->add(std::move(pending));
  }
  std::unique_ptr<Stream> inner_;
  std::shared_ptr<Log> log_;
  std::string track_;
};

class TracedDevice final : public Tracer {
 public:
  explicit TracedDevice(DeviceRef inner) : inner_(std::move(inner)), log_(std::make_shared<Log>(inner_)) {}
  std::string_view kind() const override { return inner_->kind(); }
  std::string model() const override { return inner_->model(); }
  int ordinal() const override { return inner_->ordinal(); }
  BufferRef allocate(std::size_t size_bytes, MemoryKind kind, MemoryUse use) override {
    return inner_->allocate(size_bytes, kind, use);
  }
  BufferRef wrap(std::byte* data, std::size_t size_bytes, std::shared_ptr<const void> owner,
                 MemoryKind kind) override {
    return inner_->wrap(data, size_bytes, std::move(owner), kind);
  }
  std::unique_ptr<Stream> make_stream(const StreamOptions& options) override {
    return std::make_unique<TracedStream>(inner_->make_stream(options), log_, options.name);
  }
  std::unique_ptr<Stream> wrap_stream(NativeStream native, const StreamOptions& options) override {
    return std::make_unique<TracedStream>(inner_->wrap_stream(native, options), log_, options.name);
  }
  EventRef make_event(const EventOptions& options) override { return inner_->make_event(options); }
  std::shared_ptr<void> enter() override { return inner_->enter(); }
  bool can_record() const override { return inner_->can_record(); }
  std::optional<double> elapsed_us(Event& begin, Event& end) override {
    return inner_->elapsed_us(begin, end);
  }
  bool alive() const override { return inner_->alive(); }
  bool unified_memory() const override { return inner_->unified_memory(); }
  MemoryStats memory() const override { return inner_->memory(); }
  std::optional<double> clock_mhz() const override { return inner_->clock_mhz(); }
  std::vector<TraceSpan> spans() override { return log_->spans(); }
  std::uint64_t dropped() const override { return log_->dropped(); }

 private:
  DeviceRef inner_;
  std::shared_ptr<Log> log_;
};

}  // namespace

std::shared_ptr<Tracer> make_tracer(DeviceRef inner) {
  return std::make_shared<TracedDevice>(std::move(inner));
}

TraceSummary summarize(const std::vector<TraceSpan>& spans) {
  // A sweep over begins and ends: how many spans of each engine are open.
  struct Edge {
    double at;
    int change;
    TraceEngine engine;
  };
  std::vector<Edge> edges;
  for (const TraceSpan& s : spans) {
    if (s.engine == TraceEngine::host || s.end_us <= s.begin_us) continue;
    edges.push_back({s.begin_us, 1, s.engine});
    edges.push_back({s.end_us, -1, s.engine});
  }
  std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.at < b.at; });
  TraceSummary result;
  if (edges.empty()) return result;
  result.total_us = edges.back().at - edges.front().at;
  int open[5] = {};
  double before = edges.front().at;
  for (const Edge& e : edges) {
    const double passed = e.at - before;
    before = e.at;
    const auto busy = [&](TraceEngine engine) { return open[static_cast<std::size_t>(engine)] > 0; };
    if (busy(TraceEngine::upload)) result.upload_us += passed;
    if (busy(TraceEngine::compute)) result.compute_us += passed;
    if (busy(TraceEngine::download)) result.download_us += passed;
    if (busy(TraceEngine::upload) + busy(TraceEngine::compute) + busy(TraceEngine::download) > 1)
      result.overlap_us += passed;
    open[static_cast<std::size_t>(e.engine)] += e.change;
  }
  return result;
}

}  // namespace headrace
