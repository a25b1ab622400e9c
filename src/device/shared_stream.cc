#include "device/shared_stream.h"

#include <algorithm>
#include <iterator>
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

void check_alignment(const Held& held, std::size_t element_bytes, std::string_view what) {
  const std::size_t alignment = held.memory->device->unified_memory() ? element_bytes : 16;
  const auto address = reinterpret_cast<std::uintptr_t>(held.memory->buffer->device_data()) + held.offset;
  if (held.size > 0 && address % alignment != 0)
    throw Error(ErrorCode::misuse, std::string(what) + ": the memory given is not aligned to " +
                                       std::to_string(alignment) +
                                       " bytes, as kernels of this device need it");
}

Keeper::Keeper() {
  kept_.reserve(kMoments * kKept);
  gone_.reserve(kMoments * kKept);
}

void Keeper::add(std::uint64_t record, Keep memory) {
  sched::LockGuard lock(mutex_);
  kept_.emplace_back(record, std::move(memory));
}

void Keeper::forget_until(std::uint64_t record) {
  decltype(kept_) gone;  // ends without the lock: owners are somebody else's code
  {
    sched::LockGuard lock(mutex_);
    const auto end =
        std::find_if(kept_.begin(), kept_.end(), [&](const auto& kept) { return kept.first > record; });
    if (end == kept_.begin()) return;
    gone.swap(gone_);
    gone.insert(gone.end(), std::make_move_iterator(kept_.begin()), std::make_move_iterator(end));
    kept_.erase(kept_.begin(), end);
  }
  gone.clear();
  sched::LockGuard lock(mutex_);
  gone_.swap(gone);
}

bool Moment::over() const noexcept {
  try {
    return !recorded || event->ready();
  } catch (...) {  // the device is dead
    return true;
  }
}

MomentPool::MomentPool(DeviceRef device, std::shared_ptr<Keeper> keeper)
    : device_(std::move(device)), keeper_(std::move(keeper)) {
  for (std::size_t i = 0; i < kMoments; ++i) moments_.push_back(std::make_shared<Moment>(device_, keeper_));
}

MomentRef MomentPool::next() {
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
  moments_.push_back(std::make_shared<Moment>(device_, keeper_));  // somebody holds all of them
  return moments_.back();
}

SharedStream::SharedStream(DeviceRef device, std::unique_ptr<Stream> stream)
    : device_(std::move(device)), moments_(device_, keeper_), stream_(std::move(stream)) {}

SharedStream::~SharedStream() {
  stream_.reset();
  keeper_->forget_until(UINT64_MAX);  // events may live on
}

MomentRef SharedStream::next_moment() {
  if (last_ && last_->over()) last_->forget();
  return moments_.next();
}

void SharedStream::recorded(const MomentRef& moment) {
  moment->recorded = true;
  moment->record = records_++;
  kept_ = 0;
  last_ = moment.get();
}

void SharedStream::make_room(std::size_t pieces) {
  if (kept_ > 0 && kept_ + pieces > kKept) record();
}

void SharedStream::keep(Keep memory) {
  keeper_->add(records_, std::move(memory));
  ++kept_;
}

MomentRef SharedStream::record() {
  MomentRef moment = next_moment();
  stream_->record(*moment->event);
  recorded(moment);
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
  keeper_->forget_until(records_);
}

}  // namespace headrace::detail
