// What Ticket and OutputLease ask the session for.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/hooks.h"
#include "device/checker.h"
#include "pipeline/session_core.h"

namespace headrace::pipeline {

void SessionCore::release_ticket(TicketState& state) {
  if (--state.references > 0) return;
  if (state.output) release_output(std::exchange(state.output, nullptr));
  state.error = nullptr;
  free_tickets_.push_back(&state);
}

void SessionCore::release_output(OutputSlot* slot) {
  if (--slot->references > 0) return;
  slot->holder = 0;
  free_outputs_.push_back(slot);
  work_.notify();
}

void SessionCore::drop_ticket(TicketState* state) noexcept {
  sched::LockGuard lock(mutex_);
  release_ticket(*state);
}

void SessionCore::return_output(OutputSlot* slot) noexcept {
  hooks::acquire(slot);  // the lease may have come here from the thread that took it
  hooks::release(slot);
  sched::LockGuard lock(mutex_);
  release_output(slot);
}

void SessionCore::hand_over(OutputSlot* slot) {
  sched::LockGuard lock(mutex_);
  slot->holder = 0;
}

bool SessionCore::wait_ticket(TicketState& state, Clock::time_point deadline) {
  if (!state.pending()) return true;
  const hooks::Range range("wait");
  UniqueLock lock(mutex_);
  const std::uint64_t self = sched::this_thread_id();
  auto impatient = Clock::after(kLongWait);
  while (state.pending()) {
    if (in_callback_of(*this))
      throw Error(
          ErrorCode::misuse,
          "a callback cannot wait for a ticket of its session: results are handed out after it returns");
    if (std::all_of(outputs_.begin(), outputs_.end(), [&](const auto& o) { return o->holder == self; }))
      throw Error(
          ErrorCode::misuse,
          fmt::format("this thread holds all {} output leases, so this ticket could never become ready; drop "
                      "one first, raise SessionOptions::slots, or call OutputLease::hand_over for those that "
                      "went to other threads",
                      options_.slots));
    const bool may_expire = state.status == TicketStatus::waiting;  // workers may be busy when it does
    const auto until = std::min(deadline, may_expire ? std::min(impatient, state.deadline) : impatient);
    if (state.changed.wait_until(lock, until, options_.wait)) continue;
    const auto now = Clock::now();
    if (Job* job = state.job; state.status == TicketStatus::waiting && expire_ticket(state, now)) {
      forget_if_dead(*job);
      run_callbacks(lock);
      continue;
    }
    if (now >= deadline) return !state.pending();
    if (now < impatient) continue;
    impatient = complain(lock, "Ticket::wait");
  }
  return true;
}

OutputSlot* SessionCore::take_output(TicketState& state) {
  wait_ticket(state, Clock::time_point::max());
  OutputSlot* slot = nullptr;
  {
    sched::LockGuard lock(mutex_);
    if (state.status == TicketStatus::failed) std::rethrow_exception(state.error);
    if (state.status == TicketStatus::taken)
      throw Error(ErrorCode::misuse, "Ticket::get was called twice; the first call took the result");
    state.status = TicketStatus::taken;
    slot = std::exchange(state.output, nullptr);
    if (slot->references == 1) slot->holder = sched::this_thread_id();
  }
  hooks::acquire(slot);
  if (!slot->on_device)
    declare_host_access(engine_->device(), {slot->pinned.get(), 0, slot->layout.size_bytes, Access::read},
                        "output lease");
  hooks::release(slot);
  return slot;
}

bool SessionCore::cancel_ticket(TicketState& state) {
  UniqueLock lock(mutex_);
  if (state.status != TicketStatus::waiting) return false;
  ++stats_.cancelled;
  Job& job = *state.job;
  fail_ticket(state, std::make_exception_ptr(Error(ErrorCode::cancelled, "cancelled before it had started")));
  forget_if_dead(job);
  run_callbacks(lock);
  return true;
}

/// Takes over the caller's reference.
void SessionCore::call_back(TicketState* state, std::function<void(Ticket)> callback) {
  UniqueLock lock(mutex_);
  if (state->callback)
    throw Error(ErrorCode::misuse, "this ticket has a callback already, given with submit");
  state->callback = std::move(callback);
  if (!state->pending()) {
    ++state->references;
    state->next_callback = nullptr;
    (last_callback_ ? last_callback_->next_callback : callbacks_) = state;
    last_callback_ = state;
  }
  release_ticket(*state);
  run_callbacks(lock);
}

TicketTimes SessionCore::ticket_times(const TicketState& state) const {
  sched::LockGuard lock(mutex_);
  return state.times;
}

}  // namespace headrace::pipeline
