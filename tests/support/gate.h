// A door that tests hold threads back at.
//
//   Gate gate;   worker: gate.pass();   test: gate.await(); ... gate.open();
#pragma once

#include "base/sched.h"

namespace headrace::test {

/// Shut until it is opened; natively and under the deterministic scheduler.
class Gate {
 public:
  void open() {
    sched::LockGuard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    sched::UniqueLock lock(mutex_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    --waiting_;
  }
  /// Until somebody waits at the door.
  void await() {
    sched::UniqueLock lock(mutex_);
    changed_.wait(lock, [&] { return waiting_ > 0; });
  }

 private:
  sched::Mutex mutex_{"gate"};
  sched::CondVar changed_{"gate.changed"};
  bool open_ = false;
  int waiting_ = 0;
};

}  // namespace headrace::test
