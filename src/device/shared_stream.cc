#include "device/shared_stream.h"

#include <string>
#include <utility>

#include <headrace/error.h>

namespace headrace::detail {

Held hold(const std::weak_ptr<Memory>& memory, std::size_t offset, std::size_t size, const DeviceRef& device,
          std::string_view what) {
  Held held{memory.lock(), offset, size};
  if (!held.memory)
    throw Error(ErrorCode::misuse, std::string(what) +
                                       ": this span has no memory: its owner was destroyed, or it was never "
                                       "made from one; keep the DeviceBuffer or PinnedBuffer until here");
  if (held.memory->device != device)
    throw Error(ErrorCode::misuse, std::string(what) +
                                       ": this memory belongs to another engine's device; allocate it with "
                                       "the engine that uses it, or hand it over through DLPack");
  return held;
}

Moment::Moment(DeviceRef d) : device(std::move(d)), event(device->make_event()) {
  kept_.reserve(SharedStream::kKept);
}

void Moment::keep(std::vector<Keep>& memory) {
  sched::LockGuard lock(mutex_);
  kept_.swap(memory);
  memory.clear();
}

void Moment::forget() {
  sched::LockGuard lock(mutex_);
  kept_.clear();
}

bool Moment::over() const noexcept {
  try {
    return !recorded || event->ready();
  } catch (...) {  // the device is dead
    return true;
  }
}

SharedStream::SharedStream(DeviceRef device, std::unique_ptr<Stream> stream)
    : device_(std::move(device)), stream_(std::move(stream)) {
  kept_.reserve(kKept);
  for (std::size_t i = 0; i < kMoments; ++i) moments_.push_back(std::make_shared<Moment>(device_));
}

SharedStream::~SharedStream() {
  stream_.reset();
  for (const MomentRef& moment : moments_) moment->forget();  // events may live on
}

MomentRef SharedStream::next_moment() {
  for (;;) {
    bool pending = false;
    for (std::size_t i = 0; i < moments_.size(); ++i) {
      const std::size_t at = (next_ + i) % moments_.size();
      if (moments_[at].use_count() > 1) continue;
      if (!moments_[at]->over()) {
        pending = true;
        continue;
      }
      next_ = (at + 1) % moments_.size();
      moments_[at]->forget();
      moments_[at]->recorded = false;
      return moments_[at];
    }
    if (!pending) break;
    sched::poll_pause(true);  // a wait would meet errors that are others'
  }
  moments_.push_back(std::make_shared<Moment>(device_));  // somebody holds all of them
  return moments_.back();
}

void SharedStream::recorded(Moment& done) {
  done.recorded = true;
  done.keep(kept_);
}

void SharedStream::make_room(std::size_t pieces) {
  if (!kept_.empty() && kept_.size() + pieces > kKept) record();
}

void SharedStream::keep(Keep memory) { kept_.push_back(std::move(memory)); }

MomentRef SharedStream::record() {
  MomentRef moment = next_moment();
  stream_->record(*moment->event);
  recorded(*moment);
  return moment;
}

void SharedStream::copy(const Held& dst, const Held& src) {
  make_room(2);
  keep(dst.memory);
  keep(src.memory);
  stream_->copy(dst.operand(Access::write), src.operand(Access::read));
}

void SharedStream::wait(const Moment& moment) {
  if (moment.device != device_)
    throw Error(ErrorCode::misuse,
                "wait: this event belongs to another engine's device; events order work of one device only, "
                "let the host wait for it");
  stream_->wait(*moment.event);
}

void SharedStream::synchronize() {
  stream_->synchronize();
  kept_.clear();
  for (const MomentRef& moment : moments_)
    if (moment->over()) moment->forget();
}

}  // namespace headrace::detail
