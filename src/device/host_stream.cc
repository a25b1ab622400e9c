#include "device/host_stream.h"

#ifndef HEADRACE_NO_OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/sched.h"
#include "device/host_event.h"
#include "device/operand.h"

namespace headrace::host {

namespace {

constexpr std::size_t kInlineOperands = 24, kLongOperands = 256, kLongLists = 8, kRing = 256;

/// Where a kernel finds the operand.
std::byte* address(const Operand& operand, const char* what) {
  check_range(operand, what);
  if (!operand.buffer) return nullptr;
  std::byte* data = operand.buffer->device_data();
  if (!data && operand.size > 0)
    throw Error(ErrorCode::misuse, std::string(what) +
                                       ": an operand lies in host memory, which kernels of this "
                                       "device cannot reach; copy it to device memory first");
  return data ? data + operand.offset : nullptr;
}

/// Where a copy finds it.
std::byte* copy_address(const Operand& operand) {
  check_range(operand, "copy");
  if (!operand.buffer) return nullptr;
  std::byte* data = operand.buffer->device_data();
  return (data ? data : operand.buffer->host_data()) + operand.offset;
}

/// The OpenMP team of the calling thread while this lives.
class Team {
 public:
#ifndef HEADRACE_NO_OPENMP
  explicit Team(int threads) : before_(omp_get_max_threads()), now_(threads > 0 ? threads : before_) {
    if (now_ != before_) omp_set_num_threads(now_);
  }
  ~Team() {
    if (now_ != before_) omp_set_num_threads(before_);
  }

 private:
  int before_, now_;
#else
  explicit Team(int) {}
#endif
};

/// Launches and copies with their addresses, to be submitted again.
class HostRecording final : public Recording {
 public:
  struct Step {
    const Kernel* kernel = nullptr;  ///< null: a copy of `size` bytes, data is {dst, src}
    std::vector<std::byte*> data;
    std::byte* workspace = nullptr;
    std::size_t size = 0;
  };
  ~HostRecording() override {
    if (ledger_) ledger_->give_back(size_bytes_, MemoryUse::recordings, false);
  }
  std::size_t nodes() const override { return steps.size(); }
  std::size_t size_bytes() const override { return size_bytes_; }
  /// Counts what it holds; Error(out_of_memory) when that is too much.
  void close(const Recordings& rules) {
    *open = false;
    for (const Step& step : steps) size_bytes_ += sizeof(Step) + step.data.size() * sizeof(std::byte*);
    if (size_bytes_ > rules.limit_bytes)
      throw Error(ErrorCode::out_of_memory, "a recording takes " + std::to_string(size_bytes_) +
                                                " bytes, the device gives at most " +
                                                std::to_string(rules.limit_bytes));
    rules.ledger->take(size_bytes_, MemoryUse::recordings, false);
    ledger_ = rules.ledger;
  }
  std::vector<Step> steps;
  std::shared_ptr<bool> open = std::make_shared<bool>(true);  ///< events that were recorded inside know it

 private:
  std::shared_ptr<Ledger> ledger_;
  std::size_t size_bytes_ = 0;
};

/// Checks and recordings; what is submitted runs in a derived class.
class HostStream : public Stream {
 public:
  HostStream(const StreamOptions& options, Recordings rules) : name_(options.name), rules_(std::move(rules)) {
    long_list_.reserve(kLongOperands);
  }

  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) final {
    std::array<std::byte*, kInlineOperands> few;
    std::byte** data = few.data();
    if (operands.size() > kInlineOperands) {
      long_list_.resize(operands.size());
      data = long_list_.data();
    }
    for (std::size_t i = 0; i < operands.size(); ++i) data[i] = address(operands[i], "launch");
    std::byte* scratch = address(workspace, "launch, workspace");
    if (recording_)
      recording_->steps.push_back({&kernel, {data, data + operands.size()}, scratch, 0});
    else
      run_launch(kernel, {data, operands.size()}, scratch);
  }
  void copy(const Operand& dst, const Operand& src) final {
    std::byte* to = copy_address(dst);
    std::byte* from = copy_address(src);
    check_copy(dst, src, to, from);
    if (recording_)
      recording_->steps.push_back({nullptr, {to, from}, nullptr, dst.size});
    else
      run_copy(to, from, dst.size);
  }
  void record(Event& event) final {
    if (recording_)
      state_of(event)->record_inside(recording_->open);
    else
      run_record(state_of(event));
  }
  void wait(Event& event) final {
    const auto& state = state_of(event);
    if (!recording_) return run_wait(state, state->target());
    if (!state->is_inside(*recording_->open))  // else: one stream, its order is enough
      throw Error(
          ErrorCode::misuse,
          "inside a recording a stream cannot wait for an event from outside; wait before the replay");
  }
  void start_item() final {
    if (recording_)
      throw Error(ErrorCode::misuse, "start_item inside a recording; call it before the replay");
    run_start_item();
  }
  void synchronize() final {
    if (recording_)
      throw Error(ErrorCode::misuse, "synchronize inside a recording; nothing runs before the replay");
    run_synchronize();
  }
  std::unique_ptr<Recording> make_recording(const std::function<void()>& work) final {
    if (!rules_.ledger) return Stream::make_recording(work);
    if (recording_) throw Error(ErrorCode::misuse, "this stream is recording already");
    recording_ = std::make_unique<HostRecording>();
    std::exception_ptr error;
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    std::unique_ptr<HostRecording> recording = std::move(recording_);
    try {
      recording->close(rules_);
    } catch (...) {
      if (!error) error = std::current_exception();
    }
    if (error) rethrow_from_recording(error, name_);
    return recording;
  }
  void replay(Recording& recording) final {
    auto* own = dynamic_cast<HostRecording*>(&recording);
    if (!own) return Stream::replay(recording);
    if (recording_) throw Error(ErrorCode::misuse, "a replay inside a recording; launch the work itself");
    for (const HostRecording::Step& step : own->steps)
      if (step.kernel)
        run_launch(*step.kernel, step.data, step.workspace);
      else
        run_copy(step.data[0], step.data[1], step.size);
  }

 protected:
  virtual void run_launch(const Kernel& kernel, std::span<std::byte* const> data, std::byte* scratch) = 0;
  virtual void run_copy(std::byte* to, std::byte* from, std::size_t size) = 0;
  virtual void run_record(const std::shared_ptr<EventState>& event) = 0;
  virtual void run_wait(const std::shared_ptr<EventState>& event, std::uint64_t generation) = 0;
  virtual void run_start_item() = 0;
  virtual void run_synchronize() = 0;

 private:
  std::string name_;
  Recordings rules_;
  std::vector<std::byte*> long_list_;
  std::unique_ptr<HostRecording> recording_;
};

class InlineStream final : public HostStream {
 public:
  InlineStream(const StreamOptions& options, Recordings rules)
      : HostStream(options, std::move(rules)), threads_(options.threads) {}
  NativeStream native() const override { return nullptr; }

 private:
  void run_launch(const Kernel& kernel, std::span<std::byte* const> data, std::byte* scratch) override {
    if (failure_.skips(current_epoch())) return;
    try {
      Team team(threads_);
      kernel.launch(nullptr, data, scratch);
    } catch (...) {
      failure_.fail(std::current_exception());
    }
  }
  void run_copy(std::byte* to, std::byte* from, std::size_t size) override {
    if (!failure_.skips(current_epoch()) && size != 0) std::memcpy(to, from, size);
  }
  void run_record(const std::shared_ptr<EventState>& event) override {
    failure_.skips(current_epoch());
    event->complete(event->submit(), failure_.poison());
  }
  void run_wait(const std::shared_ptr<EventState>& event, std::uint64_t generation) override {
    PoisonRef poison = event->await(generation, sched::Clock::time_point::max());
    failure_.skips(current_epoch());
    failure_.join(std::move(poison), current_epoch());
  }
  void run_start_item() override { failure_.clear(); }
  void run_synchronize() override {
    if (failure_.skips(current_epoch())) failure_.poison()->observe_and_throw();
  }

  int threads_;
  Failure failure_;
};

struct Command {
  enum class Kind : std::uint8_t { launch, copy, record, wait, start_item } kind = Kind::launch;
  std::uint64_t epoch = 0;
  const Kernel* kernel = nullptr;
  std::size_t count = 0;   ///< operands, or bytes of a copy
  std::int32_t list = -1;  ///< >= 0: operands are in that long list
  std::byte* workspace = nullptr;
  std::shared_ptr<EventState> event;
  std::uint64_t generation = 0;
  std::array<std::byte*, kInlineOperands> data;  ///< copy: {dst, src}
};

class WorkerStream final : public HostStream {
 public:
  WorkerStream(const StreamOptions& options, Recordings rules)
      : HostStream(options, std::move(rules)), threads_(options.threads), ring_(kRing), lists_(kLongLists) {
    for (auto& list : lists_) list.reserve(kLongOperands);
    worker_ = sched::Thread(options.name, [this] { run(); });
  }
  ~WorkerStream() override {
    {
      sched::LockGuard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    worker_.join();
  }
  NativeStream native() const override { return const_cast<WorkerStream*>(this); }

 private:
  void run_launch(const Kernel& kernel, std::span<std::byte* const> addresses, std::byte* scratch) override {
    sched::UniqueLock lock(mutex_);
    Command& command = next(lock, Command::Kind::launch);
    std::byte** data = command.data.data();
    if (addresses.size() > kInlineOperands) {
      changed_.wait(lock, [&] { return busy_lists_ != (1u << kLongLists) - 1; });
      command.list = __builtin_ctz(~busy_lists_);
      busy_lists_ |= 1u << command.list;
      auto& list = lists_[static_cast<std::size_t>(command.list)];
      list.resize(addresses.size());
      data = list.data();
    }
    std::copy(addresses.begin(), addresses.end(), data);
    command.kernel = &kernel;
    command.count = addresses.size();
    command.workspace = scratch;
    submit(lock);
  }
  void run_copy(std::byte* to, std::byte* from, std::size_t size) override {
    sched::UniqueLock lock(mutex_);
    Command& command = next(lock, Command::Kind::copy);
    command.data[0] = to;
    command.data[1] = from;
    command.count = size;
    submit(lock);
  }
  void run_record(const std::shared_ptr<EventState>& event) override {
    const std::uint64_t generation = event->submit();
    sched::UniqueLock lock(mutex_);
    Command& command = next(lock, Command::Kind::record);
    command.event = event;
    command.generation = generation;
    submit(lock);
  }
  void run_wait(const std::shared_ptr<EventState>& event, std::uint64_t generation) override {
    sched::UniqueLock lock(mutex_);
    Command& command = next(lock, Command::Kind::wait);
    command.event = event;
    command.generation = generation;
    submit(lock);
  }
  void run_start_item() override {
    sched::UniqueLock lock(mutex_);
    next(lock, Command::Kind::start_item);
    submit(lock);
  }
  void run_synchronize() override {
    PoisonRef poison;
    {
      sched::UniqueLock lock(mutex_);
      changed_.wait(lock, [&] { return head_ == tail_; });
      if (failure_.skips(current_epoch())) poison = failure_.poison();
    }
    if (poison) poison->observe_and_throw();
  }
  /// Waits for a free slot. The caller fills it and calls submit; the lock is held throughout.
  Command& next(sched::UniqueLock& lock, Command::Kind kind) {
    changed_.wait(lock, [&] { return tail_ - head_ < kRing; });
    Command& command = ring_[tail_ % kRing];
    command.kind = kind;
    command.epoch = current_epoch();
    command.list = -1;
    return command;
  }
  void submit(sched::UniqueLock& lock) {
    ++tail_;
    lock.unlock();
    changed_.notify_all();
  }
  void run() {
    Team team(threads_);
    sched::UniqueLock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return head_ != tail_ || closing_; });
      if (head_ == tail_) return;
      Command& command = ring_[head_ % kRing];
      lock.unlock();
      execute(command);
      command.event.reset();
      lock.lock();
      if (command.list >= 0) busy_lists_ &= ~(1u << command.list);
      ++head_;
      changed_.notify_all();
    }
  }
  void execute(Command& command) {
    const bool skip = failure_.skips(command.epoch);
    switch (command.kind) {
      case Command::Kind::launch: {
        if (skip) return;
        std::byte* const* data =
            command.list >= 0 ? lists_[static_cast<std::size_t>(command.list)].data() : command.data.data();
        try {
          command.kernel->launch(this, {data, command.count}, command.workspace);
        } catch (...) {
          failure_.fail(std::current_exception());
        }
        return;
      }
      case Command::Kind::copy:
        if (!skip && command.count != 0) std::memcpy(command.data[0], command.data[1], command.count);
        return;
      case Command::Kind::record: command.event->complete(command.generation, failure_.poison()); return;
      case Command::Kind::wait: {
        PoisonRef poison = command.event->await(command.generation, sched::Clock::time_point::max());
        failure_.join(std::move(poison), command.epoch);
        return;
      }
      case Command::Kind::start_item: failure_.clear(); return;
    }
  }

  int threads_;
  std::vector<Command> ring_;
  std::vector<std::vector<std::byte*>> lists_;
  sched::Mutex mutex_{"stream"};
  sched::CondVar changed_{"stream.changed"};
  std::uint64_t head_ = 0, tail_ = 0;  ///< commands executed, commands submitted
  unsigned busy_lists_ = 0;
  bool closing_ = false;
  Failure failure_;  ///< the worker's; read by synchronize when the ring is empty
  sched::Thread worker_;
};

}  // namespace

std::unique_ptr<Stream> make_inline_stream(const StreamOptions& options, Recordings recordings) {
  return std::make_unique<InlineStream>(options, std::move(recordings));
}
std::unique_ptr<Stream> make_worker_stream(const StreamOptions& options, Recordings recordings) {
  return std::make_unique<WorkerStream>(options, std::move(recordings));
}

}  // namespace headrace::host
