// What all objects of one CUDA device share: its primary context and whether it is still alive.
//
// Contract: thread-safe. An error that CUDA does not recover from (an illegal address, an uncorrectable
// memory error) is noticed by `check` and marks the device dead; from then on require_alive throws, with the
// first such error and what to do. Destructors of what belongs to a dead device call CUDA no more.
#pragma once

#include <atomic>
#include <memory>
#include <source_location>
#include <string>

#include "backends/cuda/driver.h"
#include "base/sched.h"

namespace headrace::cuda {

class DeviceState {
 public:
  /// Retains the primary context. Error(device) when there is no such GPU.
  explicit DeviceState(int ordinal);
  ~DeviceState();
  DeviceState(const DeviceState&) = delete;
  DeviceState& operator=(const DeviceState&) = delete;

  CUcontext context() const { return context_; }
  int ordinal() const { return device_; }
  const std::string& name() const { return name_; }    ///< "cuda:0"
  const std::string& model() const { return model_; }  ///< "NVIDIA H200, sm_90"
  /// "0000:1B:00.0": the same for every library, whatever CUDA_VISIBLE_DEVICES says.
  const std::string& bus_id() const { return bus_id_; }

  bool alive() const { return alive_.load(std::memory_order_acquire); }
  void require_alive() const {
    if (!alive()) throw_dead();
  }
  /// cuda::check that notices fatal errors.
  void check(CUresult result, std::source_location where = std::source_location::current());
  /// Asks CUDA whether the device has died: for errors that came as something else than a CUresult.
  void probe(CUstream stream);

 private:
  [[noreturn]] void throw_dead() const;

  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  std::string name_, model_, bus_id_;
  std::atomic<bool> alive_{true};
  mutable sched::Mutex mutex_{"cuda.device"};
  std::string death_;  ///< the first fatal error
  sched::Clock::time_point died_;
};
using StateRef = std::shared_ptr<DeviceState>;

/// Makes the device's context current on this thread for a scope, within which others nest; costs little when
/// it is current already.
class Entered {
 public:
  explicit Entered(const StateRef& state) noexcept;
  ~Entered();
  Entered(const Entered&) = delete;
  Entered& operator=(const Entered&) = delete;

 private:
  bool pushed_ = false;
};

}  // namespace headrace::cuda
