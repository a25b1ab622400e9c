#include "pipeline/stager.h"

#include <algorithm>
#include <cstring>

namespace headrace::pipeline {

void Stager::copy(std::span<const Piece> pieces) {
  std::size_t total = 0;
  for (const Piece& p : pieces) total += p.size;
  if (threads_ == 0 || total < 2 * kChunk) {
    for (const Piece& p : pieces)
      if (p.size > 0) std::memcpy(p.to, p.from, p.size);
    return;
  }
  Call call{.pieces = pieces};
  sched::UniqueLock lock(mutex_);
  while (!closing_ && workers_.size() < static_cast<std::size_t>(threads_))
    workers_.emplace_back("headrace stager", [this] { work(); });
  calls_.push_back(&call);
  work_.notify_all();
  while (!call.exhausted()) copy_chunk(lock, call);
  done_.wait(lock, [&] { return call.running == 0; });
}

void Stager::copy_chunk(sched::UniqueLock& lock, Call& call) {
  const Piece& piece = call.pieces[call.piece];
  const std::size_t offset = call.offset, size = std::min(kChunk, piece.size - offset);
  call.offset += size;
  if (call.offset == piece.size) {
    call.offset = 0;
    if (++call.piece == call.pieces.size()) std::erase(calls_, &call);
  }
  ++call.running;
  lock.unlock();
  if (size > 0) std::memcpy(piece.to + offset, piece.from + offset, size);
  lock.lock();
  if (--call.running == 0) done_.notify_all();  // `call` may be gone after this
}

void Stager::work() {
  sched::UniqueLock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return closing_ || !calls_.empty(); });
    if (calls_.empty()) return;
    copy_chunk(lock, *calls_.front());
  }
}

void Stager::close() {
  {
    sched::LockGuard lock(mutex_);
    closing_ = true;
    work_.notify_all();
  }
  for (sched::Thread& thread : workers_)
    if (thread.joinable()) thread.join();
}

}  // namespace headrace::pipeline
