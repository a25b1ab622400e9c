#include "backends/cuda/device_state.h"

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/context_local.h"
#include "base/log.h"

namespace headrace::cuda {
namespace {

/// Errors after which the context fails every call.
bool is_fatal(CUresult result) {
  switch (result) {
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_UNKNOWN: return true;
    default: return false;
  }
}

int attribute(CUdevice device, CUdevice_attribute which) {
  int value = 0;
  check(driver().cuDeviceGetAttribute(&value, which, device));
  return value;
}

}  // namespace

DeviceState::DeviceState(int ordinal) : name_(fmt::format("cuda:{}", ordinal)) {
  const Driver& api = driver();
  int count = 0;
  cuda::check(api.cuDeviceGetCount(&count));
  if (ordinal < 0 || ordinal >= count)
    throw Error(ErrorCode::device,
                fmt::format("there is no {}: the CUDA driver sees {} GPU{} (CUDA_VISIBLE_DEVICES hides some)",
                            name_, count, count == 1 ? "" : "s"));
  cuda::check(api.cuDeviceGet(&device_, ordinal));
  char text[256] = {};
  cuda::check(api.cuDeviceGetName(text, sizeof(text) - 1, device_));
  char bus[32] = {};
  cuda::check(api.cuDeviceGetPCIBusId(bus, sizeof(bus), device_));
  bus_id_ = bus;
  model_ = fmt::format("{}, sm_{}{}", text, attribute(device_, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
                       attribute(device_, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  cuda::check(api.cuDevicePrimaryCtxRetain(&context_, device_));
}

DeviceState::~DeviceState() {
  if (!context_ || !alive()) return;
  try {
    const ContextScope scope(context_);
    release_context_locals(context_);
  } catch (const Error& e) {
    log(LogSeverity::error, e.message());
  }
  check_quietly(driver().cuDevicePrimaryCtxRelease(device_));
}

void DeviceState::check(CUresult result, std::source_location where) {
  if (result == CUDA_SUCCESS) [[likely]]
    return;
  try {
    cuda::check(result, where);
  } catch (const Error& e) {
    if (!is_fatal(result)) throw;
    {
      sched::LockGuard lock(mutex_);
      if (death_.empty()) {
        death_ = e.message();
        died_ = sched::Clock::now();
      }
    }
    alive_.store(false, std::memory_order_release);
    throw_dead();
  }
}

void DeviceState::probe(CUstream stream) {
  const CUresult result = driver().cuStreamQuery(stream);
  if (is_fatal(result)) check(result);
}

void DeviceState::throw_dead() const {
  sched::LockGuard lock(mutex_);
  const std::chrono::duration<double> ago = sched::Clock::now() - died_;
  throw Error(
      ErrorCode::device,
      fmt::format("{} ({}) is dead since {:.1f} s: {}; CUDA does not recover from this error: end the "
                  "process and start it again",
                  name_, model_, ago.count(), death_));
}

Entered::Entered(const StateRef& state) noexcept {
  CUcontext current = nullptr;
  if (driver().cuCtxGetCurrent(&current) == CUDA_SUCCESS && current == state->context()) return;
  const CUresult result = driver().cuCtxPushCurrent(state->context());
  pushed_ = result == CUDA_SUCCESS;
  check_quietly(result);  // the call that follows fails and says so
}

Entered::~Entered() {
  CUcontext former = nullptr;
  if (pushed_) check_quietly(driver().cuCtxPopCurrent(&former));
}

}  // namespace headrace::cuda
