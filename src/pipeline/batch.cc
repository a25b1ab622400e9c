// Single items into batches: rows of an input that fills up, a job when it is full or has waited long enough.
//
// An item's row is decided under the mutex, in the order of submission; the copy into it runs outside, on the
// thread that submits. Who finds a sealed batch with all rows filled (the last copier, or whoever seals it)
// pads it and puts it into the queue.
#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/hooks.h"
#include "device/checker.h"
#include "pipeline/session_core.h"

namespace headrace::pipeline {

std::vector<ShapeMap> SessionCore::batch_shapes(const std::vector<Shape>& items) const {
  const auto infos = engine_->inputs();
  std::vector<ShapeMap> sizes;
  std::string refused;
  for (std::int64_t rows = 1, max = options_.batch.max_batch;; rows = std::min(rows * 2, max)) {
    ShapeMap shapes;
    for (std::size_t i = 0; i < infos.size(); ++i) {
      if (items[i].empty() || items[i][0] != 1)
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("input '{}' has the shape {}, but an item of a batching session has extent 1 "
                                "along its first axis",
                                infos[i].name, to_string(items[i])));
      Shape& shape = shapes[infos[i].name] = items[i];
      shape[0] = rows;
    }
    try {
      engine_->check_shapes(shapes);
      sizes.push_back(std::move(shapes));
    } catch (const Error& e) {  // a profile may begin above 1, or hold powers of some other number
      refused = e.message();
    }
    if (rows == max) break;
  }
  if (sizes.empty())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("no batch of up to {} such items fits the engine: {}", options_.batch.max_batch,
                            refused));
  return sizes;
}

/// Takes an input for a new batch of such items; someone else may be quicker, also while this thread waits.
void SessionCore::open_batch(UniqueLock& lock, const std::vector<Shape>& items) {
  InputSlot* slot = take_input(lock);
  if (!slot) return;
  if (open_ || opening_) return free_input(slot);
  ++filling_;  // close waits for it
  std::exception_ptr error;
  opening_ = true;
  lock.unlock();
  hooks::acquire(slot);
  std::vector<ShapeMap> sizes;
  try {
    sizes = batch_shapes(items);
    fit_input(*slot, sizes.back(), true);
  } catch (...) {
    error = std::current_exception();
  }
  lock.lock();
  opening_ = false;
  input_free_.notify();  // who waits for an input can use this batch
  try {
    grow_pools();
    batch_items_ = items;
  } catch (...) {
    error = std::current_exception();
  }
  if (error) {
    --filling_;
    free_input(slot);
    work_.notify();
    std::rethrow_exception(error);
  }
  slot->holder = 0;
  batch_sizes_ = std::move(sizes);
  open_ = make_job(slot);
  open_->stage = Job::Stage::open;
  open_->due = Clock::after(options_.batch.max_delay);
  work_.notify();  // lanes watch the time
}

TicketState* SessionCore::submit_row(const std::vector<const NamedView*>& inputs, SubmitOptions&& options) {
  std::vector<Shape> items;
  for (const NamedView* input : inputs) items.push_back(input->view.shape());
  UniqueLock lock(mutex_);
  for (;;) {
    require_open();
    if (open_ && batch_items_ != items)
      seal_batch(lock);  // other items: a batch of their own
    else if (open_)
      break;
    else if (opening_)
      input_free_.wait_until(lock, Clock::time_point::max(), options_.wait);
    else
      open_batch(lock, items);
  }
  grow_pools();
  Job& job = *open_;
  TicketState* state = make_ticket(std::move(options));
  add_ticket(job, *state);
  state->row = job.rows++;
  if (state->deadline < job.due) work_.notify();  // lanes watch the time
  InputSlot& slot = *job.input;
  if (job.rows == batch_sizes_.back().begin()->second[0]) seal_batch(lock);
  lock.unlock();

  hooks::acquire(&slot);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::size_t size = inputs[i]->view.size_bytes();
    const std::size_t offset = slot.layout.offsets[i] + static_cast<std::size_t>(state->row) * size;
    if (size > 0) std::memcpy(slot.arena->host_data() + offset, inputs[i]->view.data(), size);
    declare_host_access(engine_->device(), {slot.arena.get(), offset, size, Access::write}, "batched item");
    bytes += size;
  }
  hooks::release(&slot);

  lock.lock();
  ++stats_.staged;
  stats_.staged_bytes += bytes;
  ++job.filled;
  if (job.sealed && job.filled == job.rows) run_batch(lock, job);
  run_callbacks(lock);
  return state;
}

void SessionCore::seal_batch(UniqueLock& lock) {
  Job* job = std::exchange(open_, nullptr);
  if (!job) return;
  job->sealed = true;
  // The smallest size that holds the rows; later batches may be of other items.
  const auto fits = [&](const ShapeMap& shapes) { return shapes.begin()->second[0] >= job->rows; };
  job->shapes = std::move(*std::find_if(batch_sizes_.begin(), batch_sizes_.end(), fits));
  if (job->filled == job->rows) run_batch(lock, *job);
}

void SessionCore::run_batch(UniqueLock& lock, Job& job) {
  InputSlot& slot = *job.input;
  const std::int64_t rows = job.shapes.begin()->second[0];
  lock.unlock();
  hooks::acquire(&slot);
  const auto infos = engine_->inputs();
  for (std::size_t i = 0; i < infos.size(); ++i) {
    Shape& shape = slot.shapes[i];
    shape[0] = 1;
    const std::size_t item = tensor_bytes(infos[i].dtype, shape);
    const auto used = static_cast<std::size_t>(job.rows) * item, all = static_cast<std::size_t>(rows) * item;
    const std::size_t offset = slot.layout.offsets[i] + used;
    if (all > used) std::memset(slot.arena->host_data() + offset, 0, all - used);
    declare_host_access(engine_->device(), {slot.arena.get(), offset, all - used, Access::write}, "padding");
    shape[0] = rows;
  }
  slot.shape_map = std::move(job.shapes);
  hooks::release(&slot);
  lock.lock();
  --filling_;
  if (job.alive == 0 || broken_) {  // nobody waits for it any more
    fail_waiting(job, broken_, stats_.failed);
    free_input(std::exchange(job.input, nullptr));
    deliver(job);
    work_.notify();
    return;
  }
  ++stats_.batches;
  enqueue(job);
}

}  // namespace headrace::pipeline
