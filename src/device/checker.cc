#include "device/checker.h"

#include <unordered_map>
#include <vector>

#include "base/sched.h"
#include "device/checker_state.h"

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

using hazards::ActorId, hazards::Checker, hazards::Clock;

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

/// What a recording does to memory, in the order of submission: every replay is checked as if its launches
/// were submitted then. Branch 0 is the stream that replays; the others joined it through events.
class Script {
 public:
  struct Step {
    enum class Kind : std::uint8_t { access, record, wait } kind = Kind::access;
    std::size_t branch = 0;
    std::string operation;
    std::vector<Operand> operands;
    Operand workspace;
    const void* event = nullptr;
  };
  void accesses(std::size_t branch, std::span<const Operand> operands, const Operand& workspace,
                std::string_view operation) {
    steps.push_back({Step::Kind::access, branch, std::string(operation),
                     std::vector<Operand>(operands.begin(), operands.end()), workspace, nullptr});
  }
  void event(std::size_t branch, Step::Kind kind, const Event& event) {
    steps.push_back({kind, branch, {}, {}, {}, &event});
  }
  std::size_t add_branch(const std::string& name) {
    branches.push_back(name + " of a recording");
    return branches.size();
  }

  std::vector<Step> steps;
  std::vector<std::string> branches;
  bool closed = true;  ///< nothing more is recorded
};

class CheckedRecording final : public Recording {
 public:
  CheckedRecording(std::unique_ptr<Recording> inner, std::shared_ptr<const Script> script,
                   std::shared_ptr<Checker> checker)
      : inner_(std::move(inner)), script_(std::move(script)), checker_(std::move(checker)) {
    for (const std::string& branch : script_->branches) actors_.push_back(checker_->add_actor(branch));
  }
  ~CheckedRecording() override {
    for (const ActorId actor : actors_) checker_->retire_actor(actor);
  }
  std::size_t nodes() const override { return inner_->nodes(); }
  std::size_t size_bytes() const override { return inner_->size_bytes(); }
  Recording& inner() { return *inner_; }
  void note_replay(ActorId stream) {
    std::unordered_map<const void*, Clock> events;
    for (const Script::Step& step : script_->steps) {
      const ActorId actor = step.branch == 0 ? stream : actors_[step.branch - 1];
      switch (step.kind) {
        case Script::Step::Kind::access:
          checker_->access(actor, step.operands, &step.workspace, step.operation);
          break;
        case Script::Step::Kind::record: events[step.event] = checker_->record(actor); break;
        case Script::Step::Kind::wait: checker_->stream_waits(actor, events[step.event]); break;
      }
    }
  }

 private:
  std::unique_ptr<Recording> inner_;
  std::shared_ptr<const Script> script_;
  std::shared_ptr<Checker> checker_;
  std::vector<ActorId> actors_;
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
  /// The recording that the last record was part of, or null.
  std::shared_ptr<Script> script() const {
    sched::LockGuard lock(mutex_);
    return script_;
  }
  void set_script(std::shared_ptr<Script> script) {
    sched::LockGuard lock(mutex_);
    script_ = std::move(script);
  }

 private:
  EventRef inner_;
  std::shared_ptr<Checker> checker_;
  mutable sched::Mutex mutex_{"checker.event"};
  Clock clock_;
  std::shared_ptr<Script> script_;
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
        name_("stream '" + name + "'"),
        actor_(checker_->add_actor(name_)),
        inner_(std::move(inner)) {}
  ~CheckedStream() override {
    inner_.reset();  // runs what is left
    checker_->retire_actor(actor_);
  }
  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) override {
    if (Script* script = recorded())
      script->accesses(branch_, operands, workspace, kernel.name());
    else
      checker_->access(actor_, operands, &workspace, kernel.name());
    inner_->launch(kernel, operands, workspace);
  }
  void copy(const Operand& dst, const Operand& src) override {
    Operand both[2] = {dst, src};
    both[0].access = Access::write;
    both[1].access = Access::read;
    if (Script* script = recorded())
      script->accesses(branch_, both, {}, "copy");
    else
      checker_->access(actor_, both, nullptr, "copy");
    inner_->copy(dst, src);
  }
  void record(Event& event) override {
    CheckedEvent& own = checked(event);
    if (Script* script = recorded())
      script->event(branch_, Script::Step::Kind::record, own);
    else
      own.set_clock(checker_->record(actor_));  // before the event can be seen as done
    inner_->record(own.inner());
    own.set_script(recorded() ? script_ : nullptr);
  }
  void wait(Event& event) override {
    CheckedEvent& own = checked(event);
    const Clock clock = own.clock();
    inner_->wait(own.inner());
    if (const auto script = own.script(); script && !script->closed && script != script_) {
      script_ = script;  // joins the recording that the event was recorded in
      branch_ = script->add_branch(name_);
    }
    if (Script* script = recorded())
      script->event(branch_, Script::Step::Kind::wait, own);
    else
      checker_->stream_waits(actor_, clock);
  }
  void start_item() override { inner_->start_item(); }
  void synchronize() override {
    try {
      inner_->synchronize();
    } catch (...) {
      checker_->host_synchronizes(actor_);
      throw;
    }
    checker_->host_synchronizes(actor_);
  }
  std::unique_ptr<Recording> make_recording(const std::function<void()>& work) override {
    const auto script = std::make_shared<Script>();
    std::unique_ptr<Recording> inner = inner_->make_recording([&] {
      script_ = script;
      branch_ = 0;
      script->closed = false;
      try {
        work();
      } catch (...) {
        script->closed = true;
        throw;
      }
      script->closed = true;
    });
    return std::make_unique<CheckedRecording>(std::move(inner), script, checker_);
  }
  void replay(Recording& recording) override {
    auto* own = dynamic_cast<CheckedRecording*>(&recording);
    if (!own)
      throw Error(ErrorCode::misuse, "a recording of another device; make it with this stream's device");
    own->note_replay(actor_);
    inner_->replay(own->inner());
  }
  NativeStream native() const override { return inner_->native(); }

 private:
  /// The recording that this stream is part of now, or null.
  Script* recorded() {
    if (script_ && script_->closed) script_.reset();
    return script_.get();
  }

  std::shared_ptr<Checker> checker_;
  std::string name_;
  ActorId actor_;
  std::unique_ptr<Stream> inner_;
  std::shared_ptr<Script> script_;
  std::size_t branch_ = 0;  ///< of script_
};

class CheckedDevice final : public HazardChecker {
 public:
  CheckedDevice(DeviceRef inner, HazardSink sink, const HazardOptions& options)
      : inner_(std::move(inner)), checker_(std::make_shared<Checker>(std::move(sink), options)) {}
  std::string_view kind() const override { return inner_->kind(); }
  std::string model() const override { return inner_->model(); }
  int ordinal() const override { return inner_->ordinal(); }
  BufferRef allocate(std::size_t size_bytes, MemoryKind kind, MemoryUse use) override {
    return track(inner_->allocate(size_bytes, kind, use), use, false);
  }
  BufferRef wrap(std::byte* data, std::size_t size_bytes, std::shared_ptr<const void> owner,
                 MemoryKind kind) override {
    return track(inner_->wrap(data, size_bytes, std::move(owner), kind), MemoryUse::io, true);
  }
  std::unique_ptr<Stream> make_stream(const StreamOptions& options) override {
    return std::make_unique<CheckedStream>(inner_->make_stream(options), checker_, options.name);
  }
  std::unique_ptr<Stream> wrap_stream(NativeStream native, const StreamOptions& options) override {
    return std::make_unique<CheckedStream>(inner_->wrap_stream(native, options), checker_, options.name);
  }
  EventRef make_event(const EventOptions& options) override {
    return std::make_shared<CheckedEvent>(inner_->make_event(options), checker_);
  }
  std::shared_ptr<void> enter() override { return inner_->enter(); }
  bool can_record() const override { return inner_->can_record(); }
  std::optional<double> elapsed_us(Event& begin, Event& end) override {
    CheckedEvent& last = checked(end);
    const Clock clock = last.clock();
    const auto time = inner_->elapsed_us(checked(begin).inner(), last.inner());
    if (time) checker_->host_waits(clock);
    return time;
  }
  bool alive() const override { return inner_->alive(); }
  bool unified_memory() const override { return inner_->unified_memory(); }
  MemoryStats memory() const override { return inner_->memory(); }
  std::optional<double> clock_mhz() const override { return inner_->clock_mhz(); }
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

std::shared_ptr<HazardChecker> make_hazard_checker(DeviceRef inner, HazardSink sink,
                                                   const HazardOptions& options) {
  return std::make_shared<CheckedDevice>(std::move(inner), std::move(sink), options);
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
