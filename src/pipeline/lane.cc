#include "pipeline/lane.h"

#include <fmt/format.h>

#include "base/hooks.h"
#include "runtime/io.h"

namespace headrace::pipeline {

Lane::Lane(SessionCore& core, int index)
    : core_(core),
      index_(index),
      apart_(!core.engine().device().unified_memory()),
      limit_(apart_ ? core.options().ring + 2 : 1),
      context_(core.engine_ref(), runtime::kByShapes, core.options().threads, core.options().ring),
      reads_values_(runtime::reads_input_values(core.engine().plan())),
      data_(core.engine().inputs().size()) {
  Device& device = core.engine().device();
  const auto make = [&](const char* what) {
    return device.make_stream({.name = fmt::format("session.{}.{}", index, what),
                               .inline_execution = !apart_,
                               .threads = core.options().threads});
  };
  compute_ = make("compute");
  if (!apart_) {
    done_ = device.make_event();
    return;
  }
  upload_ = make("upload");
  download_ = make("download");
}

void Lane::start() {
  if (apart_) {
    Device& device = core_.engine().device();
    const auto places = static_cast<std::size_t>(limit_) + 1;
    const WaitPolicy wait = core_.options().wait;
    freer_ = std::make_unique<Follower>(fmt::format("hr uploads {}", index_), device, places, wait,
                                        [this](const Follower::Item& item, std::exception_ptr) {
                                          core_.input_free(*item.job, item.generation);
                                        });
    finisher_ = std::make_unique<Follower>(fmt::format("hr results {}", index_), device, places, wait,
                                           [this](const Follower::Item& item, std::exception_ptr error) {
                                             core_.finish(*this, *item.job, std::move(error));
                                           });
  }
  thread_ = sched::Thread(fmt::format("hr session {}", index_), [this] { work(); });
}

void Lane::join() {
  if (!thread_.joinable()) return;
  thread_.join();
  hooks::acquire(this);  // its memory goes with the lane
  if (freer_) freer_->close();
  if (finisher_) finisher_->close();
}

void Lane::work() {
  hooks::acquire(&core_);
  for (;;) {
    const SessionCore::Work work = core_.next_work(*this);
    if (work.job) {
      run(*work.job);
    } else if (work.request) {
      std::exception_ptr error;
      try {
        context_.prepare(*work.request->shapes);
      } catch (...) {
        error = std::current_exception();
      }
      core_.answer(*work.request, std::move(error));
    } else {
      hooks::release(this);
      return;
    }
  }
}

const runtime::Prepared& Lane::prepare(Job& job) {
  const InputSlot& input = *job.input;
  const runtime::Prepared* prepared = nullptr;
  if (reads_values_) {
    for (std::size_t i = 0; i < data_.size(); ++i)
      data_[i] = input.arena->host_data() + input.layout.offsets[i];
    prepared = &context_.prepare(input.shape_map,
                                 runtime::collect_input_values(core_.engine(), data_, input.shapes));
  } else {
    prepared = &context_.prepare(input.shape_map);
  }
  if (prepared->uses == 1) core_.note_late();
  return *prepared;
}

void Lane::bind_input(std::size_t index, const InputSlot& input) {
  if (input.given.tensors.empty())
    return context_.bind_input(index, input.arena, input.layout.offsets[index]);
  // The slot keeps the memory until it is consumed; the context would keep it until the next inference.
  const detail::Held& held = input.given.tensors[index];
  context_.bind_input(index, BufferRef(BufferRef(), held.memory->buffer.get()), held.offset);
}

void Lane::run(Job& job) {
  const hooks::Range range("enqueue", job.first->sequence + 1);
  InputSlot& input = *job.input;
  OutputSlot& output = *job.output;
  hooks::acquire(&input);
  hooks::acquire(&output);
  try {
    core_.fit_output(output, prepare(job), job.outputs_on_device);
    for (std::size_t i = 0; i < input.layout.offsets.size(); ++i) bind_input(i, input);
    for (std::size_t i = 0; i < output.layout.offsets.size(); ++i)
      context_.bind_output(i, output.arena(), output.layout.offsets[i]);
    runtime::EnqueueOptions options;
    if (input.given.ready) options.inputs_ready = input.given.ready->event.get();
    if (apart_) {
      Event &uploaded = freer_->next(), &done = finisher_->next();
      options.input_consumed = &uploaded;
      context_.enqueue({*upload_, *compute_, *download_}, done, options);
    } else {
      context_.enqueue(*compute_, *done_, options);
      done_->wait();
    }
  } catch (...) {
    core_.finish(*this, job, std::current_exception());
    return;
  }
  if (!apart_) return core_.finish(*this, job, nullptr);
  const Follower::Item item{&job, job.generation};
  freer_->push(item);
  finisher_->push(item);
}

}  // namespace headrace::pipeline
