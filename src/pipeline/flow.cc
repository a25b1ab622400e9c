#include "pipeline/flow.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "pipeline/inside.h"
#include "pipeline/session_core.h"

namespace headrace::pipeline {

Flow::Flow(std::vector<detail::StageSpec> stages, PipelineOptions options) : options_(std::move(options)) {
  for (detail::StageSpec& spec : stages) {
    if (spec.options.workers < 1 || spec.options.workers > 1024)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("stage '{}' has {} workers; use 1 to 1024", spec.name, spec.options.workers));
    if (spec.options.input.capacity < 1)
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("the edge before stage '{}' holds no item; use a capacity of 1 or more", spec.name));
    const std::size_t position = stages_.size();
    if (spec.session)
      stages_.push_back(std::make_unique<SessionStage>(*this, position, std::move(spec)));
    else
      stages_.push_back(std::make_unique<FunctionStage>(*this, position, std::move(spec)));
  }
  for (const auto& stage : stages_) stage->start();
}

Flow::~Flow() { close(options_.closing); }

std::uint64_t Flow::push(detail::Payload payload, const PushOptions& options) {
  if (Inside<PipelineOptions>::of(&options_))
    throw Error(
        ErrorCode::misuse,
        "a pipeline's on_failure cannot push into it: it may be what makes room; push on another thread");
  sched::LockGuard one(push_mutex_);  // items enter in the order of their numbers
  ItemInfo info{.tag = options.tag, .sequence = 0, .pushed_ns = now_ns()};
  {
    sched::LockGuard lock(mutex_);
    if (closing_) throw Error(ErrorCode::misuse, "the pipeline is closed");
    info.sequence = pushed_++;
    if (first_ns_ == 0) first_ns_ = info.pushed_ns;
  }
  if (!stages_.front()->input().push({std::move(payload), info})) {
    sched::LockGuard lock(mutex_);
    --pushed_;
    throw Error(
        ErrorCode::rejected,
        fmt::format("the edge before stage '{}' is full (overflow policy: reject)", stages_.front()->name()));
  }
  return info.sequence;
}

void Flow::close(Closing how) {
  if (Inside<Flow>::of(this))
    throw Error(ErrorCode::misuse,
                "a pipeline cannot be closed by its own stages or on_failure; close it on another thread");
  sched::LockGuard one(close_mutex_);
  if (closed_) return;
  {
    sched::LockGuard lock(mutex_);
    closing_ = true;
  }
  if (how == Closing::cancel)
    for (const auto& stage : stages_) stage->input().cancel();
  { sched::LockGuard pushes(push_mutex_); }  // who was pushing is through
  for (const auto& stage : stages_) {
    stage->input().close();
    stage->join();
  }
  closed_ = true;
}

void Flow::forward(std::size_t position, FlowItem&& item) {
  if (position + 1 < stages_.size()) {
    const ItemInfo info = item.info;
    if (!stages_[position + 1]->input().push(std::move(item)))
      fail(
          position + 1, info,
          std::make_exception_ptr(Error(
              ErrorCode::rejected, fmt::format("the edge before stage '{}' is full (overflow policy: reject)",
                                               stages_[position + 1]->name()))));
    return;
  }
  sched::LockGuard lock(mutex_);
  ++arrived_;
  last_ns_ = now_ns();
  const std::int64_t latency = last_ns_ - item.info.pushed_ns;
  latency_ns_ += latency;
  max_latency_ns_ = std::max(max_latency_ns_, latency);
}

void Flow::fail(std::size_t position, const ItemInfo& info, std::exception_ptr error) {
  {
    sched::LockGuard lock(mutex_);
    ++failed_;
    last_ns_ = now_ns();
  }
  if (!options_.on_failure) return;
  sched::LockGuard one(failure_mutex_);
  const Inside<Flow> inside(this);
  const Inside<PipelineOptions> inside_on_failure(&options_);
  try {
    options_.on_failure({stages_[position]->name(), info, std::move(error)});
  } catch (const std::exception& e) {
    log(LogSeverity::error, fmt::format("a pipeline's on_failure threw: {}", e.what()));
  } catch (...) {
    log(LogSeverity::error, "a pipeline's on_failure threw something that is not a std::exception");
  }
}

// --- report

PipelineReport Flow::report() const {
  PipelineReport r;
  std::int64_t now = now_ns();
  {
    sched::LockGuard lock(mutex_);
    if (closing_ && last_ns_ != 0) now = last_ns_;
    r.seconds = first_ns_ == 0 ? 0 : static_cast<double>(now - first_ns_) * 1e-9;
    r.pushed = pushed_;
    r.arrived = arrived_;
    r.failed = failed_;
    if (arrived_ > 0)
      r.mean_latency_ms = static_cast<double>(latency_ns_) * 1e-6 / static_cast<double>(arrived_);
    r.max_latency_ms = static_cast<double>(max_latency_ns_) * 1e-6;
  }
  for (const auto& stage : stages_) r.stages.push_back(stage->report(now, r.seconds));
  return r;
}

}  // namespace headrace::pipeline

namespace headrace {

const StageReport* PipelineReport::slowest() const {
  const StageReport* worst = nullptr;
  for (const StageReport& stage : stages)
    if (stage.items > 0 && (!worst || stage.busy_share > worst->busy_share)) worst = &stage;
  return worst;
}

std::string PipelineReport::text() const {
  std::string text =
      fmt::format("{:<16} {:>7} {:>8} {:>7} {:>6} {:>9}   {:>11} {:>9} {:>9} {:>7}\n", "stage", "workers",
                  "items", "failed", "busy", "ms/item", "edge depth", "max", "age ms", "dropped");
  for (const StageReport& s : stages)
    text +=
        fmt::format("{:<16} {:>7} {:>8} {:>7} {:>5.1f}% {:>9.3f}   {:>8.1f}/{:<2} {:>9} {:>9.3f} {:>7}\n",
                    s.name, s.workers, s.items, s.failed, s.busy_share * 100, s.mean_ms, s.input.mean_depth,
                    s.input.capacity, s.input.max_depth, s.input.mean_age_ms, s.input.dropped);
  text += fmt::format("{} items in {:.3f} s, {} arrived, {} failed; latency mean {:.3f} ms, max {:.3f} ms\n",
                      pushed, seconds, arrived, failed, mean_latency_ms, max_latency_ms);
  if (const StageReport* s = slowest())
    text += fmt::format("slowest stage: '{}', busy for {:.1f} % of the time\n", s->name, s->busy_share * 100);
  return text;
}

namespace detail {

PipelineHandle::PipelineHandle(std::vector<StageSpec> stages, PipelineOptions options)
    : flow_(std::make_unique<pipeline::Flow>(std::move(stages), std::move(options))) {}
PipelineHandle::PipelineHandle(PipelineHandle&&) noexcept = default;
PipelineHandle::~PipelineHandle() = default;
std::uint64_t PipelineHandle::push(Payload item, const PushOptions& options) {
  return flow_->push(std::move(item), options);
}
void PipelineHandle::close() { flow_->close(flow_->closing()); }
void PipelineHandle::close(Closing how) { flow_->close(how); }
PipelineReport PipelineHandle::report() const { return flow_->report(); }

}  // namespace detail
}  // namespace headrace
