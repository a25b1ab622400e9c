#include "backends/sim/stream.h"

#include <cstring>
#include <deque>
#include <utility>

#include <headrace/error.h>

#include "backends/sim/event.h"
#include "backends/sim/recording.h"
#include "device/operand.h"
#include "device/poison.h"

namespace headrace::sim {
namespace {

constexpr std::size_t kQueue = 1024;  // submitted commands; then the host waits, as for a driver

struct Command {
  enum class Kind : std::uint8_t { work, record, wait, start_item } kind = Kind::work;
  std::uint64_t epoch = 0;
  WorkRef work;
  Injected fault;
  EventStateRef event;
  std::uint64_t generation = 0;
};

class SimStream final : public Stream {
 public:
  SimStream(std::weak_ptr<Device> device, MachineRef machine, const StreamOptions& options)
      : device_(std::move(device)),
        machine_(std::move(machine)),
        name_(options.name),
        inline_(options.inline_execution) {
    ++machine_->live.streams;
    if (!inline_) worker_ = sched::Thread(name_, [this] { run(); });
  }
  ~SimStream() override {
    if (!inline_) {
      {
        sched::LockGuard lock(mutex_);
        closing_ = true;
      }
      changed_.notify_all();
      worker_.join();
    }
    --machine_->live.streams;
  }

  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) override {
    auto work = std::make_shared<Work>();
    work->kernel = &kernel;
    work->name = kernel.name();
    for (const Operand& operand : operands) work->operands.push_back(kernel_range(operand, "launch"));
    work->workspace = kernel_range(workspace, "launch, workspace");
    const auto& cost = machine_->options.launch_ms;
    work->duration = from_ms(cost ? cost(kernel, operands) : machine_->options.spec.compute_fp32_ms);
    if (const auto* host_side = dynamic_cast<const HostSide*>(&kernel))
      if (const auto device = device_.lock()) host_side->on_launch(*device);
    add(Call::launch, std::move(work));
  }

  void copy(const Operand& dst, const Operand& src) override {
    auto work = std::make_shared<Work>();
    work->operands = {range(dst, "copy"), range(src, "copy")};
    check_copy(dst, src, work->operands[0].data(), work->operands[1].data());
    const auto kind = [](const Work::Range& r) { return r.storage ? r.storage->kind() : MemoryKind::host; };
    const MemoryKind to = kind(work->operands[0]), from = kind(work->operands[1]);
    const bool pageable = dst.size > 0 && (to == MemoryKind::host || from == MemoryKind::host);
    if (pageable) machine_->forbid_in_capture("a copy of pageable memory", true);
    const auto& options = machine_->options;
    const auto share = [&](std::size_t batch) {
      return dst.size == 0 ? 0 : batch == 0 ? 1 : static_cast<double>(dst.size) / static_cast<double>(batch);
    };
    const bool upload = to == MemoryKind::device && from != MemoryKind::device;
    const bool download = from == MemoryKind::device && to != MemoryKind::device;
    work->name = upload ? "upload" : download ? "download" : "copy";
    if (upload) {
      work->engine = Engine::upload;
      work->duration = from_ms(share(options.upload_bytes) *
                               (pageable ? options.spec.upload_pageable_ms : options.spec.upload_pinned_ms));
    } else if (download) {
      work->engine = Engine::download;
      work->duration = from_ms(share(options.download_bytes) * options.spec.download_ms);
    }
    if ((upload || download) && !recorded()) machine_->count_copy(upload, pageable, dst.size);
    add(Call::copy, std::move(work));
    if (pageable && !inline_) {  // staged by the host, which is busy with it until the end
      machine_->ledger.count_waiting_copy();
      wait_until_idle();
    }
  }

  void record(Event& event) override {
    static_cast<void>(machine_->count(Call::record, name_));
    const EventStateRef& state = sim_event(event).state();
    if (Capture* capture = recorded()) {
      state->host.record_inside(capture->open);
      sched::LockGuard lock(state->mutex);
      state->capture = capture_;
      state->covers = capture->covers[branch_];
      return;
    }
    submit({.kind = Command::Kind::record,
            .epoch = current_epoch(),
            .event = state,
            .generation = state->host.submit()});
  }

  void wait(Event& event) override {
    static_cast<void>(machine_->count(Call::wait, name_));
    const EventStateRef& state = sim_event(event).state();
    std::shared_ptr<Capture> inside;
    std::vector<std::size_t> covers;
    {
      sched::LockGuard lock(state->mutex);
      inside = state->capture.lock();
      covers = state->covers;
    }
    const bool open = inside && *inside->open && state->host.is_inside(*inside->open);
    if (!recorded() && open) {  // joins
      capture_ = inside;
      branch_ = inside->add_branch(name_);
    }
    if (Capture* capture = recorded()) {
      if (!open || inside.get() != capture)
        throw Error(
            ErrorCode::misuse,
            "inside a recording a stream cannot wait for an event from outside; wait before the replay");
      return capture->join(branch_, covers);
    }
    submit({.kind = Command::Kind::wait,
            .epoch = current_epoch(),
            .event = state,
            .generation = state->host.target()});
  }

  void start_item() override {
    if (recorded())
      throw Error(ErrorCode::misuse, "start_item inside a recording; call it before the replay");
    submit({.kind = Command::Kind::start_item});
  }

  void synchronize() override {
    if (recorded())
      throw Error(ErrorCode::misuse, "synchronize inside a recording; nothing runs before the replay");
    machine_->forbid_in_capture("synchronize", false);
    static_cast<void>(machine_->count(Call::synchronize, name_));
    wait_until_idle();
    PoisonRef poison;
    {
      sched::LockGuard lock(mutex_);
      if (failure_.skips(current_epoch())) poison = failure_.poison();
    }
    if (poison) poison->observe_and_throw();
    if (const std::exception_ptr death = machine_->death()) std::rethrow_exception(death);
  }

  std::unique_ptr<Recording> make_recording(const std::function<void()>& work) override {
    if (!machine_->options.recordings) return Stream::make_recording(work);
    if (recorded()) throw Error(ErrorCode::misuse, "this stream is recording already");
    static_cast<void>(machine_->count(Call::make_recording, name_));
    capture_ = std::make_shared<Capture>();
    capture_->thread = sched::this_thread_id();
    branch_ = capture_->add_branch(name_);
    machine_->begin_capture(*capture_);
    std::exception_ptr error;
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    machine_->end_capture(*capture_);
    *capture_->open = false;
    const std::shared_ptr<Capture> capture = std::move(capture_);
    if (!error && !capture->broken.empty())
      error = std::make_exception_ptr(Error(ErrorCode::misuse, capture->broken));
    for (std::size_t b = 1; !error && b < capture->branches.size(); ++b)
      if (capture->covers[0][b] != capture->submitted[b])
        error = std::make_exception_ptr(
            Error(ErrorCode::misuse, "stream '" + capture->branches[b] +
                                         "' joined the recording and was not waited for before its end"));
    if (error) rethrow_from_recording(error, name_);
    return std::make_unique<SimRecording>(machine_, std::move(capture->steps));
  }

  void replay(Recording& recording) override {
    auto* own = dynamic_cast<SimRecording*>(&recording);
    if (!own) return Stream::replay(recording);
    if (recorded()) throw Error(ErrorCode::misuse, "a replay inside a recording; launch the work itself");
    Injected fault = machine_->count(Call::replay, name_);
    for (const WorkRef& work : *own->steps()) submit_work(work, std::exchange(fault, {}));
  }

  NativeStream native() const override { return const_cast<SimStream*>(this); }

 private:
  /// The capture that this stream is part of now, or null.
  Capture* recorded() {
    if (capture_ && !*capture_->open) capture_.reset();
    return capture_.get();
  }

  void add(Call call, std::shared_ptr<Work> work) {
    Injected fault = machine_->count(call, name_);
    if (Capture* capture = recorded()) {
      if (fault.error) std::rethrow_exception(fault.error);
      return capture->add(branch_, std::move(work));
    }
    submit_work(std::move(work), std::move(fault));
  }

  /// Wrappers hand down their own buffers, so memory is found by address.
  Work::Range range(const Operand& operand, const char* what) const {
    check_range(operand, what);
    if (!operand.buffer) return {};
    const Buffer& buffer = *operand.buffer;
    StorageRef storage =
        machine_->find_storage(buffer.device_data() ? buffer.device_data() : buffer.host_data());
    if (!storage && (buffer.kind() != MemoryKind::host || !buffer.host_data()))
      throw Error(ErrorCode::misuse, std::string(what) + ": a buffer of another device");
    if (!storage)
      storage = std::make_shared<Storage>(machine_, buffer.host_data(), buffer.size_bytes(), MemoryKind::host,
                                          nullptr);
    return {std::move(storage), operand.offset, operand.size};
  }
  Work::Range kernel_range(const Operand& operand, const char* what) const {
    Work::Range r = range(operand, what);
    if (r.storage && r.size > 0 && r.storage->kind() == MemoryKind::host)
      throw Error(ErrorCode::misuse, std::string(what) +
                                         ": an operand lies in pageable host memory, which the device cannot "
                                         "reach; copy it to device memory first");
    return r;
  }

  void submit_work(WorkRef work, Injected fault) {
    work->add_pending(1);
    ++machine_->live.operations;
    submit({.epoch = current_epoch(), .work = std::move(work), .fault = std::move(fault)});
  }

  void submit(Command command) {
    if (inline_) return execute(command);
    {
      sched::UniqueLock lock(mutex_);
      changed_.wait(lock, [&] { return queue_.size() < kQueue; });
      queue_.push_back(std::move(command));
    }
    changed_.notify_all();
  }

  void wait_until_idle() {
    sched::UniqueLock lock(mutex_);
    changed_.wait(lock, [&] { return queue_.empty(); });
  }

  void run() {
    sched::UniqueLock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return !queue_.empty() || closing_; });
      if (queue_.empty()) return;
      Command command = queue_.front();
      lock.unlock();
      execute(command);
      lock.lock();
      queue_.pop_front();
      changed_.notify_all();
    }
  }

  void execute(Command& command) {
    const bool skip = failure_.skips(command.epoch);
    switch (command.kind) {
      case Command::Kind::work:
        if (!skip) try_work(command);
        command.work->add_pending(-1);
        --machine_->live.operations;
        return;
      case Command::Kind::record:
        command.event->completed_at_ns = sched::Clock::now().time_since_epoch().count();
        command.event->host.complete(command.generation, failure_.poison());
        return;
      case Command::Kind::wait: {
        PoisonRef poison = command.event->host.await(command.generation, sched::Clock::time_point::max());
        failure_.skips(current_epoch());
        failure_.join(std::move(poison), command.epoch);
        return;
      }
      case Command::Kind::start_item: failure_ = {}; return;
    }
  }

  void try_work(const Command& command) {
    const Work& work = *command.work;
    try {
      if (const std::exception_ptr death = machine_->death()) std::rethrow_exception(death);
      machine_->occupy(
          work.engine, work.duration, work.name, name_, [&] { copy_half(work, false); },
          [&] {
            if (command.fault.sticky) machine_->die(command.fault.error);
            if (command.fault.error) std::rethrow_exception(command.fault.error);
            copy_half(work, true);
            if (work.kernel) run_kernel(work);
          });
    } catch (...) {
      failure_.fail(std::current_exception());
    }
  }

  static void copy_half(const Work& work, bool second) {
    if (work.kernel || work.operands[0].size == 0) return;
    const std::size_t size = work.operands[0].size, middle = size / 2;
    const std::size_t begin = second ? middle : 0, end = second ? size : middle;
    std::memcpy(work.operands[0].data() + begin, work.operands[1].data() + begin, end - begin);
  }

  void run_kernel(const Work& work) {
    std::vector<std::byte*> data;
    for (const Work::Range& r : work.operands) data.push_back(r.data());
    work.kernel->launch(native(), data, work.workspace.data());
    const std::string after = "after '" + work.name + "' on stream '" + name_ + "'";
    for (const Work::Range& r : work.operands)
      if (r.storage) r.storage->check_red_zones(after);
    if (work.workspace.storage) work.workspace.storage->check_red_zones(after);
  }

  std::weak_ptr<Device> device_;
  MachineRef machine_;
  std::string name_;
  bool inline_;
  std::shared_ptr<Capture> capture_;
  std::size_t branch_ = 0;  ///< of capture_
  sched::Mutex mutex_{"sim.stream"};
  sched::CondVar changed_{"sim.stream.changed"};
  std::deque<Command> queue_;  ///< the front is running
  bool closing_ = false;
  Failure failure_;  ///< the worker's; read by synchronize when the queue is empty
  sched::Thread worker_;
};

}  // namespace

SimEvent& sim_event(Event& event) {
  auto* own = dynamic_cast<SimEvent*>(&event);
  if (!own) throw Error(ErrorCode::misuse, "an event of another device; make it with this stream's device");
  return *own;
}

std::unique_ptr<Stream> make_stream(std::weak_ptr<Device> device, MachineRef machine,
                                    const StreamOptions& options) {
  return std::make_unique<SimStream>(std::move(device), std::move(machine), options);
}

}  // namespace headrace::sim
