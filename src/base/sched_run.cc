// Who goes on: the pool of workers, the seeded choice, virtual time, deadlocks, and the watchdog.
#include "base/sched_run.h"

#include <algorithm>
#include <climits>
#include <sstream>
#include <utility>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <headrace/error.h>

namespace headrace::sched {
namespace detail {

// One sleeper, one waker at a time.
class Baton {
 public:
  void release() {
    held_.store(1, std::memory_order_release);
    syscall(SYS_futex, &held_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
  void acquire() {
    while (held_.exchange(0, std::memory_order_acquire) == 0) {
      syscall(SYS_futex, &held_, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
    }
  }

 private:
  std::atomic<std::uint32_t> held_{0};
};

struct Worker {
  Baton baton;
  std::shared_ptr<Task> task;  // set while the worker sleeps; the first baton starts it
};

constinit thread_local Task* t_task = nullptr;

namespace {

// The workers of the process. Those of failed runs never come back.
class Pool {
 public:
  static Pool& instance() {
    static Pool* pool = new Pool;  // never destroyed: its threads outlive static destructors
    return *pool;
  }
  Worker* take() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) {
      auto* worker = new Worker;
      all_.push_back(worker);
      std::thread(&Pool::serve, this, worker).detach();
      return worker;
    }
    Worker* worker = free_.back();
    free_.pop_back();
    return worker;
  }
  void give_back(Worker* worker) {
    std::lock_guard lock(mutex_);
    free_.push_back(worker);
  }

 private:
  void serve(Worker* worker);
  std::mutex mutex_;
  std::vector<Worker*> free_;
  std::vector<Worker*> all_;  // keeps parked workers reachable
};

[[noreturn]] void park() {
  for (;;) pause();
}

std::string describe(const Run& run, const Task& task) {
  std::ostringstream text;
  text << "thread '" << task.name << "' ";
  if (task.state == State::finished) {
    text << "has finished";
  } else if (task.state == State::ready) {
    text << "can run (last call: " << task.last_call.load() << ")";
  } else {
    switch (task.wait_for) {
      case WaitFor::mutex: {
        text << "waits for mutex '" << task.object_name << "'";
        const std::uint64_t owner = DeadlockReport::owner(*static_cast<const Mutex*>(task.object));
        if (owner >> 16 == run.id)
          text << " held by thread '" << run.tasks[(owner & 0xffff) - 1]->name << "'";
        break;
      }
      case WaitFor::condition: text << "waits for condition '" << task.object_name << "'"; break;
      case WaitFor::thread: text << "joins thread '" << task.object_name << "'"; break;
      case WaitFor::time: text << "sleeps"; break;
    }
  }
  return text.str();
}

std::string report(const Run& run, const std::string& headline) {
  std::ostringstream text;
  text << headline << " (seed " << run.options.seed << ", step " << (run.step_word.load() >> 1) << ")";
  for (const Task* task : run.live) text << "\n  " << describe(run, *task);
  return text.str();
}

Task* pick_by_priority(Run& run, Task* current) {
  if (run.random.below(32) == 0) {  // a change point: the running task falls behind all others
    std::uint64_t lowest = current->priority;
    for (const Task* task : run.live) lowest = std::min(lowest, task->priority);
    current->priority = lowest - 1;
  }
  return *std::max_element(run.ready.begin(), run.ready.end(),
                           [](const Task* a, const Task* b) { return a->priority < b->priority; });
}

void collect_ready(Run& run) {
  run.ready.clear();
  for (Task* task : run.live) {
    if (task->state == State::ready) run.ready.push_back(task);
  }
}

// Who goes on. Null when nobody can: the run has then been completed, or has failed.
Task* choose(Run& run, Task* current) {
  if (run.live.empty()) {
    run.complete();
    return nullptr;
  }
  collect_ready(run);
  if (run.ready.empty()) {
    auto earliest = Clock::time_point::max();
    for (const Task* task : run.live) earliest = std::min(earliest, task->deadline);
    if (earliest == Clock::time_point::max()) {
      run.complete(report(run, "deadlock: every thread waits, and none with a deadline"));
      return nullptr;
    }
    run.now = std::max(run.now, earliest);
    for (Task* task : run.live) {
      if (task->deadline <= run.now) {
        task->state = State::ready;
        task->deadline = Clock::time_point::max();
        task->timed_out = true;
      }
    }
    collect_ready(run);
  }
  Task* next = run.ready.front();
  if (run.ready.size() > 1) {
    if (run.by_priority) {
      next = pick_by_priority(run, current);
    } else if (current->state != State::ready || run.random.below(256) >= run.stay_of_256) {
      next = run.ready[run.random.below(run.ready.size())];
    } else {
      next = current;
    }
  }
  run.mix(next->number << 8 | run.ready.size());
  if (next != current) ++run.switches;
  run.publish(next);
  return next;
}

void hand_over(Task* next) { next->worker->baton.release(); }

}  // namespace

void go_on(Run& run, Task& self) {
  Task* next = choose(run, &self);
  if (next == nullptr) park();
  if (next == &self) return;
  hand_over(next);
  self.worker->baton.acquire();
}

void count_step(Run& run, Task& self, const char* call) {
  self.last_call.store(call, std::memory_order_relaxed);
  const std::uint64_t word = run.step_word.fetch_add(2, std::memory_order_acq_rel);
  if (word & kAbandoned) park();
  if (word >> 1 >= run.options.max_steps) {
    run.complete(report(run, "livelock: more than " + std::to_string(run.options.max_steps) +
                                 " calls into the scheduling seam; does a thread poll without waiting?"));
    park();
  }
}

void step(const char* call) {
  Task* self = t_task;
  count_step(*self->run, *self, call);
  go_on(*self->run, *self);
}

bool block(WaitFor wait_for, const void* object, const char* object_name, Clock::time_point deadline) {
  Task* self = t_task;
  self->state = State::waiting;
  self->wait_for = wait_for;
  self->object = object;
  self->object_name = object_name;
  self->deadline = deadline;
  self->timed_out = false;
  go_on(*self->run, *self);
  self->object = nullptr;
  return !self->timed_out;
}

void wake(Task& task) {
  task.state = State::ready;
  task.deadline = Clock::time_point::max();
}

void wake_all(Run& run, WaitFor wait_for, const void* object) {
  for (Task* task : run.live) {
    if (task->state == State::waiting && task->wait_for == wait_for && task->object == object) wake(*task);
  }
}

std::shared_ptr<Task> make_task(Run& run, std::string name, std::function<void()> body) {
  if (run.tasks.size() >= 0xfffe) {
    throw Error(ErrorCode::misuse, "a deterministic run may start at most 65,534 threads");
  }
  auto task = std::make_shared<Task>();
  task->name = std::move(name);
  task->body = std::move(body);
  task->run = run.shared_from_this();
  task->number = run.tasks.size();
  task->priority = (std::uint64_t{1} << 32) + run.random.below(std::uint64_t{1} << 32);
  task->worker = Pool::instance().take();
  task->worker->task = task;
  run.tasks.push_back(task);
  run.live.push_back(task.get());
  return task;
}

std::uint64_t owner_word(const Task& task) { return task.run->id << 16 | (task.number + 1); }

namespace {

// Ends the running task. Its worker is back in the pool before the baton goes on, so that the next run, which
// may start at once, finds it there.
void finish(const std::shared_ptr<Task>& task, Worker* worker) {
  const std::shared_ptr<Run> run = task->run;
  count_step(*run, *task, "end");
  task->body = nullptr;
  task->state = State::finished;
  task->finished.store(true, std::memory_order_release);
  std::erase(run->live, task.get());
  wake_all(*run, WaitFor::thread, task.get());
  t_task = nullptr;
  Pool::instance().give_back(worker);
  if (Task* next = choose(*run, task.get())) hand_over(next);
}

void Pool::serve(Worker* worker) {
  for (;;) {
    worker->baton.acquire();
    const std::shared_ptr<Task> task = std::move(worker->task);
    t_task = task.get();
    try {
      task->body();
    } catch (...) {
      if (!task->run->first_exception) task->run->first_exception = std::current_exception();
    }
    finish(task, worker);
  }
}

}  // namespace
}  // namespace detail

void DeterministicScheduler::run(std::function<void()> body) {
  using namespace detail;
  if (t_task != nullptr) {
    throw Error(ErrorCode::misuse, "DeterministicScheduler::run was called inside a run; runs do not nest");
  }
  static std::atomic<std::uint64_t> next_id{1};
  auto run = std::make_shared<Run>();
  run->options = options_;
  run->id = next_id.fetch_add(1, std::memory_order_relaxed);
  run->random.state = options_.seed * 0xd1342543de82ef95u + 1;
  constexpr std::uint64_t kStay[] = {0, 128, 224};
  const std::uint64_t strategy = run->random.below(4);
  run->by_priority = strategy == 3;
  if (!run->by_priority) run->stay_of_256 = kStay[strategy];

  struct Active {
    bool parked = false;  // a failed run's threads stay in the seam for good
    Active() { active_runs.fetch_add(1); }
    ~Active() {
      if (!parked) active_runs.fetch_sub(1);
    }
  } active;
  const std::shared_ptr<Task> main = make_task(*run, "main", std::move(body));
  run->publish(main.get());
  main->worker->baton.release();

  std::unique_lock lock(run->done_mutex);
  std::uint64_t seen = 0;
  auto seen_at = std::chrono::steady_clock::now();
  while (!run->done_signal.wait_for(lock, options_.watchdog / 4, [&] { return run->done; })) {
    std::uint64_t word = run->step_word.load();
    const auto time = std::chrono::steady_clock::now();
    if (word != seen) {
      seen = word;
      seen_at = time;
    } else if (time - seen_at >= options_.watchdog &&
               run->step_word.compare_exchange_strong(word, word | kAbandoned)) {
      // The holder is outside the seam; it parks itself when it calls in. It may touch live and tasks no
      // more.
      const Task* holder = run->holder.load(std::memory_order_acquire);
      run->failure =
          report(*run, "watchdog: thread '" + holder->name + "' made no call into the scheduling " +
                           "seam for " + std::to_string(options_.watchdog.count()) +
                           " ms; it blocks outside the seam (last call: " + holder->last_call.load() + ")");
      run->done = true;
    }
  }
  steps_ = run->step_word.load() >> 1;
  trace_hash_ = run->hash;
  switches_ = run->switches;
  if (!run->failure.empty()) {
    active.parked = true;
    throw Error(ErrorCode::internal, run->failure);
  }
  for (const auto& task : run->tasks) task->run.reset();  // they own each other
  if (run->first_exception) std::rethrow_exception(run->first_exception);
}

void explore(std::uint64_t first_seed, std::uint64_t count, const std::function<void()>& body) {
  for (std::uint64_t seed = first_seed; seed < first_seed + count; ++seed) {
    const std::string frame = "under seed " + std::to_string(seed) + " of the deterministic scheduler";
    try {
      DeterministicScheduler(seed).run(body);
    } catch (Error& error) {
      error.add_context(frame);
      throw;
    } catch (const std::exception& error) {
      throw Error(ErrorCode::internal, error.what()).add_context(frame);
    }
  }
}

}  // namespace headrace::sched
