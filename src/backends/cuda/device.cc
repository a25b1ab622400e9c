#include "backends/cuda/device.h"

#include <charconv>

#include <fmt/format.h>

#include "backends/cuda/clock.h"
#include "backends/cuda/event.h"
#include "backends/cuda/memory.h"
#include "backends/cuda/stream.h"

namespace headrace::cuda {
namespace {

/// What `enter` gives: it keeps the context alive, and always pushes, as its scopes need not nest with
/// others.
struct Inside {
  explicit Inside(StateRef s) : state(std::move(s)), scope(state->context()) {}
  StateRef state;
  ContextScope scope;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(const DeviceOptions& options)
      : state_(std::make_shared<DeviceState>(options.ordinal)),
        memory_(std::make_shared<Memory>(state_, options.budget_bytes, options.device_cache_bytes,
                                         options.pinned_cache_bytes)) {}

  std::string_view kind() const override { return "cuda"; }
  std::string model() const override { return state_->model(); }
  int ordinal() const override { return state_->ordinal(); }
  BufferRef allocate(std::size_t size_bytes, MemoryKind kind, MemoryUse use) override {
    return memory_->allocate(size_bytes, kind, use);
  }
  BufferRef wrap(std::byte* data, std::size_t size_bytes, std::shared_ptr<const void> owner,
                 MemoryKind kind) override {
    return memory_->wrap(data, size_bytes, kind, std::move(owner));
  }
  std::unique_ptr<Stream> make_stream(const StreamOptions& options) override {
    return cuda::make_stream(memory_, options);
  }
  std::unique_ptr<Stream> wrap_stream(NativeStream native, const StreamOptions& options) override {
    return cuda::wrap_stream(memory_, static_cast<CUstream>(native), options);
  }
  EventRef make_event(const EventOptions& options) override {
    return std::make_shared<CudaEvent>(state_, options);
  }
  std::shared_ptr<void> enter() override {
    state_->require_alive();
    return std::make_shared<Inside>(state_);
  }
  bool can_record() const override { return true; }
  std::optional<double> elapsed_us(Event& begin, Event& end) override {
    CudaEvent &first = event_of(begin, *state_), &last = event_of(end, *state_);
    if (!first.timing() || !last.timing())
      throw Error(ErrorCode::misuse, "elapsed_us: these events were not made with `timing`");
    first.wait();
    last.wait();
    const Entered entered(state_);
    float milliseconds = 0;
    state_->check(driver().cuEventElapsedTime(&milliseconds, first.native(), last.native()));
    return milliseconds * 1e3;
  }
  bool alive() const override { return state_->alive(); }
  bool unified_memory() const override { return false; }
  MemoryStats memory() const override { return memory_->stats(); }
  std::optional<double> clock_mhz() const override { return sm_clock_mhz(state_->bus_id()); }

 private:
  StateRef state_;
  MemoryRef memory_;
};

}  // namespace

DeviceRef make_device(const DeviceOptions& options) { return std::make_shared<CudaDevice>(options); }

DeviceRef make_device(std::string_view text) {
  DeviceOptions options;
  if (text != "cuda") {
    const std::string_view prefix = "cuda:";
    const char *begin = text.data() + std::min(prefix.size(), text.size()), *end = text.data() + text.size();
    const auto [last, error] = std::from_chars(begin, end, options.ordinal);
    if (!text.starts_with(prefix) || error != std::errc() || last != end || options.ordinal < 0)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("'{}' names no CUDA device; write 'cuda' or 'cuda:0'", text));
  }
  return make_device(options);
}

}  // namespace headrace::cuda
