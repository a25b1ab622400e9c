#include "core/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "base/checked.h"

namespace headrace {

std::string_view to_string(Layout layout) {
  switch (layout) {
    case Layout::plain: return "plain";
    case Layout::channels_last: return "channels_last";
    case Layout::packed: return "packed";
  }
  return "unknown";
}

std::vector<std::int64_t> broadcast_strides(const TensorDesc& desc, const Shape& shape) {
  std::vector<std::int64_t> strides(shape.size(), 0);
  const std::size_t skip = shape.size() - desc.shape.size();
  for (std::size_t i = 0; i < desc.shape.size(); ++i)
    if (desc.shape[i] != 1) strides[skip + i] = desc.strides[i];
  return strides;
}

std::vector<std::int64_t> dense_strides(const Shape& shape, Layout layout) {
  std::vector<std::int64_t> strides(shape.size(), 1);
  std::int64_t stride = 1;
  const auto place = [&](std::size_t axis) {
    strides[axis] = stride;
    stride = checked_mul(stride, std::max<std::int64_t>(shape[axis], 1), "strides");
  };
  if (layout == Layout::channels_last && shape.size() >= 3) {
    place(1);
    for (std::size_t axis = shape.size(); axis-- > 2;) place(axis);
    place(0);
  } else {
    for (std::size_t axis = shape.size(); axis-- > 0;) place(axis);
  }
  return strides;
}

TensorDesc TensorDesc::dense(DType dtype, Shape shape, Layout layout) {
  TensorDesc desc;
  desc.dtype = dtype;
  desc.strides = dense_strides(shape, layout);
  desc.shape = std::move(shape);
  desc.layout = layout;
  return desc;
}

bool TensorDesc::is_dense() const { return strides == dense_strides(shape, layout); }

std::int64_t TensorDesc::elements() const { return element_count(shape); }

std::size_t TensorDesc::span_bytes() const {
  std::int64_t last = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return 0;
    last = checked_add(last, checked_mul(shape[i] - 1, strides[i], "tensor span"), "tensor span");
  }
  return static_cast<std::size_t>(checked_mul(checked_add(last, 1, "tensor span"),
                                              static_cast<std::int64_t>(size_bytes(dtype)), "tensor span"));
}

std::string to_string(const TensorDesc& desc) {
  std::string out = std::string(to_string(desc.dtype)) + "[" + to_string(desc.shape);
  if (desc.layout != Layout::plain) out += ", " + std::string(to_string(desc.layout));
  if (!desc.format.empty()) out += " " + desc.format;
  if (desc.strides != dense_strides(desc.shape, desc.layout)) {
    out += ", strides";
    for (std::int64_t s : desc.strides) out += " " + std::to_string(s);
  }
  return out + "]";
}

HostTensor::HostTensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
  const std::size_t bytes =
      size_bytes(std::span<const std::int64_t>(shape_), size_bytes(dtype), "host tensor");
  if (bytes > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) - 64) {
    throw Error(ErrorCode::out_of_memory, "host tensor of " + std::to_string(bytes) + " bytes");
  }
  std::byte* memory = nullptr;
  try {
    memory = static_cast<std::byte*>(::operator new (std::max<std::size_t>(bytes, 1), std::align_val_t{64}));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory,
                "cannot allocate a host tensor of " + std::to_string(bytes) + " bytes");
  }
  std::memset(memory, 0, bytes);
  owner_ = std::shared_ptr<const void>(
      memory, [](const void* p) { ::operator delete (const_cast<void*>(p), std::align_val_t{64}); });
  writable_ = memory;
  data_ = {memory, bytes};
}

HostTensor::HostTensor(DType dtype, Shape shape, std::span<const std::byte> data,
                       std::shared_ptr<const void> owner)
    : dtype_(dtype), shape_(std::move(shape)), data_(data), owner_(std::move(owner)) {
  const std::size_t bytes =
      size_bytes(std::span<const std::int64_t>(shape_), size_bytes(dtype), "host tensor");
  if (bytes != data.size()) {
    throw Error(ErrorCode::invalid_argument, "tensor " + std::string(to_string(dtype)) + "[" +
                                                 to_string(shape_) + "] needs " + std::to_string(bytes) +
                                                 " bytes, its data has " + std::to_string(data.size()));
  }
  if (bytes > 0 && reinterpret_cast<std::uintptr_t>(data.data()) % size_bytes(dtype) != 0) {
    HostTensor copy(dtype_, shape_);  // typed access needs alignment
    std::memcpy(copy.writable_, data.data(), bytes);
    *this = std::move(copy);
  }
}

std::span<std::byte> HostTensor::mutable_bytes() {
  if (writable_ == nullptr && !data_.empty()) {
    throw Error(ErrorCode::internal, "mutable_bytes of a HostTensor that is a view");
  }
  return {writable_, data_.size()};
}

namespace {

/// Calls f with a null pointer of the element type.
template <class F>
decltype(auto) with_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32: return f(static_cast<float*>(nullptr));
    case DType::f16: return f(static_cast<Half*>(nullptr));
    case DType::f64: return f(static_cast<double*>(nullptr));
    case DType::i8: return f(static_cast<std::int8_t*>(nullptr));
    case DType::i16: return f(static_cast<std::int16_t*>(nullptr));
    case DType::i32: return f(static_cast<std::int32_t*>(nullptr));
    case DType::i64: return f(static_cast<std::int64_t*>(nullptr));
    case DType::u8: return f(static_cast<std::uint8_t*>(nullptr));
    case DType::u16: return f(static_cast<std::uint16_t*>(nullptr));
    case DType::u32: return f(static_cast<std::uint32_t*>(nullptr));
    case DType::u64: return f(static_cast<std::uint64_t*>(nullptr));
    case DType::boolean: return f(static_cast<bool*>(nullptr));
    case DType::bf16: return f(static_cast<BHalf*>(nullptr));
  }
  throw Error(ErrorCode::internal, "unknown dtype " + std::to_string(static_cast<int>(dtype)));
}

/// double -> integer without undefined behaviour: NaN gives 0, the rest is truncated and saturated.
template <class T>
T to_integer(double v) {
  if (std::isnan(v)) return 0;
  if (v <= static_cast<double>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
  if (v >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(v);
}

void check_index(const HostTensor& tensor, std::int64_t i) {
  if (i < 0 || static_cast<std::size_t>(i) >= tensor.bytes().size() / size_bytes(tensor.dtype())) {
    throw Error(ErrorCode::internal,
                "element " + std::to_string(i) + " of a host tensor of shape " + to_string(tensor.shape()));
  }
}

}  // namespace

double HostTensor::at_double(std::int64_t i) const {
  check_index(*this, i);
  return with_type(dtype_, [&](auto* tag) -> double {
    using T = std::remove_pointer_t<decltype(tag)>;
    const std::byte* p = data_.data() + static_cast<std::size_t>(i) * sizeof(T);
    if constexpr (std::is_same_v<T, bool>)
      return *p != std::byte{0} ? 1.0 : 0.0;
    else {
      T value;
      std::memcpy(&value, p, sizeof(T));
      if constexpr (is_half_type<T>)
        return to_float(value);
      else
        return static_cast<double>(value);
    }
  });
}

std::int64_t HostTensor::at_int(std::int64_t i) const {
  check_index(*this, i);
  return with_type(dtype_, [&](auto* tag) -> std::int64_t {
    using T = std::remove_pointer_t<decltype(tag)>;
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      T value;
      std::memcpy(&value, data_.data() + static_cast<std::size_t>(i) * sizeof(T), sizeof(T));
      return static_cast<std::int64_t>(value);
    } else {
      return to_integer<std::int64_t>(at_double(i));
    }
  });
}

void HostTensor::set_double(std::int64_t i, double value) {
  check_index(*this, i);
  std::byte* base = mutable_bytes().data();
  with_type(dtype_, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    T element;
    if constexpr (is_half_type<T>)
      element = narrowed<T>(static_cast<float>(value));
    else if constexpr (std::is_same_v<T, bool>)
      element = value != 0;
    else if constexpr (std::is_integral_v<T>)
      element = to_integer<T>(value);
    else
      element = static_cast<T>(value);
    std::memcpy(base + static_cast<std::size_t>(i) * sizeof(T), &element, sizeof(T));
  });
}

void HostTensor::set_int(std::int64_t i, std::int64_t value) {
  check_index(*this, i);
  std::byte* base = mutable_bytes().data();
  with_type(dtype_, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    T element;
    if constexpr (is_half_type<T>)
      element = narrowed<T>(static_cast<float>(value));
    else if constexpr (std::is_same_v<T, bool>)
      element = value != 0;
    else
      element = static_cast<T>(value);
    std::memcpy(base + static_cast<std::size_t>(i) * sizeof(T), &element, sizeof(T));
  });
}

std::int64_t read_symbol(const HostTensor& data, const SymbolSource& source) {
  return source.kind == SymbolSource::real ? to_bits(data.at_double(source.index))
                                           : data.at_int(source.index);
}

bool operator==(const HostTensor& a, const HostTensor& b) {
  return a.dtype_ == b.dtype_ && a.shape_ == b.shape_ && a.data_.size() == b.data_.size() &&
         (a.data_.empty() || std::memcmp(a.data_.data(), b.data_.data(), a.data_.size()) == 0);
}

}  // namespace headrace
