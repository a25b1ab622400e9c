#include "device/host_stream.h"

#ifndef HEADRACE_NO_OPENMP
#include <omp.h>
#endif

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "base/sched.h"
#include "device/host_event.h"

namespace headrace::host {

namespace {

constexpr std::size_t kInlineOperands = 24, kLongOperands = 256, kLongLists = 8, kRing = 256;

std::byte* address(const Operand& operand, const char* what) {
  if (!operand.buffer) {
    if (operand.size == 0) return nullptr;
    throw Error(ErrorCode::misuse, std::string(what) + ": an operand of " + std::to_string(operand.size) +
                                       " bytes has no buffer");
  }
  const std::size_t have = operand.buffer->size_bytes();
  if (operand.offset > have || operand.size > have - operand.offset)
    throw Error(ErrorCode::misuse, std::string(what) + ": bytes [" + std::to_string(operand.offset) + ", +" +
                                       std::to_string(operand.size) + ") lie outside a buffer of " +
                                       std::to_string(have) + " bytes");
  return operand.buffer->device_data() + operand.offset;
}

void check_copy(const Operand& dst, const Operand& src, const std::byte* to, const std::byte* from) {
  if (dst.size != src.size)
    throw Error(ErrorCode::misuse, "copy: destination has " + std::to_string(dst.size) + " bytes, source " +
                                       std::to_string(src.size));
  if (dst.size != 0 && to < from + src.size && from < to + dst.size)
    throw Error(ErrorCode::misuse, "copy: destination and source overlap");
}

/// The error that the stream carries at the moment; null when work runs.
class Failure {
 public:
  /// Whether work of this epoch is to be skipped.
  bool skips(std::uint64_t epoch) {
    if (poison_ && epoch >= poison_->observed_at.load(std::memory_order_acquire)) poison_.reset();
    return poison_ != nullptr;
  }
  void fail(std::exception_ptr error) { join(std::make_shared<Poison>(std::move(error))); }
  void join(PoisonRef poison) {
    if (poison && !poison_) poison_ = std::move(poison);
  }
  const PoisonRef& poison() const { return poison_; }

 private:
  PoisonRef poison_;
};

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

class InlineStream final : public Stream {
 public:
  explicit InlineStream(const StreamOptions& options) : threads_(options.threads) {
    long_list_.reserve(kLongOperands);
  }

  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) override {
    std::array<std::byte*, kInlineOperands> few;
    std::byte** data = few.data();
    if (operands.size() > kInlineOperands) {
      long_list_.resize(operands.size());
      data = long_list_.data();
    }
    for (std::size_t i = 0; i < operands.size(); ++i) data[i] = address(operands[i], "launch");
    std::byte* scratch = address(workspace, "launch, workspace");
    if (failure_.skips(current_epoch())) return;
    try {
      Team team(threads_);
      kernel.launch(nullptr, {data, operands.size()}, scratch);
    } catch (...) {
      failure_.fail(std::current_exception());
    }
  }
  void copy(const Operand& dst, const Operand& src) override {
    std::byte* to = address(dst, "copy");
    const std::byte* from = address(src, "copy");
    check_copy(dst, src, to, from);
    if (!failure_.skips(current_epoch()) && dst.size != 0) std::memcpy(to, from, dst.size);
  }
  void record(Event& event) override {
    EventState& state = *state_of(event);
    failure_.skips(current_epoch());
    state.complete(state.submit(), failure_.poison());
  }
  void wait(Event& event) override {
    EventState& state = *state_of(event);
    PoisonRef poison = state.await(state.target(), sched::Clock::time_point::max());
    failure_.skips(current_epoch());
    if (poison && current_epoch() < poison->observed_at.load(std::memory_order_acquire))
      failure_.join(poison);
    else if (poison)
      failure_.join(std::make_shared<Poison>(poison->error));  // met elsewhere, not by our waiters
  }
  void synchronize() override {
    if (failure_.skips(current_epoch())) failure_.poison()->observe_and_throw();
  }
  NativeStream native() const override { return nullptr; }

 private:
  int threads_;
  Failure failure_;
  std::vector<std::byte*> long_list_;
};

struct Command {
  enum class Kind : std::uint8_t { launch, copy, record, wait } kind = Kind::launch;
  std::uint64_t epoch = 0;
  const Kernel* kernel = nullptr;
  std::size_t count = 0;   ///< operands, or bytes of a copy
  std::int32_t list = -1;  ///< >= 0: operands are in that long list
  std::byte* workspace = nullptr;
  std::shared_ptr<EventState> event;
  std::uint64_t generation = 0;
  std::array<std::byte*, kInlineOperands> data;  ///< copy: {dst, src}
};

class WorkerStream final : public Stream {
 public:
  explicit WorkerStream(const StreamOptions& options)
      : threads_(options.threads), ring_(kRing), lists_(kLongLists) {
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

  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) override {
    for (const Operand& operand : operands) static_cast<void>(address(operand, "launch"));
    std::byte* scratch = address(workspace, "launch, workspace");
    sched::UniqueLock lock(mutex_);
    Command& command = next(lock, Command::Kind::launch);
    std::byte** data = command.data.data();
    if (operands.size() > kInlineOperands) {
      changed_.wait(lock, [&] { return busy_lists_ != (1u << kLongLists) - 1; });
      command.list = __builtin_ctz(~busy_lists_);
      busy_lists_ |= 1u << command.list;
      auto& list = lists_[static_cast<std::size_t>(command.list)];
      list.resize(operands.size());
      data = list.data();
    }
    for (std::size_t i = 0; i < operands.size(); ++i) data[i] = address(operands[i], "launch");
    command.kernel = &kernel;
    command.count = operands.size();
    command.workspace = scratch;
    submit(lock);
  }
  void copy(const Operand& dst, const Operand& src) override {
    std::byte* to = address(dst, "copy");
    std::byte* from = address(src, "copy");
    check_copy(dst, src, to, from);
    sched::UniqueLock lock(mutex_);
    Command& command = next(lock, Command::Kind::copy);
    command.data[0] = to;
    command.data[1] = from;
    command.count = dst.size;
    submit(lock);
  }
  void record(Event& event) override {
    const auto& state = state_of(event);
    const std::uint64_t generation = state->submit();
    sched::UniqueLock lock(mutex_);
    Command& command = next(lock, Command::Kind::record);
    command.event = state;
    command.generation = generation;
    submit(lock);
  }
  void wait(Event& event) override {
    const auto& state = state_of(event);
    const std::uint64_t generation = state->target();
    sched::UniqueLock lock(mutex_);
    Command& command = next(lock, Command::Kind::wait);
    command.event = state;
    command.generation = generation;
    submit(lock);
  }
  void synchronize() override {
    PoisonRef poison;
    {
      sched::UniqueLock lock(mutex_);
      changed_.wait(lock, [&] { return head_ == tail_; });
      if (failure_.skips(current_epoch())) poison = failure_.poison();
    }
    if (poison) poison->observe_and_throw();
  }
  NativeStream native() const override { return const_cast<WorkerStream*>(this); }

 private:
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
        if (poison && command.epoch >= poison->observed_at.load(std::memory_order_acquire))
          poison = std::make_shared<Poison>(poison->error);  // met elsewhere, not by our waiters
        failure_.join(std::move(poison));
        return;
      }
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

std::unique_ptr<Stream> make_inline_stream(const StreamOptions& options) {
  return std::make_unique<InlineStream>(options);
}
std::unique_ptr<Stream> make_worker_stream(const StreamOptions& options) {
  return std::make_unique<WorkerStream>(options);
}

}  // namespace headrace::host
