// cuDNN's C backend API: the library found at run time, descriptors that free themselves, checked calls.
//
// Problem: the backend API is a bag of untyped attributes; a mistake shows as a number at `finalize`, and a
// descriptor that failed leaks unless it is destroyed.
// Contract: a Descriptor owns one descriptor. `finalize` throws an Error that names the descriptor and
// cuDNN's own message; `try_finalize` says no instead. Handles may be used by one thread at a time: a launch
// borrows one from the context's pool (HandlePool).
//
//   Descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR, "tensor");
//   d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, std::int64_t{1});
//   d.finalize();
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <cudnn_graph.h>

#include "base/handle.h"
#include "base/sched.h"

namespace headrace::cuda {

// clang-format off
#define HEADRACE_CUDNN_FUNCTIONS(F) \
  F(cudnnGetVersion) F(cudnnGetErrorString) F(cudnnGetLastErrorString) F(cudnnCreate) F(cudnnDestroy) \
  F(cudnnSetStream) F(cudnnBackendCreateDescriptor) F(cudnnBackendDestroyDescriptor) \
  F(cudnnBackendFinalize) F(cudnnBackendSetAttribute) F(cudnnBackendGetAttribute) F(cudnnBackendExecute)
// clang-format on

struct Cudnn {
#define HEADRACE_CUDNN_MEMBER(name) decltype(&::name) name = nullptr;
  HEADRACE_CUDNN_FUNCTIONS(HEADRACE_CUDNN_MEMBER)
#undef HEADRACE_CUDNN_MEMBER
  std::string path;  ///< of the library
};

/// The functions; null where there is no usable cuDNN 9, and `why` (if given) says so for people.
const Cudnn* try_cudnn(std::string* why = nullptr);
/// The functions; Error(unsupported) where there is no usable cuDNN 9.
const Cudnn& cudnn();
/// Throws Error(device) naming `what`, the status and cuDNN's last message.
void check_cudnn(cudnnStatus_t status, std::string_view what);

void destroy_descriptor(cudnnBackendDescriptor_t descriptor) noexcept;
void destroy_handle(cudnnHandle_t handle) noexcept;
using CudnnHandle = Handle<cudnnHandle_t, destroy_handle>;

class Descriptor {
 public:
  /// `name` appears in messages; a literal.
  Descriptor(cudnnBackendDescriptorType_t type, const char* name);
  cudnnBackendDescriptor_t get() const { return handle_.get(); }

  void set(cudnnBackendAttributeName_t attribute, cudnnBackendAttributeType_t type, std::int64_t count,
           const void* values);
  void set(cudnnBackendAttributeName_t attribute, std::int64_t value) {
    set(attribute, CUDNN_TYPE_INT64, 1, &value);
  }
  void set(cudnnBackendAttributeName_t attribute, std::span<const std::int64_t> values) {
    set(attribute, CUDNN_TYPE_INT64, static_cast<std::int64_t>(values.size()), values.data());
  }
  void set(cudnnBackendAttributeName_t attribute, bool value) {
    set(attribute, CUDNN_TYPE_BOOLEAN, 1, &value);
  }
  void set(cudnnBackendAttributeName_t attribute, float value) {
    set(attribute, CUDNN_TYPE_FLOAT, 1, &value);
  }
  void set(cudnnBackendAttributeName_t attribute, cudnnDataType_t value) {
    set(attribute, CUDNN_TYPE_DATA_TYPE, 1, &value);
  }
  void set(cudnnBackendAttributeName_t attribute, const Descriptor& value) {
    cudnnBackendDescriptor_t raw = value.get();
    set(attribute, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
  }
  void set(cudnnBackendAttributeName_t attribute, std::span<const Descriptor> values);

  void finalize();
  /// False, and cuDNN's reason in `why`, when cuDNN does not support it.
  bool try_finalize(std::string* why = nullptr);

  std::int64_t get_int(cudnnBackendAttributeName_t attribute) const;
  /// All values of a list attribute of 4-byte enumerators (notes).
  std::vector<std::int32_t> get_enums(cudnnBackendAttributeName_t attribute,
                                      cudnnBackendAttributeType_t type) const;
  std::int32_t get_enum(cudnnBackendAttributeName_t attribute, cudnnBackendAttributeType_t type) const;
  /// All descriptors of a list attribute, each of `type`, `at_most` of them (0: cuDNN is asked how many).
  std::vector<Descriptor> get_all(cudnnBackendAttributeName_t attribute, cudnnBackendDescriptorType_t type,
                                  const char* name, std::int64_t at_most = 0) const;
  Descriptor get_one(cudnnBackendAttributeName_t attribute, cudnnBackendDescriptorType_t type,
                     const char* name) const;

 private:
  Handle<cudnnBackendDescriptor_t, destroy_descriptor> handle_;
  const char* name_;
};

/// What plans are made for: the current device, through a handle; or a device that is only described (JSON),
/// on a machine without one (tests).
class CudnnTarget {
 public:
  explicit CudnnTarget(cudnnHandle_t handle) : handle_(handle) {}
  static CudnnTarget described(std::string_view json);
  cudnnHandle_t handle() const { return handle_; }
  /// Null when there is a handle.
  const Descriptor* device() const { return device_ ? &*device_ : nullptr; }

 private:
  CudnnTarget() = default;
  cudnnHandle_t handle_ = nullptr;
  std::optional<Descriptor> device_;
};

/// Handles of one context; context_local<HandlePool>(). They are dear, so they are made as they are needed.
/// Making plans takes a handle for as long as a compilation lasts: one is always left for launches, which
/// never make one and wait at most for the microseconds that other launches take.
class HandlePool {
  struct Slot {
    CudnnHandle handle;
    bool taken = false;
  };

 public:
  static constexpr std::size_t kMost = 20;
  /// Sees to it that launches have a handle; to be called before the first.
  void prepare_launches();

  enum class For { making, launching };
  /// One handle, this thread's own while it lives.
  class Lease {
   public:
    Lease(HandlePool& pool, For purpose) : pool_(pool), slot_(pool.take(purpose)) {}
    ~Lease() { pool_.give_back(*slot_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    cudnnHandle_t get() const { return slot_->handle.get(); }

   private:
    HandlePool& pool_;
    Slot* slot_;
  };

 private:
  Slot* take(For purpose);
  void give_back(Slot& slot) noexcept;

  sched::Mutex mutex_{"cudnn.handles"};
  sched::CondVar free_{"cudnn.handle_free"};
  std::array<Slot, kMost> slots_;  ///< the first is for launches
};

}  // namespace headrace::cuda
