// Jobs from the queue to a lane, and from a finished job to ready tickets.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/hooks.h"
#include "base/log.h"
#include "pipeline/inside.h"
#include "pipeline/lane.h"
#include "pipeline/session_core.h"

namespace headrace::pipeline {

bool in_callback_of(const SessionCore& core) { return Inside<SessionCore>::of(&core); }

// --- to the lanes

/// An output for a job on this lane, or null. The lane that holds fewest jobs takes the next.
OutputSlot* SessionCore::find_output(Lane& lane) {
  if (queue_.empty() || lane.running >= lane.limit()) return nullptr;
  for (const auto& other : lanes_)
    if (other->running < lane.running) return nullptr;
  if (!free_outputs_.empty()) {
    OutputSlot* output = free_outputs_.back();
    free_outputs_.pop_back();
    return output;
  }
  if (!closing_ || running_ > 0) return nullptr;
  outputs_.push_back(std::make_unique<OutputSlot>());  // closing never depends on who reads the outputs
  outputs_.back()->shapes.resize(engine_->outputs().size());
  return outputs_.back().get();
}

SessionCore::Work SessionCore::next_work(Lane& lane) {
  UniqueLock lock(mutex_);
  for (;;) {
    const Clock::time_point next = expire();
    if (!given_up_.empty() || (callbacks_ && !calling_back_)) {
      run_callbacks(lock);
      continue;  // meanwhile there may be something earlier than `next`
    }
    if (open_ && (closing_ || broken_ || Clock::now() >= open_->due)) {
      seal_batch(lock);
      continue;
    }
    if (!lane.requests.empty()) {
      PrepareRequest* request = lane.requests.front();
      lane.requests.pop_front();
      return {.job = nullptr, .request = request};
    }
    if (OutputSlot* output = find_output(lane)) {
      Job* job = queue_.front();
      queue_.erase(queue_.begin());
      order_.push_back(job);
      job->stage = Job::Stage::running;
      job->output = output;
      ++lane.running;
      stats_.max_in_flight = std::max(stats_.max_in_flight, ++running_);
      const std::int64_t now = now_ns();
      for (TicketState* t = job->first; t; t = t->next)
        if (t->status == TicketStatus::waiting) {
          t->times.started_ns = now;
          t->status = TicketStatus::running;
        }
      if (!queue_.empty()) work_.notify();  // the next lane's turn
      return {.job = job, .request = nullptr};
    }
    if (closing_ && queue_.empty() && filling_ == 0) return {};
    work_.wait_until(lock, next, options_.wait);
  }
}

void SessionCore::answer(PrepareRequest& request, std::exception_ptr error) {
  sched::LockGuard lock(mutex_);
  if (error && !request.error) request.error = error;
  if (--request.pending == 0) request.done.notify();
}

void SessionCore::fit_output(OutputSlot& output, const runtime::Prepared& prepared, bool on_device) {
  const runtime::IoLayout& layout = prepared.output_layout;
  if (output.layout.offsets != layout.offsets) output.layout.offsets = layout.offsets;
  output.layout.size_bytes = layout.size_bytes;
  if (options_.batch.max_batch > 1) output.rows = prepared.inputs.front().shape[0];
  for (std::size_t i = 0; i < output.shapes.size(); ++i)
    if (output.shapes[i] != prepared.outputs[i].shape) output.shapes[i] = prepared.outputs[i].shape;
  const std::size_t bytes = std::max<std::size_t>(1, layout.size_bytes);
  output.on_device = on_device && !engine_->device().unified_memory();
  BufferRef& arena = output.on_device ? output.device : output.pinned;
  if (arena && arena->size_bytes() >= bytes) return;
  arena.reset();
  arena = engine_->device().allocate(bytes, output.on_device ? MemoryKind::device : MemoryKind::pinned,
                                     MemoryUse::io);
  sched::LockGuard lock(mutex_);
  ++stats_.allocations;
}

void SessionCore::note_late() {
  sched::LockGuard lock(mutex_);
  ++stats_.prepared_late;
}

/// The job's input was uploaded.
void SessionCore::input_free(Job& job, std::uint64_t generation) {
  UniqueLock lock(mutex_);
  if (job.generation != generation || !job.input) return;  // finished meanwhile
  hooks::release(job.input);
  const std::int64_t now = now_ns();
  for (TicketState* t = job.first; t; t = t->next) t->times.uploaded_ns = now;
  free_input(std::exchange(job.input, nullptr));
  drop_given(lock);
}

// --- from the lanes

void SessionCore::finish(Lane& lane, Job& job, std::exception_ptr error) {
  if (job.output) hooks::release(job.output);
  UniqueLock lock(mutex_);
  --lane.running;
  --running_;
  job.error = std::move(error);
  job.stage = Job::Stage::complete;
  const std::int64_t now = now_ns();
  for (TicketState* t = job.first; t; t = t->next) {
    t->times.finished_ns = now;
    if (t->times.uploaded_ns == 0) t->times.uploaded_ns = now;
  }
  if (job.input) {
    hooks::release(job.input);
    free_input(std::exchange(job.input, nullptr));
  }
  if (job.error && !broken_ && !engine_->device().alive()) break_off(job.error);
  if (job.error || options_.delivery == Delivery::as_ready) {
    std::erase(order_, &job);
    deliver(job);
  }
  while (!order_.empty() && order_.front()->stage == Job::Stage::complete) {
    Job& first = *order_.front();
    order_.erase(order_.begin());
    deliver(first);
  }
  work_.notify();
  run_callbacks(lock);
}

void SessionCore::break_off(std::exception_ptr error) {
  std::string why = "(no message)";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    why = e.what();
  }
  broken_ = std::make_exception_ptr(
      Error(ErrorCode::device,
            "the device has failed for good, and with it all that this session had in flight: " + why));
  while (!queue_.empty()) fail_waiting(*queue_.front(), broken_, stats_.failed);
  input_free_.notify();
}

void SessionCore::deliver(Job& job) {
  if (job.output)
    ++job.output->references;  // the job's own: a ticket that nobody wants gives its one back here
  for (TicketState *t = job.first, *next = nullptr; t; t = next) {
    next = t->next;
    if (!t->pending()) {
      // failed by itself
    } else if (job.error) {
      ++stats_.failed;
      t->error = job.error;
      make_ready(*t, TicketStatus::failed);
    } else {
      ++stats_.completed;
      t->output = job.output;
      ++job.output->references;
      make_ready(*t, TicketStatus::done);
    }
    t->job = nullptr;
    release_ticket(*t);
  }
  if (OutputSlot* output = std::exchange(job.output, nullptr)) release_output(output);
  recycle(job);
}

void SessionCore::recycle(Job& job) {
  job.stage = Job::Stage::free;
  job.first = job.last = nullptr;
  ++job.generation;
  free_jobs_.push_back(&job);
}

void SessionCore::make_ready(TicketState& state, TicketStatus status) {
  state.times.delivered_ns = now_ns();
  state.status = status;
  state.changed.notify();
  if (!state.callback) return;
  ++state.references;
  state.next_callback = nullptr;
  (last_callback_ ? last_callback_->next_callback : callbacks_) = &state;
  last_callback_ = &state;
}

/// Fails one ticket of a job that goes on, or not: see forget_if_dead.
void SessionCore::fail_ticket(TicketState& state, std::exception_ptr error) {
  state.error = std::move(error);
  --state.job->alive;
  make_ready(state, TicketStatus::failed);
}

void SessionCore::fail_waiting(Job& job, std::exception_ptr error, std::uint64_t& counter) {
  for (TicketState* t = job.first; t; t = t->next)
    if (t->pending()) {
      ++counter;
      fail_ticket(*t, error);
    }
  forget_if_dead(job);
}

/// Takes a waiting job out of the queue when none of its tickets waits any more.
void SessionCore::forget_if_dead(Job& job) {
  if (job.alive > 0 || job.stage != Job::Stage::waiting) return;
  std::erase(queue_, &job);
  free_input(std::exchange(job.input, nullptr));
  deliver(job);
}

/// Fails what should have started by now; the time of the next deadline.
Clock::time_point SessionCore::expire() {
  Clock::time_point next = open_ ? open_->due : Clock::time_point::max();
  const auto now = Clock::now();
  const auto fail_late = [&](Job& job) {
    for (TicketState* t = job.first; t; t = t->next)
      if (t->pending() && !expire_ticket(*t, now)) next = std::min(next, t->deadline);
  };
  if (open_) fail_late(*open_);
  for (std::size_t i = 0; i < queue_.size();) {
    Job& job = *queue_[i];
    fail_late(job);
    const std::size_t before = queue_.size();
    forget_if_dead(job);
    if (queue_.size() == before) ++i;
  }
  return next;
}

void SessionCore::drop_given(UniqueLock& lock) {
  if (given_up_.empty()) return;
  std::vector<DeviceInputs> gone = std::exchange(given_up_, {});
  lock.unlock();
  gone.clear();
  lock.lock();
}

/// Of an item that has not started: whether it failed, for its deadline.
bool SessionCore::expire_ticket(TicketState& state, Clock::time_point now) {
  if (state.deadline > now) return false;
  ++stats_.expired;
  fail_ticket(state, std::make_exception_ptr(
                         Error(ErrorCode::timeout, "the item had not started when its deadline passed")));
  return true;
}

void SessionCore::run_callbacks(UniqueLock& lock) {
  drop_given(lock);
  if (calling_back_) return;  // the thread that is at it takes these as well
  calling_back_ = true;
  while (TicketState* state = callbacks_) {
    callbacks_ = state->next_callback;
    if (!callbacks_) last_callback_ = nullptr;
    std::function<void(Ticket)> callback = std::exchange(state->callback, nullptr);
    lock.unlock();
    const Inside<SessionCore> inside(this);
    try {
      callback(Ticket(shared_from_this(), state));
    } catch (const std::exception& e) {
      log(LogSeverity::error,
          fmt::format("a session callback threw: {}; the item's ticket is not affected", e.what()));
    } catch (...) {
      log(LogSeverity::error,
          "a session callback threw something that is not a std::exception; the ticket is not affected");
    }
    callback = nullptr;  // what it holds may be leases and tickets of this session
    lock.lock();
  }
  calling_back_ = false;
  if (closing_) input_free_.notify();
}

}  // namespace headrace::pipeline
