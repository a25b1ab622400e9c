// A context of a session with its streams, and the threads that feed and follow it.
//
// On a device with memory of its own the lane's thread submits jobs one after the other: upload, computation
// and download on three streams, ordered by events. It waits for none of them: one follower frees inputs as
// they are uploaded, another finishes jobs as they are downloaded. Where device memory is host memory the
// lane's thread computes itself, on a team of its own.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "pipeline/follower.h"
#include "pipeline/session_core.h"
#include "runtime/engine.h"

namespace headrace::pipeline {

class Lane {
 public:
  Lane(SessionCore& core, int index);
  void start();
  void join();
  /// Jobs that it holds at the same time: those on the ring, and some for streams to go on with.
  int limit() const { return limit_; }

  // guarded by the session's mutex
  int running = 0;
  std::deque<SessionCore::PrepareRequest*> requests;

 private:
  void work();
  void run(Job& job);
  const runtime::Prepared& prepare(Job& job);
  void bind_input(std::size_t index, const InputSlot& input);

  SessionCore& core_;
  int index_;
  bool apart_;  ///< device memory is not host memory
  int limit_;
  runtime::Context context_;
  bool reads_values_;
  std::vector<const std::byte*> data_;  ///< scratch for input values
  std::unique_ptr<Stream> upload_, compute_, download_;
  EventRef done_;  ///< where the lane itself waits
  std::unique_ptr<Follower> freer_, finisher_;
  sched::Thread thread_;
};

}  // namespace headrace::pipeline
