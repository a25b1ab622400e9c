#include "backends/cuda/stream.h"

#include <array>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "backends/cuda/event.h"
#include "backends/cuda/recording.h"
#include "device/operand.h"
#include "device/poison.h"

namespace headrace::cuda {
namespace {

constexpr std::size_t kInlineOperands = 24, kLongOperands = 256;

CUdeviceptr on_device(const std::byte* data) { return reinterpret_cast<CUdeviceptr>(data); }

class CudaStream final : public Stream {
 public:
  /// `foreign`: somebody else's stream, or null for a new one.
  CudaStream(MemoryRef memory, const StreamOptions& options, CUstream foreign)
      : memory_(std::move(memory)),
        state_(memory_->state()),
        name_(options.name),
        stream_(foreign),
        foreign_(foreign != nullptr) {
    long_list_.reserve(kLongOperands);
    state_->require_alive();
    const Entered entered(state_);
    if (!foreign_) state_->check(driver().cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING));
  }
  ~CudaStream() override {
    if (!state_->alive()) return;
    const Entered entered(state_);
    check_quietly(driver().cuStreamSynchronize(stream_));  // what is left uses buffers of others
    if (!foreign_) check_quietly(driver().cuStreamDestroy(stream_));
  }

  void launch(const Kernel& kernel, std::span<const Operand> operands, const Operand& workspace) override {
    std::array<std::byte*, kInlineOperands> few;
    std::byte** data = few.data();
    if (operands.size() > kInlineOperands) {
      long_list_.resize(operands.size());
      data = long_list_.data();
    }
    for (std::size_t i = 0; i < operands.size(); ++i) data[i] = kernel_address(operands[i], kernel);
    std::byte* scratch = kernel_address(workspace, kernel);
    perform([&] { kernel.launch(stream_, {data, operands.size()}, scratch); });
  }

  void copy(const Operand& dst, const Operand& src) override {
    check_range(dst, "copy");
    check_range(src, "copy");
    std::byte* to = address(dst);
    const std::byte* from = address(src);
    check_copy(dst, src, to, from);
    if (dst.size == 0) {
      state_->require_alive();
      return;
    }
    const MemoryKind into = dst.buffer->kind(), out_of = src.buffer->kind();
    const bool asynchronous = into != MemoryKind::host && out_of != MemoryKind::host &&
                              (into == MemoryKind::device || out_of == MemoryKind::device);
    if (!asynchronous && recording())
      throw Error(ErrorCode::misuse,
                  "a recording cannot copy pageable memory, or from host to host; copy to or from pinned "
                  "memory, or outside of the recording");
    perform([&] {
      if (into == MemoryKind::device && out_of == MemoryKind::device)
        state_->check(driver().cuMemcpyDtoDAsync(on_device(to), on_device(from), dst.size, stream_));
      else if (into == MemoryKind::device)
        state_->check(driver().cuMemcpyHtoDAsync(on_device(to), from, dst.size, stream_));
      else if (out_of == MemoryKind::device)
        state_->check(driver().cuMemcpyDtoHAsync(to, on_device(from), dst.size, stream_));
      if (asynchronous) return;
      memory_->ledger().count_waiting_copy();
      state_->check(driver().cuStreamSynchronize(stream_));
      if (into != MemoryKind::device && out_of != MemoryKind::device) std::memcpy(to, from, dst.size);
    });
  }

  void record(Event& event) override {
    CudaEvent& own = event_of(event, *state_);
    state_->require_alive();
    const Entered entered(state_);
    failure_.skips(current_epoch());
    const bool inside = recording();
    own.record(stream_, inside ? nullptr : failure_.poison(), capture_);
  }
  void wait(Event& event) override {
    CudaEvent& own = event_of(event, *state_);
    state_->require_alive();
    const Entered entered(state_);
    static_cast<void>(recording());
    PoisonRef poison = own.make_wait(stream_, capture_);
    failure_.skips(current_epoch());
    failure_.join(std::move(poison), current_epoch());
  }
  void start_item() override {
    if (recording())
      throw Error(ErrorCode::misuse, "start_item inside a recording; call it before the replay");
    state_->require_alive();
    failure_.clear();
  }
  void synchronize() override {
    if (recording())
      throw Error(ErrorCode::misuse, "synchronize inside a recording; nothing runs before the replay");
    state_->require_alive();
    const Entered entered(state_);
    state_->check(driver().cuStreamSynchronize(stream_));
    if (failure_.skips(current_epoch())) failure_.poison()->observe_and_throw();
  }

  std::unique_ptr<Recording> make_recording(const std::function<void()>& work) override {
    if (recording()) throw Error(ErrorCode::misuse, "this stream is recording already");
    state_->require_alive();
    const Entered entered(state_);
    state_->check(driver().cuStreamBeginCapture(stream_, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    capture_ = std::make_shared<Capture>();
    std::exception_ptr error;
    try {
      work();
    } catch (...) {
      error = std::current_exception();
    }
    struct Graph {
      CUgraph graph = nullptr;
      ~Graph() {
        if (graph) check_quietly(driver().cuGraphDestroy(graph));
      }
    } captured;
    const CUresult ended = driver().cuStreamEndCapture(stream_, &captured.graph);
    capture_->open = false;
    capture_.reset();
    try {
      if (error) std::rethrow_exception(error);
      check_ended(ended);
      return std::make_unique<CudaRecording>(memory_, captured.graph, stream_);
    } catch (...) {
      rethrow_from_recording(std::current_exception(), name_);
    }
  }
  void replay(Recording& recorded) override {
    CudaRecording& own = recording_of(recorded, *state_);
    if (recording()) throw Error(ErrorCode::misuse, "a replay inside a recording; launch the work itself");
    perform([&] { state_->check(driver().cuGraphLaunch(own.native(), stream_)); });
  }
  NativeStream native() const override { return stream_; }

 private:
  /// Submits work, unless what came before it has failed. Inside a recording nothing has run, and errors go
  /// to whoever records.
  template <class F>
  void perform(F&& submit) {
    state_->require_alive();
    const Entered entered(state_);
    if (recording()) return submit();
    if (failure_.skips(current_epoch())) return;
    try {
      submit();
    } catch (...) {
      state_->require_alive();
      state_->probe(stream_);
      failure_.fail(std::current_exception());
    }
  }
  bool recording() {
    if (capture_ && !capture_->open) capture_.reset();  // this stream had joined another's
    return capture_ != nullptr;
  }
  void check_ended(CUresult ended) {
    if (ended == CUDA_ERROR_STREAM_CAPTURE_UNJOINED)
      throw Error(
          ErrorCode::misuse,
          "a stream that joined the recording was not joined again: record an event on it and let the "
          "recording stream wait for that");
    try {
      state_->check(ended);
    } catch (const Error& e) {
      state_->require_alive();
      throw Error(ErrorCode::unsupported, "this work cannot be recorded: " + e.message());
    }
  }
  static std::byte* address(const Operand& operand) {
    if (!operand.buffer) return nullptr;
    std::byte* data = operand.buffer->device_data();
    if (operand.buffer->kind() == MemoryKind::host || !data) data = operand.buffer->host_data();
    return data + operand.offset;
  }
  std::byte* kernel_address(const Operand& operand, const Kernel& kernel) const {
    check_range(operand, "launch");
    if (!operand.buffer) return nullptr;
    if (operand.buffer->kind() == MemoryKind::host)
      throw Error(ErrorCode::misuse,
                  fmt::format("kernel '{}' of {} was given pageable host memory; copy it to device or pinned "
                              "memory first",
                              kernel.name(), state_->name()));
    return operand.buffer->device_data() + operand.offset;
  }

  MemoryRef memory_;
  StateRef state_;
  std::string name_;
  CUstream stream_ = nullptr;
  bool foreign_ = false;
  Failure failure_;
  CaptureRef capture_;  ///< the recording that this stream is part of
  std::vector<std::byte*> long_list_;
};

}  // namespace

std::unique_ptr<Stream> make_stream(MemoryRef memory, const StreamOptions& options) {
  return std::make_unique<CudaStream>(std::move(memory), options, nullptr);
}

std::unique_ptr<Stream> wrap_stream(MemoryRef memory, CUstream stream, const StreamOptions& options) {
  if (stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD)
    throw Error(ErrorCode::invalid_argument,
                "a default stream of CUDA cannot be wrapped: it synchronises with others behind one's back; "
                "create a stream with the flag for non-blocking ones");
  return std::make_unique<CudaStream>(std::move(memory), options, stream);
}

}  // namespace headrace::cuda
