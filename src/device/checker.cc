#include "device/checker.h"

#include <algorithm>
#include <deque>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/hooks.h"
#include "base/sched.h"

namespace headrace {

std::string to_string(const Hazard& h) {
  const auto side = [](const HazardAccess& a) {
    return "'" + a.operation + "' on " + a.actor + (a.writes ? " (writes)" : " (reads)");
  };
  return side(h.first) + " and " + side(h.second) + " are not ordered: bytes [" + std::to_string(h.begin) +
         ", " + std::to_string(h.end) + ") of " + h.buffer +
         "; let one wait for an event recorded after the other";
}

namespace {

using ActorId = std::size_t;

/// What an actor has seen: by actor, the number of its accesses.
class Clock {
 public:
  std::uint64_t at(ActorId a) const { return a < seen_.size() ? seen_[a] : 0; }
  std::uint64_t tick(ActorId a) {
    if (a >= seen_.size()) seen_.resize(a + 1);
    return ++seen_[a];
  }
  void join(const Clock& other) {
    if (other.seen_.size() > seen_.size()) seen_.resize(other.seen_.size());
    for (std::size_t i = 0; i < other.seen_.size(); ++i) seen_[i] = std::max(seen_[i], other.seen_[i]);
  }

 private:
  std::vector<std::uint64_t> seen_;
};

struct AccessRecord {
  std::size_t begin = 0, end = 0;
  bool writes = false;
  ActorId actor = 0;
  std::uint64_t tick = 0;
  std::string operation;
};

struct Actor {
  std::string name;
  Clock clock;
};

/// A range of addresses and its recent accesses.
struct Memory {
  std::string name;
  int buffers = 0;  ///< that begin here
  std::deque<AccessRecord> accesses;
};

class Checker;

/// Hooks are process-wide and checkers are not: hands each call to all of them.
class HookFanOut final : public hooks::Observer {
 public:
  void add(Checker* checker);
  void remove(Checker* checker);
  void on_release(const void* token) noexcept override;
  void on_acquire(const void* token) noexcept override;

 private:
  sched::Mutex mutex_{"checker.hooks"};
  std::vector<Checker*> checkers_;
};

HookFanOut& fan_out() {
  static HookFanOut instance;
  return instance;
}

/// The bookkeeping; streams, events and buffers of the checker share it.
class Checker {
 public:
  explicit Checker(HazardSink sink) : sink_(std::move(sink)) { fan_out().add(this); }
  ~Checker() { fan_out().remove(this); }

  ActorId add_actor(std::string name) {
    sched::LockGuard lock(mutex_);
    if (!free_actors_.empty()) {  // the slot's former stream was joined, so its work is over
      const ActorId actor = free_actors_.back();
      free_actors_.pop_back();
      actors_[actor].name = std::move(name);
      return actor;
    }
    actors_.push_back({std::move(name), {}});
    return actors_.size() - 1;
  }
  /// A destroyed stream has finished: the calling thread has seen its work.
  void retire_actor(ActorId actor) {
    sched::LockGuard lock(mutex_);
    host().clock.join(actors_[actor].clock);
    free_actors_.push_back(actor);
  }
  void add_memory(const Buffer* buffer, MemoryUse use, bool wrapped) {
    sched::LockGuard lock(mutex_);
    Memory& memory = memory_[buffer->device_data()];
    if (memory.buffers++ > 0) return;
    memory.name = "buffer " + std::to_string(++buffers_) + " (" +
                  (wrapped ? "wrapped" : std::string(to_string(use))) + ", " +
                  std::to_string(buffer->size_bytes()) + " bytes)";
  }
  void remove_memory(const Buffer* buffer) {
    sched::LockGuard lock(mutex_);
    const auto it = memory_.find(buffer->device_data());
    if (it != memory_.end() && --it->second.buffers == 0) memory_.erase(it);
  }

  /// Work submitted to a stream by the calling thread.
  void access(ActorId stream, std::span<const Operand> operands, const Operand* workspace,
              std::string_view operation) {
    std::vector<Hazard> found;
    {
      sched::LockGuard lock(mutex_);
      Actor& host_actor = host();  // may grow actors_
      Actor& actor = actors_[stream];
      actor.clock.join(host_actor.clock);
      const std::uint64_t tick = actor.clock.tick(stream);
      for (const Operand& operand : operands) note(stream, tick, operand, operation, found);
      if (workspace && workspace->size != 0) {
        Operand scratch = *workspace;
        scratch.access = Access::read_write;
        note(stream, tick, scratch, operation, found);
      }
    }
    report(found);
  }
  void host_access(const Operand& operand, std::string_view name) {
    std::vector<Hazard> found;
    {
      sched::LockGuard lock(mutex_);
      const ActorId actor = host_id();
      note(actor, actors_[actor].clock.tick(actor), operand, name, found);
    }
    report(found);
  }
  Clock record(ActorId stream) {
    sched::LockGuard lock(mutex_);
    Actor& host_actor = host();
    actors_[stream].clock.join(host_actor.clock);
    return actors_[stream].clock;
  }
  void stream_waits(ActorId stream, const Clock& clock) {
    sched::LockGuard lock(mutex_);
    actors_[stream].clock.join(clock);
  }
  void host_waits(const Clock& clock) {
    sched::LockGuard lock(mutex_);
    host().clock.join(clock);
  }
  void host_synchronizes(ActorId stream) {
    sched::LockGuard lock(mutex_);
    host().clock.join(actors_[stream].clock);
  }
  void release(const void* token) {
    sched::LockGuard lock(mutex_);
    const Clock& clock = host().clock;
    const auto it = tokens_.find(token);
    if (it != tokens_.end())
      it->second.join(clock);
    else if (tokens_.size() < HazardChecker::kMaxTokens)
      tokens_.emplace(token, clock);
    else
      other_tokens_.join(
          clock);  // too many: one clock for the rest, which may hide a hazard, never invent one
  }
  void acquire(const void* token) {
    sched::LockGuard lock(mutex_);
    Actor& actor = host();
    const auto it = tokens_.find(token);
    actor.clock.join(it != tokens_.end() ? it->second : other_tokens_);
  }
  std::uint64_t hazards() const {
    sched::LockGuard lock(mutex_);
    return hazards_;
  }
  std::vector<std::string> reports() const {
    sched::LockGuard lock(mutex_);
    return reports_;
  }
  std::uint64_t forgotten() const {
    sched::LockGuard lock(mutex_);
    return forgotten_;
  }

 private:
  ActorId host_id() {
    const auto [it, fresh] = hosts_.try_emplace(sched::this_thread_id(), actors_.size());
    if (fresh) actors_.push_back({"host thread " + std::to_string(hosts_.size()), {}});
    return it->second;
  }
  Actor& host() { return actors_[host_id()]; }

  void note(ActorId actor, std::uint64_t tick, const Operand& operand, std::string_view operation,
            std::vector<Hazard>& found) {
    if (!operand.buffer || operand.size == 0) return;
    const auto it = memory_.find(operand.buffer->device_data());
    if (it == memory_.end()) return;
    Memory& memory = it->second;
    AccessRecord now{operand.offset, operand.offset + operand.size, operand.access != Access::read, actor,
                     tick,           std::string(operation)};
    const Clock& clock = actors_[actor].clock;
    std::erase_if(memory.accesses, [&](const AccessRecord& before) {
      if (before.end <= now.begin || now.end <= before.begin) return false;
      const bool same = before.actor == actor && before.tick == tick;  // operands of one launch
      const bool ordered = same || clock.at(before.actor) >= before.tick;
      if (!ordered && (before.writes || now.writes)) conflict(before, now, memory, found);
      // What comes after `now` also comes after everything that it covers and follows.
      const bool covered = now.begin <= before.begin && before.end <= now.end;
      return ordered && !same && covered && (now.writes || (before.actor == actor && !before.writes));
    });
    memory.accesses.push_back(std::move(now));
    if (memory.accesses.size() > HazardChecker::kMaxAccesses) {
      memory.accesses.pop_front();
      ++forgotten_;
    }
  }
  void conflict(const AccessRecord& a, const AccessRecord& b, const Memory& memory,
                std::vector<Hazard>& found) {
    if (reported_.size() >= 10'000 ||
        !reported_.insert(a.operation + '\n' + b.operation + '\n' + memory.name).second)
      return;
    ++hazards_;
    found.push_back({{a.operation, actors_[a.actor].name, a.writes},
                     {b.operation, actors_[b.actor].name, b.writes},
                     memory.name,
                     std::max(a.begin, b.begin),
                     std::min(a.end, b.end)});
    if (reports_.size() < HazardChecker::kMaxReports) reports_.push_back(to_string(found.back()));
  }
  void report(const std::vector<Hazard>& found) {
    if (sink_)
      for (const Hazard& hazard : found) sink_(hazard);
  }

  HazardSink sink_;
  mutable sched::Mutex mutex_{"checker"};
  std::deque<Actor> actors_;  ///< references stay valid while it grows
  std::vector<ActorId> free_actors_;
  std::unordered_map<std::uint64_t, ActorId> hosts_;
  std::unordered_map<const std::byte*, Memory> memory_;  ///< by address of the first byte
  std::unordered_map<const void*, Clock> tokens_;
  Clock other_tokens_;
  std::set<std::string> reported_;  ///< pairs of operations per buffer
  std::vector<std::string> reports_;
  std::uint64_t hazards_ = 0, forgotten_ = 0, buffers_ = 0;
};

void HookFanOut::add(Checker* checker) {
  sched::LockGuard lock(mutex_);
  checkers_.push_back(checker);
  if (checkers_.size() == 1) hooks::set_observer(this);
}
void HookFanOut::remove(Checker* checker) {
  sched::LockGuard lock(mutex_);
  std::erase(checkers_, checker);
  if (checkers_.empty()) hooks::set_observer(nullptr);
}
void HookFanOut::on_release(const void* token) noexcept {
  sched::LockGuard lock(mutex_);
  for (Checker* checker : checkers_) checker->release(token);
}
void HookFanOut::on_acquire(const void* token) noexcept {
  sched::LockGuard lock(mutex_);
  for (Checker* checker : checkers_) checker->acquire(token);
}

class CheckedBuffer final : public Buffer {
 public:
  CheckedBuffer(BufferRef inner, std::shared_ptr<Checker> checker)
      : inner_(std::move(inner)), checker_(std::move(checker)) {}
  ~CheckedBuffer() override { checker_->remove_memory(this); }
  std::size_t size_bytes() const override { return inner_->size_bytes(); }
  MemoryKind kind() const override { return inner_->kind(); }
  std::byte* device_data() const override { return inner_->device_data(); }
  std::byte* host_data() const override { return inner_->host_data(); }

 private:
  BufferRef inner_;
  std::shared_ptr<Checker> checker_;
};

class CheckedEvent final : public Event {
 public:
  CheckedEvent(EventRef inner, std::shared_ptr<Checker> checker)
      : inner_(std::move(inner)), checker_(std::move(checker)) {}
  void wait() override {
    const Clock clock = this->clock();
    try {
      inner_->wait();
    } catch (...) {
      checker_->host_waits(clock);  // failed work has ended too
      throw;
    }
    checker_->host_waits(clock);
  }
  bool wait_for(std::chrono::nanoseconds timeout) override {
    const Clock clock = this->clock();
    const bool done = inner_->wait_for(timeout);
    if (done) checker_->host_waits(clock);
    return done;
  }
  bool ready() const override {
    const Clock clock = this->clock();
    const bool done = inner_->ready();
    if (done) checker_->host_waits(clock);
    return done;
  }
  Event& inner() { return *inner_; }
  Clock clock() const {
    sched::LockGuard lock(mutex_);
    return clock_;
  }
  void set_clock(Clock clock) {
    sched::LockGuard lock(mutex_);
    clock_ = std::move(clock);
  }

 private:
  EventRef inner_;
  std::shared_ptr<Checker> checker_;
  mutable sched::Mutex mutex_{"checker.event"};
  Clock clock_;
};

CheckedEvent& checked(Event& event) {
  auto* own = dynamic_cast<CheckedEvent*>(&event);
  if (!own)
    throw Error(ErrorCode::misuse, "an event of another device; make it with the hazard checker's device");
  return *own;
}

class CheckedStream final : public Stream {
 public:
  CheckedStream(std::unique_ptr<Stream> inner, std::shared_ptr<Checker> checker, const std::string& name)
      : checker_(std::move(checker)),
        actor_(checker_->add_actor("stream '" + name + "'")),
        inner_(std::move(inner)) {}
  ~CheckedStream() override {
    inner_.reset();  // runs what is left
    checker_->retire_actor(actor_);
  }
  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) override {
    checker_->access(actor_, operands, &workspace, kernel.name());
    inner_->launch(kernel, operands, workspace);
  }
  void copy(const Operand& dst, const Operand& src) override {
    Operand both[2] = {dst, src};
    both[0].access = Access::write;
    both[1].access = Access::read;
    checker_->access(actor_, both, nullptr, "copy");
    inner_->copy(dst, src);
  }
  void record(Event& event) override {
    CheckedEvent& own = checked(event);
    own.set_clock(checker_->record(actor_));  // before the event can be seen as done
    inner_->record(own.inner());
  }
  void wait(Event& event) override {
    CheckedEvent& own = checked(event);
    const Clock clock = own.clock();
    inner_->wait(own.inner());
    checker_->stream_waits(actor_, clock);
  }
  void synchronize() override {
    try {
      inner_->synchronize();
    } catch (...) {
      checker_->host_synchronizes(actor_);
      throw;
    }
    checker_->host_synchronizes(actor_);
  }
  NativeStream native() const override { return inner_->native(); }

 private:
  std::shared_ptr<Checker> checker_;
  ActorId actor_;
  std::unique_ptr<Stream> inner_;
};

class CheckedDevice final : public HazardChecker {
 public:
  CheckedDevice(DeviceRef inner, HazardSink sink)
      : inner_(std::move(inner)), checker_(std::make_shared<Checker>(std::move(sink))) {}
  std::string_view kind() const override { return inner_->kind(); }
  std::string model() const override { return inner_->model(); }
  BufferRef allocate(std::size_t size_bytes, MemoryKind kind, MemoryUse use) override {
    return track(inner_->allocate(size_bytes, kind, use), use, false);
  }
  BufferRef wrap(std::byte* data, std::size_t size_bytes, std::shared_ptr<const void> owner) override {
    return track(inner_->wrap(data, size_bytes, std::move(owner)), MemoryUse::io, true);
  }
  std::unique_ptr<Stream> make_stream(const StreamOptions& options) override {
    return std::make_unique<CheckedStream>(inner_->make_stream(options), checker_, options.name);
  }
  EventRef make_event() override { return std::make_shared<CheckedEvent>(inner_->make_event(), checker_); }
  bool unified_memory() const override { return inner_->unified_memory(); }
  MemoryStats memory() const override { return inner_->memory(); }
  void host_access(const Operand& operand, std::string_view name) override {
    checker_->host_access(operand, name);
  }
  std::uint64_t hazards() const override { return checker_->hazards(); }
  std::vector<std::string> reports() const override { return checker_->reports(); }
  std::uint64_t forgotten() const override { return checker_->forgotten(); }

 private:
  BufferRef track(BufferRef inner, MemoryUse use, bool wrapped) {
    auto buffer = std::make_shared<CheckedBuffer>(std::move(inner), checker_);
    checker_->add_memory(buffer.get(), use, wrapped);
    return buffer;
  }
  DeviceRef inner_;
  std::shared_ptr<Checker> checker_;
};

}  // namespace

std::shared_ptr<HazardChecker> make_hazard_checker(DeviceRef inner, HazardSink sink) {
  return std::make_shared<CheckedDevice>(std::move(inner), std::move(sink));
}

DeviceRef make_checked_device(DeviceRef inner) { return make_hazard_checker(std::move(inner)); }

std::vector<std::string> hazard_reports(const Device& device) {
  const auto* checker = dynamic_cast<const HazardChecker*>(&device);
  return checker ? checker->reports() : std::vector<std::string>{};
}

void declare_host_access(Device& device, const Operand& operand, std::string_view name) {
  if (auto* checker = dynamic_cast<HazardChecker*>(&device)) checker->host_access(operand, name);
}

}  // namespace headrace
