// The deterministic half of every call into the seam.
#include <utility>
#include <vector>

#include <headrace/error.h>

#include "base/sched_run.h"

namespace headrace::sched::detail {

Task* current_task() noexcept { return t_task; }

std::uint64_t task_id() noexcept { return std::uint64_t{1} << 63 | owner_word(*t_task); }

// The native mutex is taken with try_lock, so that it also excludes threads outside the run.
void lock(Mutex& mutex) {
  step("Mutex::lock");
  while (!mutex.native_.try_lock()) {
    if (mutex.owner_.load(std::memory_order_relaxed) >> 16 != t_task->run->id) {
      mutex.native_.lock();  // a thread outside the run has it, and needs no baton to give it back
      break;
    }
    block(WaitFor::mutex, &mutex, mutex.name_, Clock::time_point::max());
  }
  mutex.owner_.store(owner_word(*t_task), std::memory_order_relaxed);
}

bool try_lock(Mutex& mutex) {
  step("Mutex::try_lock");
  if (!mutex.native_.try_lock()) return false;
  mutex.owner_.store(owner_word(*t_task), std::memory_order_relaxed);
  return true;
}

void unlock(Mutex& mutex) noexcept {
  mutex.owner_.store(0, std::memory_order_relaxed);
  mutex.native_.unlock();
  wake_all(*t_task->run, WaitFor::mutex, &mutex);
  step("Mutex::unlock");
}

bool wait(CondVar& condition, Mutex& mutex, Clock::time_point deadline) {
  Run& run = *t_task->run;
  count_step(run, *t_task, "CondVar::wait");
  mutex.owner_.store(0, std::memory_order_relaxed);
  mutex.native_.unlock();
  wake_all(run, WaitFor::mutex, &mutex);
  bool woken = true;
  if (deadline <= run.now) {
    go_on(run, *t_task);
    woken = false;
  } else if (run.options.spurious_wakes && run.random.below(16) == 0) {
    go_on(run, *t_task);
  } else {
    woken = block(WaitFor::condition, &condition, condition.name(), deadline);
  }
  lock(mutex);
  return woken;
}

void notify(CondVar& condition, bool all) noexcept {
  step("CondVar::notify");
  Run& run = *t_task->run;
  std::vector<Task*> waiters;
  for (Task* task : run.live) {
    if (task->state == State::waiting && task->wait_for == WaitFor::condition && task->object == &condition) {
      waiters.push_back(task);
    }
  }
  if (waiters.empty()) return;
  if (!all) waiters = {waiters[run.random.below(waiters.size())]};
  for (Task* task : waiters) wake(*task);
  run.publish(t_task);
}

void yield() noexcept { step("yield_point"); }

Clock::time_point now() {
  step("Clock::now");
  return t_task->run->now;
}

void sleep(Clock::time_point deadline) {
  step("sleep");
  if (deadline > t_task->run->now) block(WaitFor::time, nullptr, "", deadline);
}

std::shared_ptr<Task> start_task(const std::string& name, std::function<void()> body) {
  auto task = make_task(*t_task->run, name, std::move(body));
  step("Thread::Thread");
  return task;
}

void join_task(Task& task) {
  if (t_task != nullptr && t_task->run == task.run) {
    step("Thread::join");
    while (!task.finished.load(std::memory_order_acquire)) {
      block(WaitFor::thread, &task, task.name.c_str(), Clock::time_point::max());
    }
  } else if (!task.finished.load(std::memory_order_acquire)) {
    throw Error(ErrorCode::misuse,
                "thread '" + task.name +
                    "' belongs to a deterministic run and was joined from outside it; join it inside");
  }
}

}  // namespace headrace::sched::detail
