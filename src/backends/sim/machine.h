// What device, streams, buffers and events of one simulated machine share: engines, books, faults, captures.
// Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <exception>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/sim/device.h"
#include "base/sched.h"
#include "device/ledger.h"

namespace headrace::sim {

struct Capture;
class Storage;
using Nanoseconds = std::chrono::nanoseconds;

inline Nanoseconds from_ms(double ms) { return Nanoseconds(static_cast<std::int64_t>(ms * 1e6 + 0.5)); }

/// How work is to fail when it runs.
struct Injected {
  std::exception_ptr error;  ///< null: it does not
  bool sticky = false;
};

class Machine {
 public:
  explicit Machine(const Options& options) : options(options), ledger(options.budget_bytes) {}

  const Options options;
  Ledger ledger;
  struct {
    std::atomic<std::int64_t> buffers{0}, streams{0}, events{0}, recordings{0}, operations{0};
  } live;

  /// Waits for the engine, keeps it for `duration`, and calls `half` in the middle and `end` at the end.
  /// Whoever comes first is served first. The engine is free again and the span noted when `end` throws, too.
  template <class Half, class End>
  void occupy(Engine engine, Nanoseconds duration, const std::string& operation, const std::string& stream,
              Half half, End end) {
    const sched::Clock::time_point begin = enter(engine);
    std::exception_ptr error;
    try {
      if (duration.count() > 0) sched::sleep_until(begin + duration / 2);
      half();
      if (duration.count() > 0) sched::sleep_until(begin + duration);
      end();
    } catch (...) {
      error = std::current_exception();
    }
    leave({engine, operation, stream, begin, begin + duration});
    if (error) std::rethrow_exception(error);
  }

  /// Counts the call. Throws when it is to be refused, or the device has died; returns how the work shall
  /// fail.
  Injected count(Call call, std::string_view stream);
  void count_copy(bool to_device, bool pageable, std::size_t size);
  void count_device_allocation();
  /// The error of a device that has died, or null.
  std::exception_ptr death() const;
  void die(std::exception_ptr error);

  void violation(std::string text);

  /// Memory by its first byte, as buffers may come wrapped; null when it is not of this machine.
  void add_storage(const std::shared_ptr<Storage>& storage);
  void remove_storage(const std::byte* data);
  std::shared_ptr<Storage> find_storage(const std::byte* data) const;

  /// Captures of this device that are open, by thread.
  void begin_capture(Capture& capture);
  void end_capture(Capture& capture);
  /// Breaks the captures that `what` is not allowed beside, and throws if there was one: the calling
  /// thread's, and with `neighbours`, in global mode, those of all threads.
  void forbid_in_capture(std::string_view what, bool neighbours);

  Counters counters() const;
  std::vector<std::string> violations() const;
  std::vector<Span> timeline() const;
  void clear_timeline();
  void inject(const Fault& fault);

 private:
  struct Line {
    sched::Mutex mutex{"sim.engine"};
    sched::CondVar changed{"sim.engine.changed"};
    std::uint64_t next = 0, served = 0;
  };
  sched::Clock::time_point enter(Engine engine);
  void leave(Span span);

  std::array<Line, 3> lines_;
  mutable sched::Mutex mutex_{"sim.machine"};
  Counters counters_;
  std::vector<Fault> faults_;
  std::exception_ptr death_;
  std::vector<std::string> violations_;
  std::vector<Span> timeline_;
  std::vector<Capture*> captures_;
  std::unordered_map<const std::byte*, std::weak_ptr<Storage>> storages_;
};
using MachineRef = std::shared_ptr<Machine>;

}  // namespace headrace::sim
