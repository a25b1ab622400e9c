#include "backends/reference/loops.h"

#include <cmath>
#include <limits>

namespace headrace::reference {

namespace {

template <class F>
void dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
    case DType::f16: return f(Half{});
    case DType::bf16: return f(BHalf{});
    case DType::i8: return f(std::int8_t{});
    case DType::i16: return f(std::int16_t{});
    case DType::i32: return f(std::int32_t{});
    case DType::i64: return f(std::int64_t{});
    case DType::u8:
    case DType::boolean: return f(std::uint8_t{});
    case DType::u16: return f(std::uint16_t{});
    case DType::u32: return f(std::uint32_t{});
    case DType::u64: return f(std::uint64_t{});
  }
}

template <class To, class T>
To read(T v) {
  if constexpr (is_half_type<T>)
    return static_cast<To>(to_float(v));
  else
    return static_cast<To>(v);
}

template <class To>
void load(DType dtype, const std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
          To* to) {
  dispatch(dtype, [&](auto tag) {
    using T = decltype(tag);
    const T* from = reinterpret_cast<const T*>(base) + offset;
    for (std::int64_t i = 0; i < n; ++i) to[i] = read<To>(from[i * stride]);
  });
}

}  // namespace

Nest Nest::without(std::size_t axis) const {
  Nest nest = *this;
  nest.shape.erase(nest.shape.begin() + static_cast<std::ptrdiff_t>(axis));
  for (Strides& s : nest.strides) s.erase(s.begin() + static_cast<std::ptrdiff_t>(axis));
  return nest;
}

void load_real(DType dtype, const std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
               double* to) {
  load(dtype, base, offset, stride, n, to);
}
void load_int(DType dtype, const std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
              std::int64_t* to) {
  if (is_float(dtype)) {
    for (std::int64_t i = 0; i < n; ++i)
      to[i] = real_to_int(DType::i64, real_at(dtype, base, offset + i * stride));
    return;
  }
  load(dtype, base, offset, stride, n, to);
}
void store_real(DType dtype, std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
                const double* from) {
  dispatch(dtype, [&](auto tag) {
    using T = decltype(tag);
    T* to = reinterpret_cast<T*>(base) + offset;
    for (std::int64_t i = 0; i < n; ++i) {
      if constexpr (is_half_type<T>)
        to[i * stride] = narrowed<T>(static_cast<float>(from[i]));
      else if constexpr (std::is_floating_point_v<T>)
        to[i * stride] = static_cast<T>(from[i]);
      else
        to[i * stride] = static_cast<T>(real_to_int(dtype, from[i]));
    }
  });
}
void store_int(DType dtype, std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
               const std::int64_t* from) {
  dispatch(dtype, [&](auto tag) {
    using T = decltype(tag);
    T* to = reinterpret_cast<T*>(base) + offset;
    for (std::int64_t i = 0; i < n; ++i) {
      if constexpr (is_half_type<T>)
        to[i * stride] = narrowed<T>(static_cast<float>(from[i]));
      else
        to[i * stride] = static_cast<T>(dtype == DType::boolean ? from[i] != 0 : from[i]);
    }
  });
}

double real_at(DType dtype, const std::byte* base, std::int64_t offset) {
  double value;
  load_real(dtype, base, offset, 1, 1, &value);
  return value;
}
std::int64_t int_at(DType dtype, const std::byte* base, std::int64_t offset) {
  std::int64_t value;
  load_int(dtype, base, offset, 1, 1, &value);
  return value;
}
void put_real(DType dtype, std::byte* base, std::int64_t offset, double value) {
  store_real(dtype, base, offset, 1, 1, &value);
}
void put_int(DType dtype, std::byte* base, std::int64_t offset, std::int64_t value) {
  store_int(dtype, base, offset, 1, 1, &value);
}

double round_to(DType dtype, double value) {
  if (dtype == DType::f32) return static_cast<float>(value);
  if (dtype == DType::f16) return to_float(to_half(static_cast<float>(value)));
  if (dtype == DType::bf16) return to_float(to_bhalf(static_cast<float>(value)));
  return value;
}

std::int64_t wrap_to(DType dtype, std::int64_t value) {
  std::int64_t result = value != 0;
  if (dtype == DType::boolean) return result;
  dispatch(dtype, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_integral_v<T>) result = static_cast<std::int64_t>(static_cast<T>(value));
  });
  return result;
}

std::int64_t real_to_int(DType dtype, double value) {
  constexpr double kTwo63 = 9223372036854775808.0;
  if (dtype == DType::boolean) return value != 0;
  if (std::isnan(value)) return wrap_to(dtype, std::numeric_limits<std::int64_t>::min());
  if (dtype == DType::u64 && value >= kTwo63)
    return static_cast<std::int64_t>(value >= 2 * kTwo63 ? UINT64_MAX : static_cast<std::uint64_t>(value));
  if (value >= kTwo63) return wrap_to(dtype, std::numeric_limits<std::int64_t>::max());
  if (value < -kTwo63) return wrap_to(dtype, std::numeric_limits<std::int64_t>::min());
  return wrap_to(dtype, static_cast<std::int64_t>(value));
}

double int_to_real(DType from, std::int64_t value) {
  return from == DType::u64 ? static_cast<double>(static_cast<std::uint64_t>(value))
                            : static_cast<double>(value);
}

void copy_elements(std::size_t size, const Nest& nest, std::byte* dst, std::int64_t dst_offset,
                   const std::byte* src, std::int64_t src_offset) {
  std::int64_t offset[2] = {dst_offset, src_offset};
  const std::int64_t to_step = nest.inner(0), from_step = nest.inner(1);
  const auto copy = [&](auto tag) {
    using T = decltype(tag);
    nest.rows(offset, [&](std::int64_t n) {
      T* to = reinterpret_cast<T*>(dst) + offset[0];
      const T* from = reinterpret_cast<const T*>(src) + offset[1];
      if (to_step == 1 && from_step == 1)
        std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(T));
      else
        for (std::int64_t i = 0; i < n; ++i) to[i * to_step] = from[i * from_step];
    });
  };
  switch (size) {
    case 1: return copy(std::uint8_t{});
    case 2: return copy(std::uint16_t{});
    case 4: return copy(std::uint32_t{});
    default: return copy(std::uint64_t{});
  }
}

namespace {

/// One axis after the other, without a list of its own: launches do not allocate.
template <class T>
void copy_axis(const TensorDesc& desc, std::size_t axis, const std::byte* data, std::int64_t offset, T*& to) {
  const std::size_t rank = desc.shape.size();
  if (axis + 1 >= rank) {
    const std::int64_t n = rank == 0 ? 1 : desc.shape[axis];
    load(desc.dtype, data, offset, rank == 0 ? 1 : desc.strides[axis], n, to);
    to += n;
    return;
  }
  for (std::int64_t i = 0; i < desc.shape[axis]; ++i)
    copy_axis(desc, axis + 1, data, offset + i * desc.strides[axis], to);
}

}  // namespace

template <class T>
void to_dense(const TensorDesc& desc, const std::byte* data, T* to) {
  copy_axis(desc, 0, data, 0, to);
}
template void to_dense<float>(const TensorDesc&, const std::byte*, float*);
template void to_dense<double>(const TensorDesc&, const std::byte*, double*);

}  // namespace headrace::reference
