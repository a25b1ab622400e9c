#include "backends/sim/device.h"

#include <utility>

#include <headrace/error.h>

#include "backends/sim/event.h"
#include "backends/sim/machine.h"
#include "backends/sim/memory.h"
#include "backends/sim/stream.h"
#include "device/operand.h"

namespace headrace::sim {
namespace {

class Simulator final : public SimDevice, public std::enable_shared_from_this<Simulator> {
 public:
  explicit Simulator(const Options& options) : machine_(std::make_shared<Machine>(options)) {}

  std::string_view kind() const override { return machine_->options.kind; }
  std::string model() const override { return machine_->options.model; }
  BufferRef allocate(std::size_t size_bytes, MemoryKind kind, MemoryUse use) override {
    if (kind != MemoryKind::host) machine_->forbid_in_capture("allocating memory", true);
    static_cast<void>(machine_->count(Call::allocate, {}));
    auto storage = std::make_shared<Storage>(machine_, size_bytes, kind, use);
    machine_->add_storage(storage);
    if (kind == MemoryKind::device) {
      machine_->count_device_allocation();
      if (const auto cost = from_ms(machine_->options.spec.alloc_ms); cost.count() > 0)
        sched::sleep_for(cost);
    }
    return std::make_shared<SimBuffer>(machine_, std::move(storage));
  }
  BufferRef wrap(std::byte* data, std::size_t size_bytes, std::shared_ptr<const void> owner,
                 MemoryKind kind) override {
    check_wrapped(data, size_bytes);
    auto storage = std::make_shared<Storage>(machine_, data, size_bytes, kind, std::move(owner));
    if (kind != MemoryKind::host) machine_->add_storage(storage);
    return std::make_shared<SimBuffer>(machine_, std::move(storage));
  }
  std::unique_ptr<Stream> make_stream(const StreamOptions& options) override {
    return sim::make_stream(weak_from_this(), machine_, options);
  }
  EventRef make_event(const EventOptions&) override { return std::make_shared<SimEvent>(machine_); }
  bool can_record() const override { return machine_->options.recordings; }
  std::optional<double> elapsed_us(Event& begin, Event& end) override {
    end.wait();
    begin.wait();
    return static_cast<double>(sim_event(end).state()->completed_at_ns -
                               sim_event(begin).state()->completed_at_ns) /
           1e3;
  }
  bool alive() const override { return !machine_->death(); }
  bool unified_memory() const override { return false; }
  MemoryStats memory() const override { return machine_->ledger.stats(); }

  Counters counters() const override { return machine_->counters(); }
  Live live() const override {
    const auto& l = machine_->live;
    return {l.buffers, l.streams, l.events, l.recordings, l.operations};
  }
  void inject(const Fault& fault) override { machine_->inject(fault); }
  std::vector<std::string> violations() const override { return machine_->violations(); }
  std::vector<Span> timeline() const override { return machine_->timeline(); }
  void clear_timeline() override { machine_->clear_timeline(); }

 private:
  MachineRef machine_;
};

}  // namespace

std::shared_ptr<SimDevice> make_device(const Options& options) {
  return std::make_shared<Simulator>(options);
}

Backend on_device(Backend computes, std::shared_ptr<SimDevice> device) {
  computes.make_device = [device = std::move(device)](std::string_view) -> DeviceRef { return device; };
  return computes;
}

}  // namespace headrace::sim
