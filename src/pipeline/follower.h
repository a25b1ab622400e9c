// A thread that follows a stream: it waits for the events of successive items, in order, and acts on each.
//
// Contract: one thread calls next, has the event recorded, and calls push; `act` runs on the follower's
// thread with the error of the work before the event, or null, and must not throw. `close` acts on what is
// left and joins.
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "base/sched.h"
#include "device/device.h"
#include "pipeline/signal.h"

namespace headrace::pipeline {

struct Job;

class Follower {
 public:
  struct Item {
    Job* job = nullptr;
    std::uint64_t generation = 0;  ///< of the job, which may have been finished and used again
  };
  using Act = std::function<void(const Item&, std::exception_ptr)>;

  Follower(std::string name, Device& device, std::size_t capacity, WaitPolicy wait, Act act);
  Event& next();  ///< to be recorded for the next item; waits while `capacity` items are pending
  void push(const Item& item);
  void close();

 private:
  struct Place {
    EventRef event;
    Item item;
  };
  void work();
  void wait_for(Event& event) const;

  WaitPolicy wait_;
  Act act_;
  sched::Mutex mutex_{"follower"};
  Signal changed_{"follower.changed"};
  std::vector<Place> ring_;
  std::size_t head_ = 0, tail_ = 0;  ///< items acted on, items pushed
  bool closing_ = false;
  sched::Thread thread_;
};

}  // namespace headrace::pipeline
