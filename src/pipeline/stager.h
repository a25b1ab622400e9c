// Copies from pageable memory, by several threads where it is large.
//
// Contract: thread-safe; `copy` returns when all is copied, and the calling thread takes part. The threads
// start with the first large copy. Calls share the threads.
#pragma once

#include <cstddef>
#include <deque>
#include <span>
#include <vector>

#include "base/sched.h"

namespace headrace::pipeline {

class Stager {
 public:
  struct Piece {
    std::byte* to = nullptr;
    const std::byte* from = nullptr;
    std::size_t size = 0;
  };
  static constexpr std::size_t kChunk = std::size_t{1} << 20;  ///< what a thread takes at once

  /// `threads`, the caller apart; 0: none.
  explicit Stager(int threads) : threads_(threads) {}
  ~Stager() { close(); }
  void copy(std::span<const Piece> pieces);
  void close();  ///< joins the threads; later copies run on the caller alone

 private:
  struct Call {
    std::span<const Piece> pieces;
    std::size_t piece = 0, offset = 0;  ///< of the next chunk
    std::size_t running = 0;            ///< chunks being copied
    bool exhausted() const { return piece == pieces.size(); }
  };
  void work();
  /// Copies the next chunk of `call`, without the lock.
  void copy_chunk(sched::UniqueLock& lock, Call& call);

  int threads_;
  sched::Mutex mutex_{"stager"};
  sched::CondVar work_{"stager.work"}, done_{"stager.done"};
  std::deque<Call*> calls_;  ///< with chunks left
  std::vector<sched::Thread> workers_;
  bool closing_ = false;
};

}  // namespace headrace::pipeline
