// A bounded queue between two stages of a pipeline, with its overflow policy.
//
// Contract: thread-safe. `push` may wait; whatever it does not take, and whatever it drops, goes to `give_up`
// with its Error, called without the edge's lock. After `close` nothing is pushed any more and `pop` hands
// out what is left; after `cancel` that is given up as well, and so is what is pushed later.
#pragma once

#include <deque>
#include <exception>
#include <functional>

#include <headrace/pipeline.h>

#include "base/sched.h"

namespace headrace::pipeline {

struct FlowItem {
  detail::Payload payload;
  ItemInfo info;
};

class Edge {
 public:
  using GiveUp = std::function<void(const ItemInfo&, std::exception_ptr)>;

  Edge(const EdgeOptions& options, GiveUp give_up);
  /// False: the policy refuses the item, which is not given up: the caller says so.
  [[nodiscard]] bool push(FlowItem&& item);
  /// False: closed, and nothing is left. `index` counts the items that were handed out.
  [[nodiscard]] bool pop(FlowItem& item, std::uint64_t& index);
  void close();
  void cancel();
  EdgeReport report(std::int64_t now_ns) const;

 private:
  struct Waiting {
    FlowItem item;
    std::int64_t since_ns = 0;
  };
  void note_depth(std::int64_t now);  ///< before the depth changes

  EdgeOptions options_;
  GiveUp give_up_;
  mutable sched::Mutex mutex_{"edge"};
  sched::CondVar room_{"edge.room"}, items_{"edge.items"};
  std::deque<Waiting> queue_;
  std::uint64_t popped_ = 0, dropped_ = 0;
  bool closed_ = false, cancelled_ = false;
  std::size_t max_depth_ = 0;
  std::int64_t first_ns_ = 0, changed_ns_ = 0, age_ns_ = 0, max_age_ns_ = 0;
  double depth_ns_ = 0;  ///< integral of the depth over time
};

}  // namespace headrace::pipeline
