// The structures of DLPack's C ABI, as two programs that exchange tensors lay them out.
//
// Facts of the ABI, version 1.0 (https://dmlc.github.io/dlpack/latest/c_api.html), written down here because
// distributions package version 0.6, which lacks the versioned structure. The names are DLPack's: its
// consumers declare the same ones. Include it where no dlpack/dlpack.h is included.
#pragma once

#include <cstddef>
#include <cstdint>

struct DLPackVersion {
  std::uint32_t major, minor;
};

enum DLDeviceType : std::int32_t {
  kDLCPU = 1,
  kDLCUDA = 2,
  kDLCUDAHost = 3,  ///< pinned host memory
  kDLExtDev = 12,   ///< some other device; here: the simulated machine
  kDLCUDAManaged = 13,
};

struct DLDevice {
  DLDeviceType device_type;
  std::int32_t device_id;
};

enum DLDataTypeCode : std::uint8_t { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBfloat = 4, kDLBool = 6 };

struct DLDataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct DLTensor {
  void* data;
  DLDevice device;
  std::int32_t ndim;
  DLDataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  ///< in elements; null: dense, row-major
  std::uint64_t byte_offset;
};

struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);  ///< may be null
};

struct DLManagedTensorVersioned {
  DLPackVersion version;
  void* manager_ctx;
  void (*deleter)(DLManagedTensorVersioned* self);  ///< may be null
  std::uint64_t flags;
  DLTensor dl_tensor;
};

inline constexpr std::uint64_t kDLFlagReadOnly = 1;

static_assert(sizeof(void*) == 8 && sizeof(DLTensor) == 48 && offsetof(DLTensor, byte_offset) == 40);
static_assert(sizeof(DLManagedTensor) == 64 && offsetof(DLManagedTensor, deleter) == 56);
static_assert(sizeof(DLManagedTensorVersioned) == 80 && offsetof(DLManagedTensorVersioned, dl_tensor) == 32);
