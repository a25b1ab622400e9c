// The machinery behind Pipeline: edges, and stages with their threads.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <headrace/pipeline.h>

#include "base/sched.h"
#include "pipeline/edge.h"

namespace headrace::pipeline {

class Flow;

/// Takes items from its edge, and hands what it makes to Flow::forward.
class Stage {
 public:
  Stage(Flow& flow, std::size_t position, detail::StageSpec spec);
  virtual ~Stage() = default;
  virtual void start() = 0;
  virtual void join() = 0;  ///< the edge was closed
  Edge& input() { return input_; }
  const std::string& name() const { return spec_.name; }
  StageReport report(std::int64_t now, double seconds) const;

 protected:
  /// Runs `work` for an item; the time counts as busy. False: it threw, and the item has failed.
  bool attempt(const ItemInfo& info, const std::function<void()>& work);
  void fail(const ItemInfo& info, std::exception_ptr error);
  void add_busy(std::int64_t ns, bool item);

  Flow& flow_;
  std::size_t position_;
  detail::StageSpec spec_;
  Edge input_;
  bool shares_workers_ = true;  ///< busy time is that of `workers` threads

 private:
  mutable sched::Mutex mutex_{"stage.figures"};
  std::int64_t busy_ns_ = 0;
  std::uint64_t items_ = 0, failed_ = 0;
};

/// A user's function on several threads.
class FunctionStage final : public Stage {
 public:
  FunctionStage(Flow& flow, std::size_t position, detail::StageSpec spec);
  void start() override;
  void join() override;

 private:
  void work();
  /// Item `index` is done; none: it failed. Those whose turn it is go on, on one thread at a time.
  void put(std::uint64_t index, std::optional<FlowItem> item);

  bool ordered_;
  sched::Mutex mutex_{"stage"};
  sched::CondVar moved_{"stage.moved"};
  struct Done {
    bool done = false;
    std::optional<FlowItem> item;
  };
  std::vector<Done> window_;            ///< of items taken and not handed on, by index
  std::uint64_t taken_ = 0, next_ = 0;  ///< items that workers have asked for; index of the next to hand on
  bool handing_on_ = false;
  std::vector<sched::Thread> workers_;
};

/// A Session: threads that acquire and fill inputs, and one that waits for tickets.
class SessionStage final : public Stage {
 public:
  SessionStage(Flow& flow, std::size_t position, detail::StageSpec spec);
  void start() override;
  void join() override;

 private:
  struct Pending {
    FlowItem item;
    Ticket ticket;
  };
  void work();
  void collect();
  /// What the session has given up fails now, and is not kept until its turn. Gives up the lock.
  void fail_given_up(sched::UniqueLock& lock);

  sched::Mutex take_mutex_{"stage.take"};  ///< leases are acquired in the order of items
  sched::Mutex mutex_{"stage"};
  sched::CondVar turn_{"stage.turn"}, submitted_{"stage.submitted"};
  std::uint64_t next_ = 0;  ///< index of the next item to submit
  std::deque<Pending> pending_;
  bool all_submitted_ = false;
  std::vector<sched::Thread> workers_;
  sched::Thread collector_;
};

class Flow {
 public:
  Flow(std::vector<detail::StageSpec> stages, PipelineOptions options);
  ~Flow();
  std::uint64_t push(detail::Payload payload, const PushOptions& options);
  void close(Closing how);
  Closing closing() const { return options_.closing; }
  PipelineReport report() const;

  /// From the stage at `position` to the next edge; from the last one: the item has arrived.
  void forward(std::size_t position, FlowItem&& item);
  void fail(std::size_t position, const ItemInfo& info, std::exception_ptr error);

 private:
  PipelineOptions options_;
  std::vector<std::unique_ptr<Stage>> stages_;
  sched::Mutex push_mutex_{"pipeline.push"}, close_mutex_{"pipeline.close"},
      failure_mutex_{"pipeline.failure"};
  mutable sched::Mutex mutex_{"pipeline"};
  bool closing_ = false, closed_ = false;
  std::uint64_t pushed_ = 0, arrived_ = 0, failed_ = 0;
  std::int64_t first_ns_ = 0, last_ns_ = 0, latency_ns_ = 0, max_latency_ns_ = 0;
};

}  // namespace headrace::pipeline
