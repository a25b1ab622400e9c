#include "pipeline/follower.h"

#include <utility>

namespace headrace::pipeline {

namespace {
constexpr auto kForever = sched::Clock::time_point::max();

bool has_ended(const Event& event) {
  try {
    return event.ready();
  } catch (...) {  // the device is dead
    return true;
  }
}
}  // namespace

Follower::Follower(std::string name, Device& device, std::size_t capacity, WaitPolicy wait, Act act)
    : wait_(wait), act_(std::move(act)), ring_(capacity) {
  for (Place& place : ring_) place.event = device.make_event({.spin = wait == WaitPolicy::spin});
  thread_ = sched::Thread(std::move(name), [this] { work(); });
}

Event& Follower::next() {
  sched::UniqueLock lock(mutex_);
  while (tail_ - head_ == ring_.size()) changed_.wait_until(lock, kForever, wait_);
  return *ring_[tail_ % ring_.size()].event;
}

void Follower::push(const Item& item) {
  sched::LockGuard lock(mutex_);
  ring_[tail_ % ring_.size()].item = item;
  ++tail_;
  changed_.notify();
}

void Follower::close() {
  {
    sched::LockGuard lock(mutex_);
    closing_ = true;
    changed_.notify();
  }
  if (thread_.joinable()) thread_.join();
}

void Follower::wait_for(Event& event) const {
  try {
    if (wait_ == WaitPolicy::yield)
      while (!event.ready()) sched::poll_pause(true);
    event.wait();
  } catch (...) {
    // Of work that has failed, or of the waiting itself: then the work may still use its memory.
    while (!has_ended(event)) sched::poll_pause(true);
    throw;
  }
}

void Follower::work() {
  sched::UniqueLock lock(mutex_);
  for (;;) {
    while (head_ == tail_ && !closing_) changed_.wait_until(lock, kForever, wait_);
    if (head_ == tail_) return;
    Place& place = ring_[head_ % ring_.size()];
    lock.unlock();
    std::exception_ptr error;
    try {
      wait_for(*place.event);
    } catch (...) {
      error = std::current_exception();
    }
    act_(place.item, std::move(error));
    lock.lock();
    ++head_;
    changed_.notify();
  }
}

}  // namespace headrace::pipeline
