#include "pipeline/edge.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "pipeline/session_core.h"

namespace headrace::pipeline {

namespace {

std::exception_ptr cancelled() {
  return std::make_exception_ptr(
      Error(ErrorCode::cancelled, "the pipeline was closed before this item was done"));
}

}  // namespace

Edge::Edge(const EdgeOptions& options, GiveUp give_up) : options_(options), give_up_(std::move(give_up)) {}

void Edge::note_depth(std::int64_t now) {
  if (changed_ns_ != 0)
    depth_ns_ += static_cast<double>(now - changed_ns_) * static_cast<double>(queue_.size());
  if (first_ns_ == 0) first_ns_ = now;
  changed_ns_ = now;
}

bool Edge::push(FlowItem&& item) {
  std::vector<FlowItem> dropped;  // they go without the lock
  std::exception_ptr why;
  {
    sched::UniqueLock lock(mutex_);
    if (options_.overflow == Overflow::block)
      room_.wait(lock, [&] { return queue_.size() < options_.capacity || cancelled_; });
    const bool full = queue_.size() >= options_.capacity;
    if (!cancelled_ && full && options_.overflow == Overflow::reject) return false;
    if (cancelled_) {
      dropped.push_back(std::move(item));
      why = cancelled();
    } else {
      const std::int64_t now = now_ns();
      note_depth(now);
      if (full && options_.overflow == Overflow::drop_newest) {
        dropped.push_back(std::move(item));
      } else {
        const std::size_t keep = options_.overflow == Overflow::latest        ? 0
                                 : options_.overflow == Overflow::drop_oldest ? options_.capacity - 1
                                                                              : SIZE_MAX;
        for (; queue_.size() > keep; queue_.pop_front()) dropped.push_back(std::move(queue_.front().item));
        queue_.push_back({std::move(item), now});
        max_depth_ = std::max(max_depth_, queue_.size());
        items_.notify_one();
      }
      dropped_ += dropped.size();
    }
  }
  if (!dropped.empty() && !why)
    why = std::make_exception_ptr(
        Error(ErrorCode::dropped, "dropped for another item: the edge is full (overflow policy)"));
  for (const FlowItem& lost : dropped) give_up_(lost.info, why);
  return true;
}

bool Edge::pop(FlowItem& item, std::uint64_t& index) {
  sched::UniqueLock lock(mutex_);
  items_.wait(lock, [&] { return !queue_.empty() || closed_; });
  if (queue_.empty()) return false;
  const std::int64_t now = now_ns();
  note_depth(now);
  const std::int64_t age = now - queue_.front().since_ns;
  age_ns_ += age;
  max_age_ns_ = std::max(max_age_ns_, age);
  item = std::move(queue_.front().item);
  queue_.pop_front();
  index = popped_++;
  room_.notify_one();
  return true;
}

void Edge::close() {
  sched::LockGuard lock(mutex_);
  closed_ = true;
  items_.notify_all();
}

void Edge::cancel() {
  std::deque<Waiting> left;
  {
    sched::LockGuard lock(mutex_);
    cancelled_ = true;
    note_depth(now_ns());
    left.swap(queue_);
    room_.notify_all();
  }
  for (const Waiting& waiting : left) give_up_(waiting.item.info, cancelled());
}

EdgeReport Edge::report(std::int64_t now) const {
  sched::LockGuard lock(mutex_);
  EdgeReport r;
  r.capacity = options_.capacity;
  r.depth = queue_.size();
  r.max_depth = max_depth_;
  if (now > first_ns_ && first_ns_ != 0)
    r.mean_depth = (depth_ns_ + static_cast<double>(std::max<std::int64_t>(0, now - changed_ns_)) *
                                    static_cast<double>(queue_.size())) /
                   static_cast<double>(now - first_ns_);
  if (popped_ > 0) r.mean_age_ms = static_cast<double>(age_ns_) * 1e-6 / static_cast<double>(popped_);
  r.max_age_ms = static_cast<double>(max_age_ns_) * 1e-6;
  r.passed = popped_;
  r.dropped = dropped_;
  return r;
}

}  // namespace headrace::pipeline
