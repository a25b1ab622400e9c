// Tensors as the compiler and the runtime see them: descriptions, and host data of constants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <headrace/types.h>

#include "core/shape_program.h"

namespace headrace {

/// Order of the axes in memory. `plain`: row-major as written. `channels_last`: N,spatial...,C (rank >= 3).
/// `packed`: opaque bytes that only the tactic named in the plan understands (weights).
enum class Layout : std::uint8_t { plain, channels_last, packed };
std::string_view to_string(Layout layout);

/// Dense strides, in elements, of a shape under a layout (packed: plain's).
std::vector<std::int64_t> dense_strides(const Shape& shape, Layout layout);

/// A concrete tensor of one shape key: what tactics and kernels see. Strides count elements and are in the
/// order of the axes of `shape`; they need not be dense (a tensor may be a window of a larger one). `format`
/// names the packing when layout is `packed`, and is empty otherwise.
struct TensorDesc {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<std::int64_t> strides;
  Layout layout = Layout::plain;
  std::string format;
  static TensorDesc dense(DType dtype, Shape shape, Layout layout = Layout::plain);
  bool is_dense() const;  ///< strides are those of its layout
  std::int64_t elements() const;
  std::size_t span_bytes() const;  ///< bytes from the first element to the end of the last one; 0 when empty
  friend bool operator==(const TensorDesc&, const TensorDesc&) = default;
};

/// Strides of `desc` read as `shape` by numpy's broadcasting: 0 along repeated axes.
std::vector<std::int64_t> broadcast_strides(const TensorDesc& desc, const Shape& shape);
std::string to_string(const TensorDesc& desc);  ///< "f32[1x3x224x224, channels_last]"

/// Dense, plain host data of a constant. Immutable once shared. `data` may alias a mapped model file (`owner`
/// keeps it).
class HostTensor {
 public:
  HostTensor() = default;
  HostTensor(DType dtype, Shape shape);  ///< zero-initialised, owning
  HostTensor(DType dtype, Shape shape, std::span<const std::byte> data,
             std::shared_ptr<const void> owner);  ///< view
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t elements() const { return element_count(shape_); }
  std::span<const std::byte> bytes() const { return data_; }
  std::span<std::byte> mutable_bytes();  ///< only for owning tensors
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data_.data()), data_.size() / sizeof(T)};
  }
  template <class T>
  std::span<T> as_mutable() {
    auto b = mutable_bytes();
    return {reinterpret_cast<T*>(b.data()), b.size() / sizeof(T)};
  }
  /// Element i as double / int64 whatever the dtype (bool: 0 or 1).
  double at_double(std::int64_t i) const;
  std::int64_t at_int(std::int64_t i) const;
  void set_double(std::int64_t i, double value);
  void set_int(std::int64_t i, std::int64_t value);
  friend bool operator==(const HostTensor& a, const HostTensor& b);  ///< bitwise

 private:
  DType dtype_ = DType::f32;
  Shape shape_;
  std::span<const std::byte> data_;
  std::shared_ptr<const void> owner_;
  std::byte* writable_ = nullptr;
};
/// The value that a symbol takes from the data of its input.
std::int64_t read_symbol(const HostTensor& data, const SymbolSource& source);
using Constant = std::shared_ptr<const HostTensor>;

}  // namespace headrace
