#ifdef HEADRACE_CUDNN
#include "backends/cuda/cudnn.h"

#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/library.h"
#include "base/log.h"

namespace headrace::cuda {
namespace {

struct Loaded {
  Cudnn table;
  std::string why;  ///< empty: usable
};

Loaded load() {
  Loaded result;
  static const Library library({"libcudnn.so.9", "libcudnn_graph.so.9"});
  if (!library.found()) {
    result.why = "no cuDNN 9: " + library.error() + "; convolutions have no kernels on the GPU without it";
    return result;
  }
  result.table.path = library.path();
  std::string missing;
#define HEADRACE_CUDNN_LOAD(name) library.bind(result.table.name, #name, missing);
  HEADRACE_CUDNN_FUNCTIONS(HEADRACE_CUDNN_LOAD)
#undef HEADRACE_CUDNN_LOAD
  if (!missing.empty())
    result.why = fmt::format("{} lacks {}; install cuDNN 9", library.path(), missing);
  else if (result.table.cudnnGetVersion() < 90800)
    result.why = fmt::format("{} is version {}; headrace needs cuDNN 9.8 or newer", library.path(),
                             result.table.cudnnGetVersion());
  return result;
}

const Loaded& loaded() {
  static const Loaded result = load();
  return result;
}

std::string last_message() {
  char text[1024] = {};
  cudnn().cudnnGetLastErrorString(text, sizeof text);
  return text;
}

}  // namespace

const Cudnn* try_cudnn(std::string* why) {
  const Loaded& l = loaded();
  if (why) *why = l.why;
  return l.why.empty() ? &l.table : nullptr;
}

const Cudnn& cudnn() {
  const Loaded& l = loaded();
  if (!l.why.empty()) throw Error(ErrorCode::unsupported, l.why);
  return l.table;
}

void check_cudnn(cudnnStatus_t status, std::string_view what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  const bool memory = status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED ||
                      status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED;
  throw Error(memory ? ErrorCode::out_of_memory : ErrorCode::device,
              fmt::format("cuDNN: {}: {} ({})", what, cudnn().cudnnGetErrorString(status), last_message()));
}

void destroy_descriptor(cudnnBackendDescriptor_t descriptor) noexcept {
  loaded().table.cudnnBackendDestroyDescriptor(descriptor);
}
void destroy_handle(cudnnHandle_t handle) noexcept {
  if (loaded().table.cudnnDestroy(handle) != CUDNN_STATUS_SUCCESS)
    log(LogSeverity::error, "cuDNN: cudnnDestroy failed");
}

Descriptor::Descriptor(cudnnBackendDescriptorType_t type, const char* name) : name_(name) {
  check_cudnn(cudnn().cudnnBackendCreateDescriptor(type, handle_.out()), name);
}

void Descriptor::set(cudnnBackendAttributeName_t attribute, cudnnBackendAttributeType_t type,
                     std::int64_t count, const void* values) {
  const cudnnStatus_t status =
      cudnn().cudnnBackendSetAttribute(handle_.get(), attribute, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, fmt::format("setting attribute {} of the {}", static_cast<int>(attribute), name_));
}

void Descriptor::set(cudnnBackendAttributeName_t attribute, std::span<const Descriptor> values) {
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const Descriptor& d : values) raw.push_back(d.get());
  set(attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<std::int64_t>(raw.size()), raw.data());
}

void Descriptor::finalize() {
  const cudnnStatus_t status = cudnn().cudnnBackendFinalize(handle_.get());
  if (status != CUDNN_STATUS_SUCCESS) check_cudnn(status, fmt::format("the {} is not accepted", name_));
}

bool Descriptor::try_finalize(std::string* why) {
  const cudnnStatus_t status = cudnn().cudnnBackendFinalize(handle_.get());
  if (status == CUDNN_STATUS_SUCCESS) return true;
  if (why)
    *why = fmt::format("the {} is not accepted: {} ({})", name_, cudnn().cudnnGetErrorString(status),
                       last_message());
  return false;
}

std::int64_t Descriptor::get_int(cudnnBackendAttributeName_t attribute) const {
  std::int64_t value = 0, count = 0;
  const cudnnStatus_t status =
      cudnn().cudnnBackendGetAttribute(handle_.get(), attribute, CUDNN_TYPE_INT64, 1, &count, &value);
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, fmt::format("reading attribute {} of the {}", static_cast<int>(attribute), name_));
  return value;
}

std::int32_t Descriptor::get_enum(cudnnBackendAttributeName_t attribute,
                                  cudnnBackendAttributeType_t type) const {
  std::int32_t value = 0;
  std::int64_t count = 0;
  const cudnnStatus_t status =
      cudnn().cudnnBackendGetAttribute(handle_.get(), attribute, type, 1, &count, &value);
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, fmt::format("reading attribute {} of the {}", static_cast<int>(attribute), name_));
  return value;
}

std::vector<std::int32_t> Descriptor::get_enums(cudnnBackendAttributeName_t attribute,
                                                cudnnBackendAttributeType_t type) const {
  std::vector<std::int32_t> values(64);
  std::int64_t count = 0;
  const cudnnStatus_t status =
      cudnn().cudnnBackendGetAttribute(handle_.get(), attribute, type, 64, &count, values.data());
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, fmt::format("reading attribute {} of the {}", static_cast<int>(attribute), name_));
  values.resize(static_cast<std::size_t>(std::min<std::int64_t>(count, 64)));
  return values;
}

std::vector<Descriptor> Descriptor::get_all(cudnnBackendAttributeName_t attribute,
                                            cudnnBackendDescriptorType_t type, const char* name,
                                            std::int64_t at_most) const {
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  if (at_most == 0)
    status = cudnn().cudnnBackendGetAttribute(handle_.get(), attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0,
                                              &at_most, nullptr);
  std::vector<Descriptor> result;
  std::vector<cudnnBackendDescriptor_t> raw;
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < at_most; ++i) raw.push_back(result.emplace_back(type, name).get());
  if (status == CUDNN_STATUS_SUCCESS && at_most > 0)
    status = cudnn().cudnnBackendGetAttribute(handle_.get(), attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                              at_most, &count, raw.data());
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, fmt::format("reading attribute {} of the {}", static_cast<int>(attribute), name_));
  result.erase(result.begin() + std::clamp<std::int64_t>(count, 0, at_most), result.end());
  return result;
}

Descriptor Descriptor::get_one(cudnnBackendAttributeName_t attribute, cudnnBackendDescriptorType_t type,
                               const char* name) const {
  Descriptor result(type, name);
  cudnnBackendDescriptor_t raw = result.get();
  std::int64_t count = 0;
  const cudnnStatus_t status = cudnn().cudnnBackendGetAttribute(
      handle_.get(), attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &raw);
  if (status != CUDNN_STATUS_SUCCESS)
    check_cudnn(status, fmt::format("reading attribute {} of the {}", static_cast<int>(attribute), name_));
  return result;
}

CudnnTarget CudnnTarget::described(std::string_view json) {
  CudnnTarget target;
  target.device_.emplace(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, "device description");
  target.device_->set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                      static_cast<std::int64_t>(json.size()), json.data());
  target.device_->finalize();
  return target;
}

void HandlePool::prepare_launches() {
  sched::LockGuard lock(mutex_);
  if (!slots_.front().handle)
    check_cudnn(cudnn().cudnnCreate(slots_.front().handle.out()), "making a handle");
}

HandlePool::Slot* HandlePool::take(For purpose) {
  sched::UniqueLock lock(mutex_);
  for (;;) {
    Slot* empty = nullptr;
    for (std::size_t i = purpose == For::making ? 1 : 0; i < slots_.size(); ++i) {
      Slot& slot = slots_[i];
      if (slot.taken) continue;
      if (slot.handle) {
        slot.taken = true;
        return &slot;
      }
      if (!empty) empty = &slot;
    }
    if (purpose == For::making && empty) {
      empty->taken = true;
      lock.unlock();
      try {
        check_cudnn(cudnn().cudnnCreate(empty->handle.out()), "making a handle");
      } catch (...) {
        give_back(*empty);
        throw;
      }
      return empty;
    }
    free_.wait(lock);
  }
}

void HandlePool::give_back(Slot& slot) noexcept {
  {
    sched::LockGuard lock(mutex_);
    slot.taken = false;
  }
  free_.notify_all();
}

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
