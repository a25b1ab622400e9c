// The native half of the seam, and Thread, which is native or a task of the deterministic scheduler.
#include "base/sched.h"

#include <cstdio>
#include <exception>
#include <utility>

#include <pthread.h>

#include "base/hooks.h"
#include "base/sched_run.h"

namespace headrace::sched {
namespace {

void set_native_name(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());  // 15: the kernel's limit
}

std::chrono::steady_clock::time_point to_native(Clock::time_point time) {
  return std::chrono::steady_clock::time_point(time.time_since_epoch());
}

}  // namespace

Clock::time_point Clock::now() {
  if (detail::deterministic()) [[unlikely]]
    return detail::now();
  return time_point(std::chrono::steady_clock::now().time_since_epoch());
}

Clock::time_point Clock::after(duration wait) {
  const time_point start = now();
  return wait > time_point::max() - start ? time_point::max() : start + wait;
}

bool CondVar::wait_until(UniqueLock& lock, Clock::time_point deadline) {
  if (detail::deterministic()) [[unlikely]]
    return detail::wait(*this, *lock.mutex(), deadline);
  std::unique_lock<std::mutex> native(lock.mutex()->native_, std::adopt_lock);
  bool woken = true;
  if (deadline == Clock::time_point::max()) {
    native_.wait(native);
  } else {
    woken = native_.wait_until(native, to_native(deadline)) == std::cv_status::no_timeout;
  }
  static_cast<void>(native.release());  // `lock` goes on owning the mutex
  return woken;
}

void sleep_until(Clock::time_point deadline) {
  if (detail::deterministic()) [[unlikely]]
    return detail::sleep(deadline);
  std::this_thread::sleep_until(to_native(deadline));
}

void poll_pause(bool give_way) {
  if (detail::deterministic()) [[unlikely]]
    detail::sleep(Clock::after(std::chrono::microseconds(1)));
  else if (give_way)
    std::this_thread::yield();
  else
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

std::uint64_t this_thread_id() noexcept {
  if (detail::deterministic()) [[unlikely]]
    return detail::task_id();
  static std::atomic<std::uint64_t> next{1};
  thread_local const std::uint64_t id = next.fetch_add(1, std::memory_order_relaxed);
  return id;
}

Thread::Thread(std::string name, std::function<void()> work)
    : name_(std::move(name)), order_(std::make_shared<char>()) {
  hooks::release(order_.get());
  auto body = [order = order_, work = std::move(work)] {
    hooks::acquire(order.get());
    work();
    hooks::release(order.get());
  };
  if (detail::deterministic()) {
    task_ = detail::start_task(name_, std::move(body));
  } else {
    native_ = std::thread([name = name_, body = std::move(body)]() noexcept {
      set_native_name(name);
      body();  // noexcept: an exception ends the process here, with the body's frames still on the stack
    });
  }
}

Thread::Thread(Thread&& other) noexcept
    : name_(std::move(other.name_)),
      native_(std::move(other.native_)),
      task_(std::move(other.task_)),
      order_(std::move(other.order_)) {}

Thread& Thread::operator=(Thread&& other) noexcept {
  if (this != &other) {
    require_joined();
    name_ = std::move(other.name_);
    native_ = std::move(other.native_);
    task_ = std::move(other.task_);
    order_ = std::move(other.order_);
  }
  return *this;
}

Thread::~Thread() { require_joined(); }

void Thread::join() {
  if (task_ != nullptr) {
    detail::join_task(*task_);
    task_.reset();
  } else {
    native_.join();
  }
  hooks::acquire(order_.get());
}

void Thread::require_joined() const noexcept {
  if (!joinable()) return;
  std::fprintf(stderr, "headrace: thread '%s' was dropped before join()\n", name_.c_str());
  std::terminate();
}

}  // namespace headrace::sched
