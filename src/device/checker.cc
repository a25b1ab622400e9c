#include "device/checker.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/hooks.h"
#include "base/sched.h"

namespace headrace {
namespace {

using Clock = std::vector<std::uint64_t>;  ///< by agent; missing entries are 0

void join(Clock& into, const Clock& other) {
  if (into.size() < other.size()) into.resize(other.size(), 0);
  for (std::size_t i = 0; i < other.size(); ++i) into[i] = std::max(into[i], other[i]);
}

struct AccessRecord {
  std::uintptr_t begin = 0, end = 0;
  bool write = false;
  std::size_t agent = 0;
  std::uint64_t epoch = 0;
  std::string name;
};

/// All clocks and recent accesses. An agent is a stream or a host thread.
class History final : public hooks::Observer {
 public:
  History() { previous_ = hooks::set_observer(this); }
  ~History() override { hooks::set_observer(previous_ == this ? nullptr : previous_); }

  std::size_t add_stream(std::string name) {
    sched::LockGuard lock(mutex_);
    return add_agent(std::move(name));
  }
  /// Work submitted by this thread to a stream: ordered after all that the thread did.
  void submit(std::size_t stream, std::string_view name, std::span<const Operand> operands) {
    sched::LockGuard lock(mutex_);
    join(clocks_[stream], clocks_[thread_locked()]);
    access_locked(stream, name, operands);
  }
  void host_access(const Operand& operand, std::string_view name) {
    sched::LockGuard lock(mutex_);
    access_locked(thread_locked(), name, {&operand, 1});
  }
  void record(std::size_t stream, Clock& event) {
    sched::LockGuard lock(mutex_);
    join(clocks_[stream], clocks_[thread_locked()]);
    event = clocks_[stream];
    ++clocks_[stream][stream];
  }
  void stream_waits(std::size_t stream, const Clock& event) {
    sched::LockGuard lock(mutex_);
    join(clocks_[stream], event);
  }
  void host_waits(const Clock& event) {
    sched::LockGuard lock(mutex_);
    join(clocks_[thread_locked()], event);
  }
  void host_waits_for_stream(std::size_t stream) {
    sched::LockGuard lock(mutex_);
    join(clocks_[thread_locked()], clocks_[stream]);
  }
  void forget(const std::byte* data, std::size_t size) {
    sched::LockGuard lock(mutex_);
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    std::erase_if(accesses_, [&](const AccessRecord& a) { return a.begin < begin + size && begin < a.end; });
  }
  void on_release(const void* token) noexcept override {
    sched::LockGuard lock(mutex_);
    const std::size_t self = thread_locked();
    join(tokens_[token], clocks_[self]);
    ++clocks_[self][self];
  }
  void on_acquire(const void* token) noexcept override {
    sched::LockGuard lock(mutex_);
    if (const auto it = tokens_.find(token); it != tokens_.end()) join(clocks_[thread_locked()], it->second);
  }
  std::vector<std::string> reports() const {
    sched::LockGuard lock(mutex_);
    return reports_;
  }

 private:
  static constexpr std::size_t kMaxAccesses = 1 << 16, kMaxReports = 1000;

  std::size_t add_agent(std::string name) {
    const std::size_t index = names_.size();
    names_.push_back(std::move(name));
    clocks_.emplace_back(index + 1, 0);
    clocks_.back()[index] = 1;
    return index;
  }
  std::size_t thread_locked() {
    const std::uint64_t id = sched::this_thread_id();
    const auto it = threads_.find(id);
    if (it != threads_.end()) return it->second;
    return threads_[id] = add_agent(fmt::format("host thread {}", threads_.size()));
  }
  bool ordered(const AccessRecord& earlier, const Clock& now) const {
    return earlier.agent < now.size() && now[earlier.agent] >= earlier.epoch;
  }
  void access_locked(std::size_t agent, std::string_view name, std::span<const Operand> operands) {
    Clock& clock = clocks_[agent];
    const std::uint64_t epoch = ++clock[agent];
    // All operands are checked against the past before any is recorded: a launch does not race with itself.
    for (const Operand& operand : operands) check(agent, name, operand, clock);
    for (const Operand& operand : operands) {
      if (!operand.buffer || operand.size == 0) continue;
      const AccessRecord record{address(operand), address(operand) + operand.size, operand.access != Access::read, agent, epoch, std::string(name)};
      // What this access covers and comes after need not be remembered (a read covers only the agent's own reads).
      std::erase_if(accesses_, [&](const AccessRecord& a) {
        return record.begin <= a.begin && a.end <= record.end && a.epoch != epoch && ordered(a, clock) &&
               (record.write || (!a.write && a.agent == agent));
      });
      accesses_.push_back(record);
      if (accesses_.size() > kMaxAccesses) accesses_.pop_front();
    }
  }
  static std::uintptr_t address(const Operand& operand) {
    return reinterpret_cast<std::uintptr_t>(operand.buffer->device_data()) + operand.offset;
  }
  void check(std::size_t agent, std::string_view name, const Operand& operand, const Clock& clock) {
    if (!operand.buffer || operand.size == 0) return;
    const std::uintptr_t begin = address(operand), end = begin + operand.size;
    const bool write = operand.access != Access::read;
    for (const AccessRecord& a : accesses_) {
      if (a.end <= begin || end <= a.begin || !(a.write || write) || ordered(a, clock)) continue;
      const std::string text =
          fmt::format("{} '{}' on {} and {} '{}' on {} are not ordered; bytes {} to {} of the buffer of {} bytes",
                      a.write ? "write by" : "read by", a.name, names_[a.agent], write ? "write by" : "read by", name, names_[agent],
                      std::max(a.begin, begin) - (begin - operand.offset), std::min(a.end, end) - (begin - operand.offset),
                      operand.buffer->size_bytes());
      if (reports_.size() < kMaxReports && known_.insert(text).second) reports_.push_back(text);
    }
  }

  mutable sched::Mutex mutex_{"hazard checker"};
  hooks::Observer* previous_ = nullptr;
  std::vector<std::string> names_;
  std::vector<Clock> clocks_;
  std::map<std::uint64_t, std::size_t> threads_;
  std::map<const void*, Clock> tokens_;
  std::deque<AccessRecord> accesses_;
  std::vector<std::string> reports_;
  std::set<std::string> known_;
};
using HistoryRef = std::shared_ptr<History>;

class CheckedEvent final : public Event {
 public:
  CheckedEvent(EventRef inner, HistoryRef history) : inner_(std::move(inner)), history_(std::move(history)) {}
  void wait() override {
    inner_->wait();
    history_->host_waits(clock);
  }
  bool wait_for(std::chrono::nanoseconds timeout) override {
    const bool done = inner_->wait_for(timeout);
    if (done) history_->host_waits(clock);
    return done;
  }
  bool ready() const override {
    const bool done = inner_->ready();
    if (done) history_->host_waits(clock);
    return done;
  }
  Event& inner() { return *inner_; }
  Clock clock;  ///< guarded by the history

 private:
  EventRef inner_;
  HistoryRef history_;
};

CheckedEvent& checked(Event& event) {
  auto* result = dynamic_cast<CheckedEvent*>(&event);
  if (!result) throw Error(ErrorCode::misuse, "this event belongs to another device than the stream");
  return *result;
}

class CheckedStream final : public Stream {
 public:
  CheckedStream(std::unique_ptr<Stream> inner, HistoryRef history, const std::string& name)
      : inner_(std::move(inner)), history_(std::move(history)), agent_(history_->add_stream(fmt::format("stream '{}'", name))) {}
  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) override {
    std::vector<Operand> all(operands.begin(), operands.end());
    if (workspace.buffer) all.push_back({workspace.buffer, workspace.offset, workspace.size, Access::write});
    history_->submit(agent_, kernel.name(), all);
    inner_->launch(kernel, operands, workspace);
  }
  void copy(const Operand& dst, const Operand& src) override {
    const Operand both[] = {{dst.buffer, dst.offset, dst.size, Access::write}, {src.buffer, src.offset, src.size, Access::read}};
    history_->submit(agent_, "copy", both);
    inner_->copy(dst, src);
  }
  void record(Event& event) override {
    CheckedEvent& e = checked(event);
    history_->record(agent_, e.clock);
    inner_->record(e.inner());
  }
  void wait(Event& event) override {
    CheckedEvent& e = checked(event);
    inner_->wait(e.inner());
    history_->stream_waits(agent_, e.clock);
  }
  void synchronize() override {
    inner_->synchronize();
    history_->host_waits_for_stream(agent_);
  }
  NativeStream native() const override { return inner_->native(); }

 private:
  std::unique_ptr<Stream> inner_;
  HistoryRef history_;
  std::size_t agent_;
};

/// Forgets the accesses to its memory when it goes, since the address may come back as another buffer.
class CheckedBuffer final : public Buffer {
 public:
  CheckedBuffer(BufferRef inner, HistoryRef history) : inner_(std::move(inner)), history_(std::move(history)) {}
  ~CheckedBuffer() override { history_->forget(inner_->device_data(), inner_->size_bytes()); }
  std::size_t size_bytes() const override { return inner_->size_bytes(); }
  MemoryKind kind() const override { return inner_->kind(); }
  std::byte* device_data() const override { return inner_->device_data(); }
  std::byte* host_data() const override { return inner_->host_data(); }

 private:
  BufferRef inner_;
  HistoryRef history_;
};

class CheckedDevice final : public Device {
 public:
  explicit CheckedDevice(DeviceRef inner) : inner_(std::move(inner)) {}
  std::string_view kind() const override { return inner_->kind(); }
  std::string model() const override { return inner_->model(); }
  BufferRef allocate(std::size_t size_bytes, MemoryKind kind, MemoryUse use) override {
    return std::make_shared<CheckedBuffer>(inner_->allocate(size_bytes, kind, use), history_);
  }
  BufferRef wrap(std::byte* data, std::size_t size_bytes, std::shared_ptr<const void> owner) override {
    return inner_->wrap(data, size_bytes, std::move(owner));
  }
  std::unique_ptr<Stream> make_stream(const StreamOptions& options) override {
    return std::make_unique<CheckedStream>(inner_->make_stream(options), history_, options.name);
  }
  EventRef make_event() override { return std::make_shared<CheckedEvent>(inner_->make_event(), history_); }
  bool unified_memory() const override { return inner_->unified_memory(); }
  MemoryStats memory() const override { return inner_->memory(); }
  History& history() const { return *history_; }

 private:
  DeviceRef inner_;
  HistoryRef history_ = std::make_shared<History>();
};

}  // namespace

DeviceRef make_checked_device(DeviceRef inner) { return std::make_shared<CheckedDevice>(std::move(inner)); }

std::vector<std::string> hazard_reports(const Device& device) {
  const auto* checked_device = dynamic_cast<const CheckedDevice*>(&device);
  return checked_device ? checked_device->history().reports() : std::vector<std::string>{};
}

void declare_host_access(Device& device, const Operand& operand, std::string_view name) {
  if (auto* checked_device = dynamic_cast<CheckedDevice*>(&device)) checked_device->history().host_access(operand, name);
}

}  // namespace headrace
