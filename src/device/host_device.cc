#include "device/host_device.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/cpu.h"
#include "device/host_event.h"
#include "device/host_stream.h"
#include "device/ledger.h"
#include "device/operand.h"

namespace headrace {

namespace {

constexpr std::align_val_t kAlignment{64};
constexpr std::size_t kAddressSpace = std::size_t{1} << 47;  // of a process on x86-64

class OwnedBuffer final : public Buffer {
 public:
  OwnedBuffer(std::size_t size, MemoryKind kind, MemoryUse use, std::shared_ptr<Ledger> ledger, bool separate)
      : size_(size), kind_(kind), use_(use), ledger_(std::move(ledger)), separate_(separate) {
    ledger_->take(size_, use_);
    if (size_ < kAddressSpace) {
      data_ =
          static_cast<std::byte*>(::operator new(std::max<std::size_t>(size_, 1), kAlignment, std::nothrow));
    }
    if (!data_) {
      ledger_->give_back(size_, use_);
      throw Error(ErrorCode::out_of_memory, "the system has no " + std::to_string(size_) + " bytes for " +
                                                std::string(to_string(use_)));
    }
    if (separate_) std::memset(data_, 0xC5, size_);
  }
  ~OwnedBuffer() override {
    ::operator delete(data_, kAlignment);
    ledger_->give_back(size_, use_);
  }
  std::size_t size_bytes() const override { return size_; }
  MemoryKind kind() const override { return kind_; }
  std::byte* device_data() const override { return separate_ && kind_ == MemoryKind::host ? nullptr : data_; }
  std::byte* host_data() const override { return separate_ && kind_ == MemoryKind::device ? nullptr : data_; }

 private:
  std::size_t size_;
  MemoryKind kind_;
  MemoryUse use_;
  std::shared_ptr<Ledger> ledger_;
  bool separate_;
  std::byte* data_ = nullptr;
};

class WrappedBuffer final : public Buffer {
 public:
  WrappedBuffer(std::byte* data, std::size_t size, std::shared_ptr<const void> owner, MemoryKind kind,
                bool separate)
      : data_(data), size_(size), owner_(std::move(owner)), kind_(kind), separate_(separate) {}
  std::size_t size_bytes() const override { return size_; }
  MemoryKind kind() const override { return kind_; }
  std::byte* device_data() const override { return separate_ && kind_ == MemoryKind::host ? nullptr : data_; }
  std::byte* host_data() const override { return separate_ && kind_ == MemoryKind::device ? nullptr : data_; }

 private:
  std::byte* data_;
  std::size_t size_;
  std::shared_ptr<const void> owner_;
  MemoryKind kind_;
  bool separate_;
};

class HostDevice final : public Device {
 public:
  explicit HostDevice(const HostDeviceOptions& options)
      : kind_(options.kind),
        model_(options.model.empty() ? cpu_model_name() + ", " + std::string(isa_name()) : options.model),
        threads_(options.threads > 0 ? options.threads : usable_cores()),
        recordings_(options.recordings),
        separate_(options.separate_memory),
        ledger_(std::make_shared<Ledger>(options.budget_bytes)),
        recording_limit_(options.recording_limit_bytes) {}

  std::string_view kind() const override { return kind_; }
  std::string model() const override { return model_; }
  BufferRef allocate(std::size_t size_bytes, MemoryKind kind, MemoryUse use) override {
    return std::make_shared<OwnedBuffer>(size_bytes, kind, use, ledger_, separate_);
  }
  BufferRef wrap(std::byte* data, std::size_t size_bytes, std::shared_ptr<const void> owner,
                 MemoryKind kind) override {
    check_wrapped(data, size_bytes);
    return std::make_shared<WrappedBuffer>(data, size_bytes, std::move(owner), kind, separate_);
  }
  std::unique_ptr<Stream> make_stream(const StreamOptions& options) override {
    StreamOptions own = options;
    if (own.threads <= 0) own.threads = threads_;
    host::Recordings rules{recordings_ ? ledger_ : nullptr, recording_limit_};
    return own.inline_execution ? host::make_inline_stream(own, std::move(rules))
                                : host::make_worker_stream(own, std::move(rules));
  }
  EventRef make_event(const EventOptions& options) override {
    return std::make_shared<host::HostEvent>(options.timing);
  }
  std::optional<double> elapsed_us(Event& begin, Event& end) override {
    const auto &first = host::state_of(begin), &last = host::state_of(end);
    if (!first->timing() || !last->timing())
      throw Error(ErrorCode::misuse, "elapsed_us: these events were not made with `timing`");
    begin.wait();
    end.wait();
    return std::chrono::duration<double, std::micro>(last->completed_at() - first->completed_at()).count();
  }
  bool can_record() const override { return recordings_; }
  bool unified_memory() const override { return !separate_; }
  MemoryStats memory() const override { return ledger_->stats(); }

 private:
  std::string kind_, model_;
  int threads_;
  bool recordings_, separate_;
  std::shared_ptr<Ledger> ledger_;
  std::size_t recording_limit_;
};

}  // namespace

DeviceRef make_host_device(const HostDeviceOptions& options) { return std::make_shared<HostDevice>(options); }

}  // namespace headrace
