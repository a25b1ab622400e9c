// The state of one deterministic run, and the few moves that the seam's calls are made of. Private to
// sched*.cc.
//
// Every task (a Thread of the run) owns one operating-system thread, a Worker from a pool that lives as long
// as the process. One worker holds the baton; all others sleep on their own. Only the holder touches the Run,
// so it needs no lock: passing the baton on is the release, receiving it the acquire. The exceptions are
// atomics, and they are what the watchdog (the caller of DeterministicScheduler::run) reads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/sched.h"

namespace headrace::sched {
namespace detail {

struct Run;
struct Worker;

struct Random {
  std::uint64_t state;
  std::uint64_t next() {  // splitmix64
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
};

enum class State { ready, waiting, finished };
enum class WaitFor { mutex, condition, thread, time };

struct Task {
  std::string name;
  std::function<void()> body;
  std::shared_ptr<Run> run;
  Worker* worker = nullptr;
  std::uint64_t number = 0;  // in order of creation; 0 is the body of run()
  std::uint64_t priority = 0;
  State state = State::ready;
  WaitFor wait_for = WaitFor::mutex;
  const void* object = nullptr;  // the Mutex, CondVar or Task that is waited for
  const char* object_name = "";
  Clock::time_point deadline = Clock::time_point::max();
  bool timed_out = false;
  std::atomic<bool> finished{false};
  std::atomic<const char*> last_call{"start"};
};

constexpr std::uint64_t kAbandoned = 1;  // bit 0 of Run::step_word; steps are counted above it

struct Run : std::enable_shared_from_this<Run> {
  // Touched by the holder of the baton only.
  DeterministicOptions options;
  std::uint64_t id = 0;
  Random random{0};
  std::vector<std::shared_ptr<Task>> tasks;  // never shrinks: a task's number is its index
  std::vector<Task*> live;
  std::vector<Task*> ready;  // scratch of choose()
  Clock::time_point now{std::chrono::seconds(1)};
  std::uint64_t hash = 0xcbf29ce484222325u;
  std::uint64_t switches = 0;
  std::exception_ptr first_exception;
  bool by_priority = false;       // else a random walk that stays with the running task ...
  std::uint64_t stay_of_256 = 0;  // ... with this probability

  // Also read by the watchdog.
  std::atomic<std::uint64_t> step_word{0};
  std::atomic<Task*> holder{nullptr};

  std::mutex done_mutex;
  std::condition_variable done_signal;
  bool done = false;
  std::string failure;

  void mix(std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3u + (hash >> 29); }

  // Names the holder, and lets the watchdog see all that was done to the run so far.
  void publish(Task* task) { holder.store(task, std::memory_order_release); }

  void complete(std::string why = {}) {
    std::lock_guard lock(done_mutex);
    failure = std::move(why);
    done = true;
    done_signal.notify_all();
  }
};

extern constinit thread_local Task* t_task;  // the calling thread's task; null on native threads

// A call into the seam by the calling task: counts it, then lets the seed say who goes on. Does not return
// once the run has failed.
void step(const char* call);
// The halves of step(), for calls that change state in between.
void count_step(Run& run, Task& self, const char* call);
void go_on(Run& run, Task& self);

// Waits until somebody wakes the calling task; false when the deadline came first.
bool block(WaitFor wait_for, const void* object, const char* object_name, Clock::time_point deadline);
void wake(Task& task);
void wake_all(Run& run, WaitFor wait_for, const void* object);

std::shared_ptr<Task> make_task(Run& run, std::string name, std::function<void()> body);
std::uint64_t owner_word(const Task& task);  // what Mutex::owner_ holds

// What sched.cc needs beyond sched.h. All but join_task only where deterministic() holds.
Clock::time_point now();
void sleep(Clock::time_point deadline);
std::uint64_t task_id() noexcept;
std::shared_ptr<Task> start_task(const std::string& name, std::function<void()> body);
// From a thread outside the run: returns when the task has finished already, else throws.
void join_task(Task& task);

}  // namespace detail

// Reads what tasks wait for; a friend of Mutex.
struct DeadlockReport {
  static std::uint64_t owner(const Mutex& mutex) { return mutex.owner_.load(std::memory_order_relaxed); }
};

}  // namespace headrace::sched
