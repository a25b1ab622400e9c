#include "backends/sim/machine.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/sim/recording.h"

namespace headrace::sim {

std::string_view to_string(Call call) {
  constexpr std::string_view kNames[kCalls] = {"allocate", "copy",        "launch",         "record",
                                               "wait",     "synchronize", "make_recording", "replay"};
  return kNames[static_cast<std::size_t>(call)];
}

sched::Clock::time_point Machine::enter(Engine engine) {
  Line& line = lines_[static_cast<std::size_t>(engine)];
  sched::UniqueLock lock(line.mutex);
  const std::uint64_t place = line.next++;
  line.changed.wait(lock, [&] { return line.served == place; });
  return sched::Clock::now();
}

void Machine::leave(Span span) {
  Line& line = lines_[static_cast<std::size_t>(span.engine)];
  {
    sched::LockGuard lock(mutex_);
    timeline_.push_back(std::move(span));
  }
  {
    sched::LockGuard lock(line.mutex);
    ++line.served;
  }
  line.changed.notify_all();
}

Injected Machine::count(Call call, std::string_view stream) {
  sched::LockGuard lock(mutex_);
  if (death_) std::rethrow_exception(death_);
  const std::uint64_t number = counters_.calls[static_cast<std::size_t>(call)]++;
  const auto hit = std::find_if(faults_.begin(), faults_.end(),
                                [&](Fault& f) { return f.call == call && f.number-- == 0; });
  if (hit == faults_.end()) return {};
  const Fault fault = *hit;
  faults_.erase(hit);
  Error error(ErrorCode::device, fmt::format("injected fault: {} number {}{}", to_string(call), number,
                                             stream.empty() ? "" : fmt::format(" on stream '{}'", stream)));
  const bool is_work = call == Call::copy || call == Call::launch || call == Call::replay;
  const bool sticky = fault.way == Fault::sticky;
  if (sticky) error.add_context("the device has died: all later work on it fails");
  if (is_work && fault.way != Fault::refused) return {std::make_exception_ptr(error), sticky};
  if (sticky) death_ = std::make_exception_ptr(error);
  throw error;
}

void Machine::count_copy(bool to_device, bool pageable, std::size_t size) {
  sched::LockGuard lock(mutex_);
  ++(to_device ? counters_.uploads : counters_.downloads);
  (to_device ? counters_.upload_bytes : counters_.download_bytes) += size;
  counters_.pageable_copies += pageable;
}
void Machine::count_device_allocation() {
  sched::LockGuard lock(mutex_);
  ++counters_.device_allocations;
}
std::exception_ptr Machine::death() const {
  sched::LockGuard lock(mutex_);
  return death_;
}
void Machine::die(std::exception_ptr error) {
  sched::LockGuard lock(mutex_);
  if (!death_) death_ = std::move(error);
}

void Machine::violation(std::string text) {
  sched::LockGuard lock(mutex_);
  if (violations_.size() < 1000) violations_.push_back(std::move(text));
}

void Machine::add_storage(const StorageRef& storage) {
  sched::LockGuard lock(mutex_);
  std::weak_ptr<Storage>& known = storages_[storage->data()];
  if (known.expired()) known = storage;  // else: memory of this machine, wrapped
}
void Machine::remove_storage(const std::byte* data) {
  sched::LockGuard lock(mutex_);
  const auto it = storages_.find(data);
  if (it != storages_.end() && it->second.expired()) storages_.erase(it);
}
StorageRef Machine::find_storage(const std::byte* data) const {
  sched::LockGuard lock(mutex_);
  const auto it = storages_.find(data);
  return it == storages_.end() ? nullptr : it->second.lock();
}

void Machine::begin_capture(Capture& capture) {
  sched::LockGuard lock(mutex_);
  captures_.push_back(&capture);
}
void Machine::end_capture(Capture& capture) {
  sched::LockGuard lock(mutex_);
  std::erase(captures_, &capture);
}
void Machine::forbid_in_capture(std::string_view what, bool neighbours) {
  const std::uint64_t thread = sched::this_thread_id();
  std::string message;
  {
    sched::LockGuard lock(mutex_);
    for (Capture* capture : captures_) {
      if (capture->thread != thread && !(neighbours && options.global_capture)) continue;
      message = fmt::format("{} while a stream is being captured{}: it would wait for work that does not run",
                            what, capture->thread == thread ? "" : " by another thread, in global mode");
      if (capture->broken.empty()) capture->broken = message;
    }
  }
  if (!message.empty()) throw Error(ErrorCode::misuse, message);
}

Counters Machine::counters() const {
  sched::LockGuard lock(mutex_);
  return counters_;
}
std::vector<std::string> Machine::violations() const {
  sched::LockGuard lock(mutex_);
  return violations_;
}
std::vector<Span> Machine::timeline() const {
  sched::LockGuard lock(mutex_);
  return timeline_;
}
void Machine::clear_timeline() {
  sched::LockGuard lock(mutex_);
  timeline_.clear();
}
void Machine::inject(const Fault& fault) {
  sched::LockGuard lock(mutex_);
  faults_.push_back(fault);
}

}  // namespace headrace::sim
