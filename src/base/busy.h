// One host thread at a time: a second one is told so instead of racing.
//
//   std::atomic<bool> busy{false};
//   void f() { const Busy guard(busy, "a Context"); ... }
#pragma once

#include <atomic>
#include <string>

#include <headrace/error.h>

namespace headrace {

class Busy {
 public:
  /// Error(misuse) while another Busy of this flag lives. `what` is a literal that names the object.
  Busy(std::atomic<bool>& flag, const char* what) : flag_(flag) {
    if (flag_.exchange(true, std::memory_order_acquire))
      throw Error(ErrorCode::misuse, std::string(what) +
                                         " is used by two threads at once; give each thread one of its own, "
                                         "or use Session");
  }
  ~Busy() { flag_.store(false, std::memory_order_release); }
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;

 private:
  std::atomic<bool>& flag_;
};

}  // namespace headrace
