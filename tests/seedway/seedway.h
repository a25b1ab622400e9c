// A workbench for schedules: the simulated machine under the hazard checker, batches that are one number all
// over, and a network y = x + 1 that reads its input late.
//
// The tests of this folder come in halves. `seedway` is the way of doing it that people write first, in the
// order in which they submit it, and it must be caught: by a wrong value, by the checker, or by the clock.
// `ours` does the same work with what headrace offers, and must be clean. The suite's name is that of the
// test in defects.txt.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "backends/sim/device.h"
#include "base/hooks.h"
#include "base/sched.h"
#include "device/checker.h"
#include "device/test_kernels.h"

namespace headrace::seedway {

inline constexpr std::size_t kFloats = 8, kBytes = kFloats * sizeof(float);
inline constexpr sim::Spec kSpec{.upload_pageable_ms = 8,
                                 .upload_pinned_ms = 4,
                                 .compute_fp32_ms = 6,
                                 .compute_fp16_ms = 6,
                                 .download_ms = 2,
                                 .post_ms = 1,
                                 .alloc_ms = 3,
                                 .consumed_ms = 5};

inline float f(float x) { return x + 1; }

/// A kernel with a name and a time of its own.
class TimedKernel final : public Kernel {
 public:
  using Body = std::function<void(std::span<std::byte* const>)>;
  TimedKernel(std::string name, double ms, Body body)
      : name_(std::move(name)), ms_(ms), body_(std::move(body)) {}
  void launch(NativeStream, std::span<std::byte* const> data, std::byte*) const override { body_(data); }
  std::string_view name() const override { return name_; }
  double ms() const { return ms_; }

 private:
  std::string name_;
  double ms_;
  Body body_;
};

using test::read;
using test::write;

class Rig {
 public:
  explicit Rig(sim::Options options = {.spec = kSpec}) {
    options.launch_ms = [](const Kernel& kernel, std::span<const Operand>) {
      const auto* timed = dynamic_cast<const TimedKernel*>(&kernel);
      return timed ? timed->ms() : 0;
    };
    spec = options.spec;
    sim = sim::make_device(options);
    device = make_hazard_checker(sim,
                                 [this](const Hazard& h) {
                                   const std::string a = describe(h.first), b = describe(h.second);
                                   pairs.insert(std::max(a, b) + " / " + std::min(a, b));
                                 },
                                 {.every = true});
    hidden_ = empty(MemoryKind::device);
    began_ = sched::Clock::now();
  }

  BufferRef pinned(float value) {
    BufferRef b = device->allocate(kBytes, MemoryKind::pinned, MemoryUse::io);
    fill(b, value);
    return b;
  }
  BufferRef empty(MemoryKind kind) { return device->allocate(kBytes, kind, MemoryUse::io); }
  static void fill(const BufferRef& b, float value) {
    std::fill_n(reinterpret_cast<float*>(b->host_data()), kFloats, value);
  }
  /// The host reads the buffer now. All floats when they are one number, else NaN: the batch is torn.
  float look(const BufferRef& b, const std::string& who) {
    device->host_access(read(b), who);
    const auto* v = reinterpret_cast<const float*>(b->host_data());
    return std::all_of(v, v + kFloats, [&](float x) { return x == v[0]; }) ? v[0] : std::nanf("");
  }
  std::unique_ptr<Stream> stream(const std::string& name) { return device->make_stream({.name = name}); }
  EventRef event() { return device->make_event(); }

  /// Enqueues the network for batch `k`. Its first kernel is the last to read the input.
  void compute(Stream& s, int k, const BufferRef& in, const BufferRef& out, Event* consumed = nullptr) {
    const std::string name = "compute " + std::to_string(k);
    kernels_.emplace_back(name, spec.consumed_ms, [](auto data) { std::memcpy(data[1], data[0], kBytes); });
    launch(s, kernels_.back(), {read(in), write(hidden_)});
    if (consumed) s.record(*consumed);
    kernels_.emplace_back(name, spec.compute_fp32_ms - spec.consumed_ms, [](auto data) {
      float v[kFloats];
      std::memcpy(v, data[0], kBytes);
      for (float& x : v) x = f(x);
      std::memcpy(data[1], v, kBytes);
    });
    launch(s, kernels_.back(), {read(hidden_), write(out)});
  }
  static void launch(Stream& s, const Kernel& kernel, const std::vector<Operand>& operands) {
    s.launch(kernel, operands, {});
  }
  double ms() const {
    return std::chrono::duration<double, std::milli>(sched::Clock::now() - began_).count();
  }

  sim::Spec spec;
  std::shared_ptr<sim::SimDevice> sim;
  std::shared_ptr<HazardChecker> device;
  std::set<std::string> pairs;  ///< unordered conflicting operations, copies named last

 private:
  /// "H2D 3" for the fourth copy on stream 'copy', "D2H 2" for the third on 'compute' or 'download'.
  std::string describe(const HazardAccess& access) {
    if (access.operation != "copy") return access.operation;
    if (access.actor == "stream 'copy'") return "H2D " + std::to_string(access.number);
    const bool own = access.actor == "stream 'download'";  // else behind two kernels of each batch
    return "D2H " + std::to_string(own ? access.number : access.number / 3);
  }

  BufferRef hidden_;
  std::deque<TimedKernel> kernels_;
  sched::Clock::time_point began_;
};

/// A queue of at most `capacity` items; put and get tell the checker what they order, as every queue does.
template <class T>
class Queue {
 public:
  explicit Queue(std::size_t capacity) : capacity_(capacity) {}
  void put(T item) {
    sched::UniqueLock lock(mutex_);
    changed_.wait(lock, [&] { return items_.size() < capacity_; });
    hooks::acquire(&capacity_);
    hooks::release(&items_);
    items_.push_back(std::move(item));
    changed_.notify_all();
  }
  T get() {
    sched::UniqueLock lock(mutex_);
    changed_.wait(lock, [&] { return !items_.empty(); });
    hooks::acquire(&items_);
    hooks::release(&capacity_);
    T item = std::move(items_.front());
    items_.pop_front();
    changed_.notify_all();
    return item;
  }

 private:
  std::size_t capacity_;
  sched::Mutex mutex_{"queue"};
  sched::CondVar changed_{"queue.changed"};
  std::deque<T> items_;
};

/// Runs `body` in virtual time under many seeds.
inline void explore(const std::function<void()>& body, std::uint64_t seeds = 60) {
  sched::explore(1, seeds, body);
}

}  // namespace headrace::seedway
