// Tensors in device memory, and their exchange with other libraries without copies, through DLPack.
//
//   hr::DeviceTensor x = hr::DeviceTensor::from_dlpack(engine, managed);     // takes the tensor over
//   context.bind("x", x);                                                    // checks dtype
//   DLManagedTensor* result = y.to_dlpack();                                 // shares the memory
//
// DLPack says nothing of when the memory is ready: order the work with events. A producer's own stream comes
// in as DeviceStream::wrap(engine, its stream).record(). Whoever calls the deleter of an exported tensor says
// that no work uses it any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include <headrace/device.h>
#include <headrace/tensor.h>

struct DLManagedTensor;  // of DLPack's C ABI
struct DLManagedTensorVersioned;

namespace headrace {

/// A dense, row-major tensor in device memory, shared: copies are handles of the same memory, which is freed
/// with the last one and the last work that uses it. Thread-safe as a shared_ptr is.
class DeviceTensor {
 public:
  DeviceTensor() = default;
  /// Uninitialised memory. Error(out_of_memory) with the size.
  DeviceTensor(const Engine& engine, DType dtype, Shape shape);
  /// Takes the tensor over: its deleter is called once, on any thread, when nothing uses the memory any more.
  /// Where this throws, the tensor stays the caller's. Memory of the engine's own device is taken: kDLCPU on
  /// a CPU, kDLCUDA of the same ordinal on a GPU, kDLExtDev on the simulated machine.
  /// Error(invalid_argument): another device, an element type that headrace lacks, strides that are not
  /// dense, no address, a version of the ABI that is not 1.
  static DeviceTensor from_dlpack(const Engine& engine, DLManagedTensor* tensor);
  static DeviceTensor from_dlpack(const Engine& engine, DLManagedTensorVersioned* tensor);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::size_t size_bytes() const { return range_.size; }
  bool read_only() const { return read_only_; }
  /// Error(invalid_argument) when T is not the element type; Error(misuse) for writable elements of a
  /// read-only tensor.
  template <class T>
  DeviceSpan<T> as() const {
    check_access(dtype_of<T>(), !std::is_const_v<T>);
    return DeviceSpan<T>(range_);
  }
  /// For a capsule, or any consumer: keeps the memory until its deleter is called. Error(misuse) when empty.
  [[nodiscard]] DLManagedTensor* to_dlpack() const;
  [[nodiscard]] DLManagedTensorVersioned* to_dlpack_versioned() const;

 private:
  friend class Context;
  friend class Session;
  friend class OutputLease;
  DeviceTensor(std::shared_ptr<detail::Memory> memory, detail::Range range, DType dtype, Shape shape)
      : memory_(std::move(memory)), range_(std::move(range)), dtype_(dtype), shape_(std::move(shape)) {}
  void check_access(DType dtype, bool writes) const;

  std::shared_ptr<detail::Memory> memory_;
  detail::Range range_;
  DType dtype_ = DType::f32;
  Shape shape_;
  bool read_only_ = false;
};

struct NamedDeviceTensor {
  std::string_view name;
  DeviceTensor tensor;
};

}  // namespace headrace
