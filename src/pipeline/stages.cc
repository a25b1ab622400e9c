#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/hooks.h"
#include "pipeline/flow.h"
#include "pipeline/inside.h"
#include "pipeline/session_core.h"

namespace headrace::pipeline {

Stage::Stage(Flow& flow, std::size_t position, detail::StageSpec spec)
    : flow_(flow),
      position_(position),
      spec_(std::move(spec)),
      input_(spec_.options.input, [this](const ItemInfo& info, std::exception_ptr error) {
        flow_.fail(position_, info, std::move(error));
      }) {}

void Stage::fail(const ItemInfo& info, std::exception_ptr error) {
  {
    sched::LockGuard lock(mutex_);
    ++failed_;
  }
  flow_.fail(position_, info, std::move(error));
}

void Stage::add_busy(std::int64_t ns, bool item) {
  sched::LockGuard lock(mutex_);
  busy_ns_ += ns;
  items_ += item;
}

bool Stage::attempt(const ItemInfo& info, const std::function<void()>& work) {
  const std::int64_t begin = now_ns();
  std::exception_ptr error;
  try {
    const hooks::Range range(spec_.name, info.sequence + 1);
    const Inside<Flow> inside(&flow_);
    work();
  } catch (...) {
    error = std::current_exception();
  }
  if (shares_workers_) add_busy(now_ns() - begin, true);
  if (!error) return true;
  fail(info, std::move(error));
  return false;
}

StageReport Stage::report(std::int64_t now, double seconds) const {
  StageReport r;
  r.name = spec_.name;
  r.workers = spec_.options.workers;
  r.input = input_.report(now);
  sched::LockGuard lock(mutex_);
  r.items = items_;
  r.failed = failed_;
  const double busy_seconds = static_cast<double>(busy_ns_) * 1e-9;
  if (seconds > 0) r.busy_share = busy_seconds / seconds / (shares_workers_ ? r.workers : 1);
  if (items_ > 0) r.mean_ms = busy_seconds * 1e3 / static_cast<double>(items_);
  return r;
}

// --- functions

FunctionStage::FunctionStage(Flow& flow, std::size_t position, detail::StageSpec spec)
    : Stage(flow, position, std::move(spec)),
      ordered_(spec_.options.ordered && spec_.options.workers > 1),
      window_(static_cast<std::size_t>(spec_.options.workers) * 2 + 2) {}

void FunctionStage::start() {
  for (int i = 0; i < spec_.options.workers; ++i) workers_.emplace_back(spec_.name, [this] { work(); });
}

void FunctionStage::join() {
  for (sched::Thread& worker : workers_) worker.join();
  workers_.clear();
}

void FunctionStage::work() {
  for (;;) {
    if (ordered_) {  // a slow item holds up those behind it: not more of them than fit into the window
      sched::UniqueLock lock(mutex_);
      moved_.wait(lock, [&] { return taken_ - next_ < window_.size(); });
      ++taken_;
    }
    std::optional<FlowItem> item(std::in_place);
    std::uint64_t index = 0;
    if (!input_.pop(*item, index)) return;
    const bool good =
        attempt(item->info, [&] { item->payload = spec_.run(std::move(item->payload), item->info); });
    if (!good) item.reset();
    if (ordered_)
      put(index, std::move(item));
    else if (item)
      flow_.forward(position_, std::move(*item));
  }
}

void FunctionStage::put(std::uint64_t index, std::optional<FlowItem> item) {
  sched::UniqueLock lock(mutex_);
  window_[index % window_.size()] = {true, std::move(item)};
  if (handing_on_) return;
  handing_on_ = true;
  for (;;) {
    Done& first = window_[next_ % window_.size()];
    if (!first.done) break;
    std::optional<FlowItem> ready = std::move(first.item);
    first = {};
    lock.unlock();
    if (ready) flow_.forward(position_, std::move(*ready));
    ready.reset();
    lock.lock();
    ++next_;
    moved_.notify_all();
  }
  handing_on_ = false;
}

// --- a session

SessionStage::SessionStage(Flow& flow, std::size_t position, detail::StageSpec spec)
    : Stage(flow, position, std::move(spec)) {
  shares_workers_ = false;
}

void SessionStage::start() {
  for (int i = 0; i < spec_.options.workers; ++i) workers_.emplace_back(spec_.name, [this] { work(); });
  collector_ = sched::Thread(spec_.name + " results", [this] { collect(); });
}

void SessionStage::join() {
  for (sched::Thread& worker : workers_) worker.join();
  {
    sched::LockGuard lock(mutex_);
    all_submitted_ = true;
    submitted_.notify_all();
  }
  collector_.join();
}

void SessionStage::work() {
  for (;;) {
    FlowItem item;
    std::uint64_t index = 0;
    std::optional<InputLease> lease;
    bool good = true;
    {
      sched::LockGuard one(take_mutex_);
      if (!input_.pop(item, index)) return;
      good = attempt(item.info, [&] { lease = spec_.session->acquire(spec_.shapes(item.payload)); });
    }
    if (good) good = attempt(item.info, [&] { spec_.fill(item.payload, *lease); });
    sched::UniqueLock lock(mutex_);
    turn_.wait(lock, [&] { return next_ == index; });
    if (good) {
      std::optional<Ticket> ticket;
      lock.unlock();
      const ItemInfo info = item.info;
      good = attempt(info, [&] { ticket = spec_.session->submit(std::move(*lease), {.tag = info.tag}); });
      lock.lock();
      if (good) pending_.push_back({std::move(item), std::move(*ticket)});
    }
    lease.reset();
    ++next_;
    turn_.notify_all();
    submitted_.notify_one();
    fail_given_up(lock);
  }
}

void SessionStage::fail_given_up(sched::UniqueLock& lock) {
  std::vector<Pending> failed;
  for (auto it = pending_.begin(); it != pending_.end();) {
    if (it->ticket.status() != TicketStatus::failed) {
      ++it;
      continue;
    }
    failed.push_back(std::move(*it));
    it = pending_.erase(it);
  }
  lock.unlock();
  for (Pending& p : failed) {
    (void)attempt(p.item.info, [&] { (void)p.ticket.get(); });
    add_busy(0, true);
  }
}

void SessionStage::collect() {
  std::int64_t busy_until = 0;
  sched::UniqueLock lock(mutex_);
  for (;;) {
    submitted_.wait(lock, [&] { return !pending_.empty() || all_submitted_; });
    if (pending_.empty()) return;
    Pending next = std::move(pending_.front());
    pending_.pop_front();
    lock.unlock();
    const bool good = attempt(next.item.info, [&] {
      OutputLease output = next.ticket.get();
      output.hand_over();
      next.item.payload = spec_.join(std::move(next.item.payload), std::move(output));
    });
    const TicketTimes times = next.ticket.times();
    // Items overlap on their way: the time during which there is any.
    add_busy(std::max<std::int64_t>(0, times.finished_ns - std::max(times.started_ns, busy_until)), true);
    busy_until = std::max(busy_until, times.finished_ns);
    if (good) flow_.forward(position_, std::move(next.item));
    lock.lock();
  }
}

}  // namespace headrace::pipeline
