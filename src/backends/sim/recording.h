// Work of the simulated machine, and captures of it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backends/sim/memory.h"

namespace headrace::sim {

/// A launch or a copy, with what it keeps alive.
struct Work {
  struct Range {
    StorageRef storage;  ///< null: no operand
    std::size_t offset = 0, size = 0;
    std::byte* data() const { return storage ? storage->data() + offset : nullptr; }
  };
  const Kernel* kernel = nullptr;  ///< null: a copy, operands are {dst, src}
  std::string name;
  Engine engine = Engine::compute;
  Nanoseconds duration{};
  std::vector<Range> operands;
  Range workspace;

  void add_pending(std::int64_t change) const {
    for (const Range& r : operands)
      if (r.storage) r.storage->pending += change;
    if (workspace.storage) workspace.storage->pending += change;
  }
};
using WorkRef = std::shared_ptr<const Work>;

/// A capture while it is open. Streams that join it are branches; branch 0 is the stream that captures. Used
/// by the capturing thread only, but for `broken`, which Machine guards.
struct Capture {
  std::uint64_t thread = 0;
  std::shared_ptr<bool> open = std::make_shared<bool>(true);
  std::string broken;  ///< why it cannot become a recording
  std::vector<WorkRef> steps;
  std::vector<std::string> branches;             ///< names of their streams
  std::vector<std::size_t> submitted;            ///< by branch: its steps
  std::vector<std::vector<std::size_t>> covers;  ///< by branch: steps of each branch that come before it

  std::size_t add_branch(const std::string& stream) {
    branches.push_back(stream);
    submitted.push_back(0);
    covers.emplace_back();
    for (auto& c : covers) c.resize(branches.size());
    return branches.size() - 1;
  }
  void add(std::size_t branch, WorkRef work) {
    steps.push_back(std::move(work));
    covers[branch][branch] = ++submitted[branch];
  }
  void join(std::size_t branch, const std::vector<std::size_t>& other) {
    for (std::size_t i = 0; i < other.size(); ++i)
      if (other[i] > covers[branch][i]) covers[branch][i] = other[i];
  }
};

/// Replayed step by step in the order of the capture, which respects every edge of the graph.
class SimRecording final : public Recording {
 public:
  SimRecording(MachineRef machine, std::vector<WorkRef> steps)
      : machine_(std::move(machine)), steps_(std::make_shared<const std::vector<WorkRef>>(std::move(steps))) {
    ++machine_->live.recordings;
  }
  ~SimRecording() override { --machine_->live.recordings; }
  std::size_t nodes() const override { return steps_->size(); }
  std::size_t size_bytes() const override { return 0; }
  const std::shared_ptr<const std::vector<WorkRef>>& steps() const { return steps_; }

 private:
  MachineRef machine_;
  std::shared_ptr<const std::vector<WorkRef>> steps_;
};

}  // namespace headrace::sim
