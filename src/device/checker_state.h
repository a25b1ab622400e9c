// The bookkeeping of the hazard checker: actors with vector clocks, and the recent accesses of each memory.
// What it finds and what it cannot see: device/checker.h. Thread-safe.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/sched.h"
#include "device/checker.h"

namespace headrace::hazards {

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

using Name = std::shared_ptr<const std::string>;

struct AccessRecord {
  std::size_t begin = 0, end = 0;
  bool writes = false;
  ActorId actor = 0;
  std::uint64_t tick = 0;
  std::string operation;
  Name name;  ///< of the actor then: its slot may have gone to another since
};

struct Actor {
  Name name;
  Clock clock;
};

/// A range of addresses and its recent accesses.
struct Memory {
  std::string name;
  int buffers = 0;  ///< that begin here
  std::deque<AccessRecord> accesses;
};

/// What tells buffers apart: the address that the device sees, or the host where the device sees none.
inline const std::byte* first_byte(const Buffer& buffer) {
  return buffer.device_data() ? buffer.device_data() : buffer.host_data();
}

/// The bookkeeping; streams, events and buffers of the checker share it.
class Checker {
 public:
  Checker(HazardSink sink, const HazardOptions& options);
  ~Checker();
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  ActorId add_actor(std::string name) {
    sched::LockGuard lock(mutex_);
    if (!free_actors_.empty()) {  // the slot's former stream was joined, so its work is over
      const ActorId actor = free_actors_.back();
      free_actors_.pop_back();
      actors_[actor].name = std::make_shared<const std::string>(std::move(name));
      return actor;
    }
    actors_.push_back({std::make_shared<const std::string>(std::move(name)), {}});
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
    Memory& memory = memory_[first_byte(*buffer)];
    if (memory.buffers++ > 0) return;
    memory.name = "buffer " + std::to_string(++buffers_) + " (" +
                  (wrapped ? "wrapped" : std::string(to_string(use))) + ", " +
                  std::to_string(buffer->size_bytes()) + " bytes)";
  }
  void remove_memory(const Buffer* buffer) {
    sched::LockGuard lock(mutex_);
    const auto it = memory_.find(first_byte(*buffer));
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
    if (fresh)
      actors_.push_back(
          {std::make_shared<const std::string>("host thread " + std::to_string(hosts_.size())), {}});
    return it->second;
  }
  Actor& host() { return actors_[host_id()]; }

  void note(ActorId actor, std::uint64_t tick, const Operand& operand, std::string_view operation,
            std::vector<Hazard>& found) {
    if (!operand.buffer || operand.size == 0) return;
    const auto it = memory_.find(first_byte(*operand.buffer));
    if (it == memory_.end()) return;
    Memory& memory = it->second;
    AccessRecord now{operand.offset,
                     operand.offset + operand.size,
                     operand.access != Access::read,
                     actor,
                     tick,
                     std::string(operation),
                     actors_[actor].name};
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
    if (!options_.every && (reported_.size() >= 10'000 ||
                            !reported_.insert(a.operation + '\n' + b.operation + '\n' + memory.name).second))
      return;
    ++hazards_;
    found.push_back({{a.operation, *a.name, a.writes, a.tick - 1},
                     {b.operation, *b.name, b.writes, b.tick - 1},
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
  HazardOptions options_;
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

}  // namespace headrace::hazards
