// Where a workload runs: resolves a WorkloadTarget to plans, engines, shapes and a clock.
//
//   Site site(target, 1);
//   site.run([&] { const Placed placed = site.place(site.plan(), {}); ... });   // virtual time on "sim"
#pragma once

#include <functional>
#include <memory>

#include <headrace/workload.h>

#include "ladder/place.h"

namespace headrace::workload {

using ladder::Placed;

class Site {
 public:
  /// Loads or compiles the plan. `rows`: what a model's profile has to allow along dynamic first axes, from 1
  /// on; 0: the target's batch. Errors say what is wrong with the target.
  Site(const WorkloadTarget& target, std::int64_t rows);
  bool simulated() const { return simulated_; }
  /// Of the largest inference that will run.
  const ShapeMap& shapes() const { return shapes_; }
  const std::shared_ptr<const Plan>& plan() const { return plan_; }
  /// The same model with inputs of bytes; Error(invalid_argument) where there is only a plan.
  std::shared_ptr<const Plan> narrow_plan() const;
  /// The largest shapes are prepared. On "sim" only inside of run().
  Placed place(const std::shared_ptr<const Plan>& plan, runtime::EngineOptions options) const;
  /// A new run of the largest inference.
  WorkloadRun begin() const;
  /// In virtual time on "sim".
  void run(const std::function<void()>& body) const;

 private:
  std::shared_ptr<const Plan> compile(bool narrow) const;
  const WorkloadTarget target_;
  std::int64_t rows_ = 0;
  bool simulated_ = false;
  sim::Spec spec_;
  std::string plan_device_, model_;
  std::shared_ptr<const Plan> plan_;
  ShapeMap shapes_;
  std::size_t upload_bytes_ = 0, download_bytes_ = 0;
};

}  // namespace headrace::workload
