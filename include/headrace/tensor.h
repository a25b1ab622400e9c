// Host tensors at the border of headrace: views of the caller's memory, and owning results.
//
// A view is {dtype, shape, dense row-major data}; it owns nothing. Typed access is checked: `as<T>()` throws
// Error(invalid_argument) when T is not the tensor's element type.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <headrace/error.h>
#include <headrace/types.h>

namespace headrace {

namespace detail {
[[noreturn]] void throw_wrong_dtype(DType have, DType asked);
}

/// Bytes of a dense tensor; throws Error on overflow.
std::size_t tensor_bytes(DType dtype, const Shape& shape);

/// Read-only view.
class ConstTensorView {
 public:
  ConstTensorView() = default;
  ConstTensorView(DType dtype, Shape shape, const std::byte* data)
      : dtype_(dtype), shape_(std::move(shape)), data_(data) {}
  /// View of a typed array; throws Error(invalid_argument) when its length is not the shape's element count.
  template <class T>
  ConstTensorView(std::span<T> values, Shape shape)
      : dtype_(dtype_of<T>()),
        shape_(std::move(shape)),
        data_(reinterpret_cast<const std::byte*>(values.data())) {
    check_length(values.size());
  }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::size_t size_bytes() const { return tensor_bytes(dtype_, shape_); }
  const std::byte* data() const { return data_; }
  template <class T>
  std::span<const T> as() const {
    if (dtype_of<T>() != dtype_) detail::throw_wrong_dtype(dtype_, dtype_of<T>());
    return {reinterpret_cast<const T*>(data_), size_bytes() / sizeof(T)};
  }

 private:
  void check_length(std::size_t elements) const;
  DType dtype_ = DType::f32;
  Shape shape_;
  const std::byte* data_ = nullptr;
};

/// Writable view. Converts to ConstTensorView.
class TensorView {
 public:
  TensorView() = default;
  TensorView(DType dtype, Shape shape, std::byte* data)
      : dtype_(dtype), shape_(std::move(shape)), data_(data) {}
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::size_t size_bytes() const { return tensor_bytes(dtype_, shape_); }
  std::byte* data() const { return data_; }
  template <class T>
  std::span<T> as() const {
    if (dtype_of<T>() != dtype_) detail::throw_wrong_dtype(dtype_, dtype_of<T>());
    return {reinterpret_cast<T*>(data_), size_bytes() / sizeof(T)};
  }
  operator ConstTensorView() const { return {dtype_, shape_, data_}; }

 private:
  DType dtype_ = DType::f32;
  Shape shape_;
  std::byte* data_ = nullptr;
};

/// Owning, 64-byte aligned, zero-initialised host tensor. Move-only.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  TensorView view() { return {dtype_, shape_, data_.get()}; }
  ConstTensorView view() const { return {dtype_, shape_, data_.get()}; }
  template <class T>
  std::span<T> as() {
    return view().as<T>();
  }
  template <class T>
  std::span<const T> as() const {
    return view().as<T>();
  }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  DType dtype_ = DType::f32;
  Shape shape_;
  std::unique_ptr<std::byte, Free> data_;
};

struct NamedView {
  std::string_view name;
  ConstTensorView view;
};
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// NumPy .npy files (format 1.0 to 3.0, C order). Errors name the file. Writing is atomic.
Tensor load_npy(const std::string& path);
void save_npy(const std::string& path, const ConstTensorView& tensor);

}  // namespace headrace
