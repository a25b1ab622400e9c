#include "pipeline/session_core.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/cpu.h"
#include "base/hooks.h"
#include "base/log.h"
#include "core/tensor.h"
#include "device/checker.h"
#include "pipeline/lane.h"
#include "runtime/io.h"

namespace headrace::pipeline {
namespace {

void check_range(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("SessionOptions::{} is {}; use {} to {}", name, value, low, high));
}

}  // namespace

std::int64_t now_ns() { return Clock::now().time_since_epoch().count(); }

SessionCore::SessionCore(runtime::EngineRef engine, const SessionOptions& options)
    : engine_(std::move(engine)),
      options_(options),
      stager_(options.staging_threads > 0 ? options.staging_threads - 1 : std::min(usable_cores(), 8) - 1) {
  check_range("slots", options_.slots, 1, 4096);
  check_range("contexts", options_.contexts, 1, 256);
  check_range("threads", options_.threads, 0, 1024);
  check_range("ring", options_.ring, 1, 16);
  check_range("staging_threads", options_.staging_threads, 0, 256);
  check_range("batch.max_batch", options_.batch.max_batch, 1, 65536);
  if (options_.threads == 0) options_.threads = std::max(1, engine_->threads() / options_.contexts);
  // drop_newest: a lease can be had while all others are in use, and submit gives it up.
  const int spare = options_.overflow == Overflow::drop_newest ? 1 : 0;
  for (int i = 0; i < options_.slots + spare; ++i) {
    inputs_.push_back(std::make_unique<InputSlot>());
    inputs_.back()->shapes.resize(engine_->inputs().size());
    free_inputs_.push_back(inputs_.back().get());
  }
  for (int i = 0; i < options_.slots; ++i) {
    outputs_.push_back(std::make_unique<OutputSlot>());
    outputs_.back()->shapes.resize(engine_->outputs().size());
    free_outputs_.push_back(outputs_.back().get());
  }
  queue_.reserve(inputs_.size());
  order_.reserve(inputs_.size() + outputs_.size());
  for (int i = 0; i < options_.contexts; ++i) lanes_.push_back(std::make_unique<Lane>(*this, i));
}

SessionCore::~SessionCore() = default;

void SessionCore::start() {
  hooks::release(this);  // what was done before (weights, say) comes before the lanes' work
  for (auto& lane : lanes_) lane->start();
}

// --- closing

void SessionCore::require_open() const {
  if (closing_) throw Error(ErrorCode::misuse, "the session is closed; create a new Session to go on");
  if (broken_) std::rethrow_exception(broken_);
}

void SessionCore::close(Closing how) {
  UniqueLock lock(mutex_);
  if (in_callback_of(*this))
    throw Error(ErrorCode::misuse,
                "a session cannot be closed from its own callback; close it on another thread");
  if (closing_) {
    while (!closed_) input_free_.wait_until(lock, Clock::time_point::max(), WaitPolicy::block);
    return;
  }
  closing_ = true;
  seal_batch(lock);
  if (how == Closing::cancel)
    while (!queue_.empty())
      fail_waiting(*queue_.front(),
                   std::make_exception_ptr(
                       Error(ErrorCode::cancelled, "the session was closed before this item had started")),
                   stats_.cancelled);
  input_free_.notify();
  work_.notify();
  run_callbacks(lock);
  lock.unlock();
  for (auto& lane : lanes_) lane->join();
  stager_.close();
  std::vector<std::unique_ptr<Lane>> lanes;  // their memory goes now, leases and tickets stay
  lock.lock();
  run_callbacks(lock);
  while (calling_back_) input_free_.wait_until(lock, Clock::time_point::max(), WaitPolicy::block);
  lanes.swap(lanes_);
  lock.unlock();
  lanes.clear();
  lock.lock();
  closed_ = true;
  input_free_.notify();
}

// --- inputs

/// Waiting makes no sense when only this thread could end it.
void SessionCore::require_others_to_free(std::uint64_t self) const {
  const auto mine = [&](const auto& slot) { return slot->holder == self; };
  if (std::all_of(inputs_.begin(), inputs_.end(), mine))
    throw Error(
        ErrorCode::misuse,
        fmt::format("this thread already holds all {} input leases, so waiting for another would never "
                    "end; submit or drop one first, or raise SessionOptions::slots",
                    inputs_.size()));
  if (running_ == 0 && !queue_.empty() && std::all_of(outputs_.begin(), outputs_.end(), mine))
    throw Error(
        ErrorCode::misuse,
        fmt::format("this thread holds all {} output leases, so what was submitted cannot start and no "
                    "input becomes free; drop one first, or raise SessionOptions::slots",
                    outputs_.size()));
}

/// A wait has been long. Says why when the session itself cannot go on; the time of the next such call.
Clock::time_point SessionCore::complain(UniqueLock& lock, const char* who) {
  if (queue_.empty() || running_ > 0) return Clock::after(kLongWait);
  lock.unlock();  // the sink may ask the session
  log(LogSeverity::warning,
      fmt::format("{} has waited for {} s: all {} outputs of the session lie in leases, or in tickets that "
                  "nobody has taken; take them, or raise SessionOptions::slots",
                  who, kLongWait.count(), options_.slots));
  lock.lock();
  return Clock::time_point::max();
}

InputSlot* SessionCore::take_input(UniqueLock& lock) {
  const std::uint64_t self = sched::this_thread_id();
  auto impatient = Clock::after(kLongWait);
  for (;;) {
    require_open();
    if (!free_inputs_.empty()) break;
    if (open_) return nullptr;
    if (options_.overflow == Overflow::reject) {
      ++stats_.rejected;
      throw Error(
          ErrorCode::rejected,
          fmt::format("all {} inputs are in use (overflow policy: reject); try again when a ticket is "
                      "ready, or raise SessionOptions::slots",
                      options_.slots));
    }
    if ((options_.overflow == Overflow::drop_oldest || options_.overflow == Overflow::latest) &&
        !queue_.empty()) {
      drop(*queue_.front());
      continue;
    }
    require_others_to_free(self);
    if (in_callback_of(*this))
      throw Error(ErrorCode::misuse,
                  fmt::format("all {} inputs are in use, and a callback cannot wait for one: the session may "
                              "only go on when it has returned; submit on another thread",
                              inputs_.size()));
    if (!input_free_.wait_until(lock, impatient, options_.wait)) impatient = complain(lock, "acquire");
  }
  InputSlot* slot = free_inputs_.back();
  free_inputs_.pop_back();
  slot->holder = self;
  return slot;
}

/// Lays the slot out for these shapes; with `memory`, allocates when it has to grow.
void SessionCore::fit_input(InputSlot& slot, const ShapeMap& shapes, bool memory) {
  slot.given = {};
  if (slot.shape_map != shapes || shapes.empty()) lay_out(slot, shapes);
  const std::size_t bytes = std::max<std::size_t>(1, slot.layout.size_bytes);
  if (!memory || (slot.arena && slot.arena->size_bytes() >= bytes)) return;
  slot.arena.reset();
  slot.arena = engine_->device().allocate(bytes, MemoryKind::pinned, MemoryUse::io);
  sched::LockGuard lock(mutex_);
  ++stats_.allocations;
}

void SessionCore::lay_out(InputSlot& slot, const ShapeMap& shapes) const {
  slot.shape_map.clear();
  const auto infos = engine_->inputs();
  std::vector<std::size_t> sizes;
  for (std::size_t i = 0; i < infos.size(); ++i) {
    const auto it = shapes.find(infos[i].name);
    slot.shapes[i] = it != shapes.end()
                         ? it->second
                         : to_shape(infos[i].shape);  // check_shapes has made sure that it is fixed
    sizes.push_back(tensor_bytes(infos[i].dtype, slot.shapes[i]));
  }
  slot.layout = runtime::make_layout(sizes);
  slot.shape_map = shapes;
}

InputSlot* SessionCore::acquire(const ShapeMap& shapes, bool memory) {
  if (options_.batch.max_batch > 1)
    throw Error(ErrorCode::misuse,
                "a session that batches has no leases for whole inputs; hand over single items with "
                "submit(views)");
  const hooks::Range range("acquire");
  engine_->check_shapes(shapes);
  UniqueLock lock(mutex_);
  InputSlot* slot = take_input(lock);
  run_callbacks(lock);  // of what was dropped for it
  lock.unlock();
  hooks::acquire(slot);
  try {
    fit_input(*slot, shapes, memory);
  } catch (...) {
    return_input(slot);
    throw;
  }
  return slot;
}

void SessionCore::return_input(InputSlot* slot) noexcept {
  hooks::release(slot);
  sched::LockGuard lock(mutex_);
  free_input(slot);
}

void SessionCore::free_input(InputSlot* slot) {
  if (!slot->given.tensors.empty()) given_up_.push_back(std::exchange(slot->given, {}));
  slot->holder = 0;
  free_inputs_.push_back(slot);
  input_free_.notify();
}

// --- admission

void SessionCore::grow_pools() {
  if (free_tickets_.empty()) {
    tickets_.push_back(std::make_unique<TicketState>());
    free_tickets_.reserve(tickets_.capacity());
    free_tickets_.push_back(tickets_.back().get());
    ++stats_.allocations;
  }
  if (free_jobs_.empty()) {
    jobs_.push_back(std::make_unique<Job>());
    free_jobs_.reserve(jobs_.capacity());
    free_jobs_.push_back(jobs_.back().get());
  }
}

TicketState* SessionCore::make_ticket(SubmitOptions&& options) {
  TicketState* state = free_tickets_.back();
  free_tickets_.pop_back();
  state->status = TicketStatus::waiting;
  state->references = 1;
  state->job = nullptr;
  state->next = nullptr;
  state->row = -1;
  state->error = nullptr;
  state->tag = options.tag;
  state->sequence = next_sequence_++;
  state->times = {.submitted_ns = now_ns()};
  state->deadline = options.deadline.count() > 0 ? Clock::after(options.deadline) : Clock::time_point::max();
  state->callback = std::move(options.callback);
  ++stats_.submitted;
  return state;
}

Job* SessionCore::make_job(InputSlot* input) {
  Job* job = free_jobs_.back();
  free_jobs_.pop_back();
  const std::uint64_t generation = job->generation + 1;
  *job = {};
  job->generation = generation;
  job->input = input;
  return job;
}

void SessionCore::add_ticket(Job& job, TicketState& state) {
  ++state.references;
  ++job.alive;
  state.job = &job;
  (job.last ? job.last->next : job.first) = &state;
  job.last = &state;
}

void SessionCore::drop(Job& job) {
  fail_waiting(
      job,
      std::make_exception_ptr(Error(ErrorCode::dropped,
                                    "dropped before it had started, for a newer item (overflow policy); "
                                    "items come faster than they can be computed")),
      stats_.dropped);
}

void SessionCore::enqueue(Job& job) {
  job.stage = Job::Stage::waiting;
  if (options_.overflow == Overflow::latest)
    while (!queue_.empty()) drop(*queue_.front());
  queue_.push_back(&job);
  if (options_.overflow == Overflow::drop_newest && free_inputs_.empty()) drop(job);
  work_.notify();
  if (options_.overflow == Overflow::drop_oldest || options_.overflow == Overflow::latest)
    input_free_.notify();  // who waits for an input may drop this one
}

TicketState* SessionCore::submit(InputSlot* slot, SubmitOptions&& options) {
  hooks::acquire(slot);  // the lease may have come here from the thread that acquired it
  if (slot->given.tensors.empty())
    declare_host_access(engine_->device(), {slot->arena.get(), 0, slot->layout.size_bytes, Access::write},
                        "input lease");
  hooks::release(slot);
  UniqueLock lock(mutex_);
  require_open();
  grow_pools();
  slot->holder = 0;
  const bool outputs_on_device = options.outputs_on_device;
  TicketState* state = make_ticket(std::move(options));
  Job* job = make_job(slot);
  job->outputs_on_device = outputs_on_device;
  add_ticket(*job, *state);
  enqueue(*job);
  run_callbacks(lock);
  return state;
}

void SessionCore::prepare(const ShapeMap& shapes) {
  std::vector<ShapeMap> all{shapes};
  if (options_.batch.max_batch > 1) {
    std::vector<Shape> items;
    for (const auto& info : engine_->inputs()) {
      const auto it = shapes.find(info.name);
      items.push_back(it != shapes.end() ? it->second : to_shape(info.shape));
    }
    all = batch_shapes(items);
  }
  for (const ShapeMap& one : all) {
    engine_->check_shapes(one);
    UniqueLock lock(mutex_);
    if (in_callback_of(*this))
      throw Error(ErrorCode::misuse,
                  "Session::prepare cannot be called from a callback: it would wait for itself");
    require_open();
    PrepareRequest request{.shapes = &one, .pending = lanes_.size(), .error = nullptr};
    for (auto& lane : lanes_) lane->requests.push_back(&request);
    work_.notify();
    while (request.pending > 0) request.done.wait_until(lock, Clock::time_point::max(), WaitPolicy::block);
    if (request.error) std::rethrow_exception(request.error);
  }
}

SessionStats SessionCore::stats() const {
  sched::LockGuard lock(mutex_);
  return stats_;
}

}  // namespace headrace::pipeline
