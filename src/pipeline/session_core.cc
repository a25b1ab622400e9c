#include "pipeline/session_core.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/hooks.h"
#include "base/log.h"
#include "runtime/io.h"

namespace headrace::pipeline {
namespace {

thread_local const SessionCore* current_worker_of = nullptr;

std::int64_t now_ns() { return sched::Clock::now().time_since_epoch().count(); }

Error closed() { return Error(ErrorCode::misuse, "the session is closed; create a new Session to go on"); }

}  // namespace

struct SessionCore::PrepareRequest {
  const ShapeMap* shapes = nullptr;
  std::size_t pending = 0;
  std::exception_ptr error;
  sched::CondVar done{"session.prepare"};
};

struct SessionCore::Worker {
  Worker(runtime::EngineRef engine, int threads, std::unique_ptr<Stream> s, EventRef e)
      : context(std::move(engine), runtime::kByShapes, threads), stream(std::move(s)), done(std::move(e)) {}
  runtime::Context context;
  std::unique_ptr<Stream> stream;
  EventRef done;
  std::deque<PrepareRequest*> requests;
  std::vector<const std::byte*> data;  ///< scratch for input values
  sched::Thread thread;
};

SessionCore::SessionCore(runtime::EngineRef engine, const SessionOptions& options)
    : engine_(std::move(engine)), options_(options) {
  if (options_.slots < 1 || options_.slots > 4096)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("SessionOptions::slots is {}; use 1 to 4096", options_.slots));
  if (options_.streams < 1 || options_.streams > 256)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("SessionOptions::streams is {}; use 1 to 256", options_.streams));
  if (options_.threads < 0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("SessionOptions::threads is {}; use 0 (automatic) or more", options_.threads));
  if (options_.threads == 0) options_.threads = std::max(1, engine_->threads() / options_.streams);
  const auto slots = static_cast<std::size_t>(options_.slots);
  queue_.resize(slots);
  for (std::size_t i = 0; i < slots; ++i) {
    inputs_.push_back(std::make_unique<InputSlot>());
    inputs_.back()->buffers.resize(engine_->inputs().size());
    inputs_.back()->shapes.resize(engine_->inputs().size());
    free_inputs_.push_back(inputs_.back().get());
    outputs_.push_back(std::make_unique<OutputSlot>());
    outputs_.back()->buffers.resize(engine_->outputs().size());
    outputs_.back()->shapes.resize(engine_->outputs().size());
    free_outputs_.push_back(outputs_.back().get());
  }
  for (int i = 0; i < options_.streams; ++i) {
    const StreamOptions stream{
        .name = fmt::format("session.{}", i), .inline_execution = true, .threads = options_.threads};
    workers_.push_back(std::make_unique<Worker>(
        engine_, options_.threads, engine_->device().make_stream(stream), engine_->device().make_event()));
    workers_.back()->data.resize(engine_->inputs().size());
  }
}

SessionCore::~SessionCore() = default;

void SessionCore::start() {
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = *workers_[i];
    worker.thread = sched::Thread(fmt::format("headrace session {}", i), [this, &worker] { work(worker); });
  }
}

void SessionCore::close() {
  if (current_worker_of == this)
    throw Error(ErrorCode::misuse,
                "a session cannot be closed from its own callback; close it on another thread");
  {
    sched::LockGuard lock(mutex_);
    closing_ = true;
    if (joined_) return;
    joined_ = true;
    input_free_.notify_all();
    work_ready_.notify_all();
  }
  for (auto& worker : workers_)
    if (worker->thread.joinable()) worker->thread.join();
}

InputSlot* SessionCore::acquire(const ShapeMap& shapes) {
  engine_->check_shapes(shapes);
  InputSlot* slot = nullptr;
  {
    sched::UniqueLock lock(mutex_);
    const std::uint64_t self = sched::this_thread_id();
    while (free_inputs_.empty() && !closing_) {
      if (options_.overflow == Overflow::reject) {
        ++stats_.rejected;
        throw Error(
            ErrorCode::rejected,
            fmt::format("all {} input slots are in use (overflow policy: reject); try again when a ticket is "
                        "ready, or raise SessionOptions::slots",
                        options_.slots));
      }
      const bool all_mine =
          std::all_of(inputs_.begin(), inputs_.end(), [&](const auto& s) { return s->holder == self; });
      if (all_mine)
        throw Error(
            ErrorCode::misuse,
            fmt::format("this thread already holds all {} input leases, so waiting for another would never "
                        "end; submit or drop one first, or raise SessionOptions::slots",
                        options_.slots));
      input_free_.wait(lock);
    }
    if (closing_) throw closed();
    slot = free_inputs_.back();
    free_inputs_.pop_back();
    slot->holder = self;
  }
  hooks::acquire(slot);
  try {
    if (slot->shape_map != shapes) slot->shape_map = shapes;
    const auto infos = engine_->inputs();
    for (std::size_t i = 0; i < infos.size(); ++i) {
      const auto it = shapes.find(infos[i].name);
      Shape& shape = slot->shapes[i];
      if (it != shapes.end()) {
        if (shape != it->second) shape = it->second;
      } else {
        shape = to_shape(infos[i].shape);  // check_shapes has made sure that it is fixed
      }
      const std::size_t bytes = std::max<std::size_t>(1, tensor_bytes(infos[i].dtype, shape));
      if (!slot->buffers[i] || slot->buffers[i]->size_bytes() < bytes) {
        slot->buffers[i].reset();
        slot->buffers[i] = engine_->device().allocate(bytes, MemoryKind::pinned, MemoryUse::io);
        sched::LockGuard lock(mutex_);
        ++stats_.allocations;
      }
    }
  } catch (...) {
    return_input(slot);
    throw;
  }
  return slot;
}

TicketState* SessionCore::new_ticket_locked() {
  if (free_tickets_.empty()) {
    tickets_.push_back(std::make_unique<TicketState>());
    free_tickets_.reserve(tickets_.capacity());
    free_tickets_.push_back(tickets_.back().get());
    ++stats_.allocations;
  }
  TicketState* state = free_tickets_.back();
  free_tickets_.pop_back();
  return state;
}

TicketState* SessionCore::submit(InputSlot* slot, SubmitOptions&& options) {
  hooks::release(slot);
  sched::LockGuard lock(mutex_);
  if (closing_) throw closed();
  TicketState* state = new_ticket_locked();
  state->status = TicketState::Status::pending;
  state->references = 2;  // the user's Ticket and the queue
  state->input = slot;
  state->output = nullptr;
  state->error = nullptr;
  state->tag = options.tag;
  state->sequence = next_sequence_++;
  state->times = {.submitted_ns = now_ns()};
  state->callback = std::move(options.callback);
  slot->holder = 0;
  queue_[(queue_head_ + queue_size_) % queue_.size()] = state;
  ++queue_size_;
  ++stats_.submitted;
  work_ready_.notify_one();
  return state;
}

void SessionCore::prepare(const ShapeMap& shapes) {
  engine_->check_shapes(shapes);
  if (current_worker_of == this)
    throw Error(ErrorCode::misuse,
                "Session::prepare cannot be called from a callback: it would wait for itself");
  PrepareRequest request{.shapes = &shapes, .pending = workers_.size(), .error = nullptr};
  sched::UniqueLock lock(mutex_);
  if (closing_) throw closed();
  for (auto& worker : workers_) worker->requests.push_back(&request);
  work_ready_.notify_all();
  request.done.wait(lock, [&] { return request.pending == 0; });
  if (request.error) std::rethrow_exception(request.error);
}

void SessionCore::work(Worker& worker) {
  current_worker_of = this;
  sched::UniqueLock lock(mutex_);
  for (;;) {
    work_ready_.wait(lock, [&] {
      return !worker.requests.empty() || (queue_size_ > 0 && !free_outputs_.empty()) ||
             (closing_ && queue_size_ == 0);
    });
    if (!worker.requests.empty()) {
      PrepareRequest& request = *worker.requests.front();
      worker.requests.pop_front();
      lock.unlock();
      std::exception_ptr error;
      try {
        worker.context.prepare(*request.shapes);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      if (error && !request.error) request.error = error;
      if (--request.pending == 0) request.done.notify_all();
      continue;
    }
    if (queue_size_ == 0) break;  // closing, and all work is done
    TicketState* state = queue_[queue_head_];
    queue_head_ = (queue_head_ + 1) % queue_.size();
    --queue_size_;
    OutputSlot* output = free_outputs_.back();
    free_outputs_.pop_back();
    lock.unlock();
    run_item(worker, *state, *output);
    lock.lock();
  }
  current_worker_of = nullptr;
}

void SessionCore::size_outputs(OutputSlot& output, const runtime::Prepared& prepared) {
  for (std::size_t i = 0; i < output.buffers.size(); ++i) {
    const TensorDesc& desc = prepared.outputs[i];
    if (output.shapes[i] != desc.shape) output.shapes[i] = desc.shape;
    const std::size_t bytes = std::max<std::size_t>(1, desc.span_bytes());
    if (output.buffers[i] && output.buffers[i]->size_bytes() >= bytes) continue;
    output.buffers[i].reset();
    output.buffers[i] = engine_->device().allocate(bytes, MemoryKind::pinned, MemoryUse::io);
    sched::LockGuard lock(mutex_);
    ++stats_.allocations;
  }
}

void SessionCore::run_item(Worker& worker, TicketState& state, OutputSlot& output) {
  InputSlot& input = *state.input;
  std::exception_ptr error;
  state.times.started_ns = now_ns();
  hooks::acquire(&input);
  hooks::acquire(&output);
  try {
    const runtime::Prepared* prepared = nullptr;
    if (runtime::reads_input_values(engine_->plan())) {
      for (std::size_t i = 0; i < worker.data.size(); ++i) worker.data[i] = input.buffers[i]->host_data();
      prepared = &worker.context.prepare(input.shape_map,
                                         runtime::collect_input_values(*engine_, worker.data, input.shapes));
    } else {
      prepared = &worker.context.prepare(input.shape_map);
    }
    size_outputs(output, *prepared);
    for (std::size_t i = 0; i < input.buffers.size(); ++i) worker.context.bind_input(i, input.buffers[i]);
    for (std::size_t i = 0; i < output.buffers.size(); ++i) worker.context.bind_output(i, output.buffers[i]);
    worker.context.enqueue(*worker.stream, *worker.done);
    worker.done->wait();
  } catch (...) {
    error = std::current_exception();
  }
  hooks::release(&output);
  hooks::release(&input);
  finish(state, &output, error);
}

void SessionCore::finish(TicketState& state, OutputSlot* output, std::exception_ptr error) {
  std::function<void(Ticket)> callback;
  {
    sched::LockGuard lock(mutex_);
    state.times.finished_ns = now_ns();
    free_inputs_.push_back(std::exchange(state.input, nullptr));
    input_free_.notify_one();
    callback = std::move(state.callback);
    state.callback = nullptr;
    if (error) {
      state.status = TicketState::Status::failed;
      state.error = error;
      free_outputs_.push_back(output);
      ++stats_.failed;
    } else {
      state.status = TicketState::Status::done;
      state.output = output;
      output->tag = state.tag;
      output->sequence = state.sequence;
      ++stats_.completed;
    }
    state.changed.notify_all();
    if (callback) ++state.references;
    release_locked(state);  // the queue's reference
  }
  if (!callback) return;
  try {
    callback(Ticket(shared_from_this(), &state));
  } catch (const std::exception& e) {
    log(LogSeverity::error,
        fmt::format("a session callback threw: {}; the item's ticket is not affected", e.what()));
  } catch (...) {
    log(LogSeverity::error,
        "a session callback threw something that is not a std::exception; the item's ticket is not affected");
  }
}

void SessionCore::release_locked(TicketState& state) {
  if (--state.references > 0) return;
  if (state.output) {
    free_outputs_.push_back(std::exchange(state.output, nullptr));
    work_ready_.notify_all();
  }
  state.error = nullptr;
  free_tickets_.push_back(&state);
}

void SessionCore::drop_ticket(TicketState* state) noexcept {
  sched::LockGuard lock(mutex_);
  release_locked(*state);
}

void SessionCore::return_input(InputSlot* slot) noexcept {
  hooks::release(slot);
  sched::LockGuard lock(mutex_);
  slot->holder = 0;
  free_inputs_.push_back(slot);
  input_free_.notify_one();
}

void SessionCore::return_output(OutputSlot* slot) noexcept {
  hooks::release(slot);
  sched::LockGuard lock(mutex_);
  slot->holder = 0;
  free_outputs_.push_back(slot);
  work_ready_.notify_all();
}

bool SessionCore::ticket_ready(const TicketState& state) const {
  sched::LockGuard lock(mutex_);
  return state.status != TicketState::Status::pending;
}

bool SessionCore::wait_ticket(TicketState& state, sched::Clock::time_point deadline) {
  sched::UniqueLock lock(mutex_);
  if (state.status == TicketState::Status::pending && current_worker_of == this && workers_.size() == 1)
    throw Error(ErrorCode::misuse,
                "a callback of a session with one stream cannot wait for another of its tickets");
  const std::uint64_t self = sched::this_thread_id();
  const auto all_mine = [&] {
    return std::all_of(outputs_.begin(), outputs_.end(), [&](const auto& o) { return o->holder == self; });
  };
  while (state.status == TicketState::Status::pending) {
    if (all_mine())
      throw Error(
          ErrorCode::misuse,
          fmt::format("this thread holds all {} output leases, so this ticket could never become ready; drop "
                      "one first, or raise SessionOptions::slots",
                      options_.slots));
    if (!state.changed.wait_until(lock, deadline) && state.status == TicketState::Status::pending)
      return false;
  }
  return true;
}

OutputSlot* SessionCore::take_output(TicketState& state) {
  wait_ticket(state, sched::Clock::time_point::max());
  OutputSlot* slot = nullptr;
  {
    sched::LockGuard lock(mutex_);
    if (state.status == TicketState::Status::failed) std::rethrow_exception(state.error);
    if (state.status == TicketState::Status::taken)
      throw Error(ErrorCode::misuse, "Ticket::get was called twice; the first call took the result");
    state.status = TicketState::Status::taken;
    slot = std::exchange(state.output, nullptr);
    slot->holder = sched::this_thread_id();
  }
  hooks::acquire(slot);
  return slot;
}

TicketTimes SessionCore::ticket_times(const TicketState& state) const {
  sched::LockGuard lock(mutex_);
  return state.times;
}

SessionStats SessionCore::stats() const {
  sched::LockGuard lock(mutex_);
  return stats_;
}

}  // namespace headrace::pipeline
