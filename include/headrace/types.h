// Element types and concrete shapes: the vocabulary shared by the public API and every layer below it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace headrace {

/// Element type of a tensor. Values are part of the plan format: append only.
enum class DType : std::uint8_t { f32, f16, f64, i8, i16, i32, i64, u8, u16, u32, u64, boolean, bf16 };

/// Bytes of one element.
constexpr std::size_t size_bytes(DType t) {
  switch (t) {
    case DType::i8:
    case DType::u8:
    case DType::boolean: return 1;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
    case DType::u16: return 2;
    case DType::f32:
    case DType::i32:
    case DType::u32: return 4;
    case DType::f64:
    case DType::i64:
    case DType::u64: return 8;
  }
  return 0;
}
constexpr bool is_half(DType t) { return t == DType::f16 || t == DType::bf16; }
constexpr bool is_float(DType t) { return t == DType::f32 || t == DType::f64 || is_half(t); }
constexpr bool is_signed_int(DType t) {
  return t == DType::i8 || t == DType::i16 || t == DType::i32 || t == DType::i64;
}
constexpr bool is_unsigned_int(DType t) {
  return t == DType::u8 || t == DType::u16 || t == DType::u32 || t == DType::u64;
}
constexpr bool is_int(DType t) { return is_signed_int(t) || is_unsigned_int(t); }

/// "f32", "i64", "bool", ...: the one spelling used in text forms, JSON and messages.
std::string_view to_string(DType t);

/// IEEE binary16 bits; arithmetic goes through float.
struct Half {
  std::uint16_t bits = 0;
};
float to_float(Half h);
Half to_half(float f);  ///< round to nearest even

/// The upper half of a binary32's bits ("bfloat16"): its range, with 8 bits of precision.
struct BHalf {
  std::uint16_t bits = 0;
};
float to_float(BHalf h);
BHalf to_bhalf(float f);  ///< round to nearest even

template <class T>
inline constexpr bool is_half_type = std::is_same_v<T, Half> || std::is_same_v<T, BHalf>;
/// Half or BHalf of a float.
template <class T>
T narrowed(float f) {
  static_assert(is_half_type<T>);
  if constexpr (std::is_same_v<T, Half>)
    return to_half(f);
  else
    return to_bhalf(f);
}

/// The DType of a C++ element type, for typed spans.
template <class T>
constexpr DType dtype_of() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<U, double>)
    return DType::f64;
  else if constexpr (std::is_same_v<U, Half>)
    return DType::f16;
  else if constexpr (std::is_same_v<U, BHalf>)
    return DType::bf16;
  else if constexpr (std::is_same_v<U, bool>)
    return DType::boolean;
  else if constexpr (std::is_integral_v<U> && sizeof(U) == 1)
    return std::is_signed_v<U> ? DType::i8 : DType::u8;
  else if constexpr (std::is_integral_v<U> && sizeof(U) == 2)
    return std::is_signed_v<U> ? DType::i16 : DType::u16;
  else if constexpr (std::is_integral_v<U> && sizeof(U) == 4)
    return std::is_signed_v<U> ? DType::i32 : DType::u32;
  else {
    static_assert(std::is_integral_v<U> && sizeof(U) == 8, "no DType for this element type");
    return std::is_signed_v<U> ? DType::i64 : DType::u64;
  }
}

/// What a plan computes in. Inputs and outputs keep the model's types; sums are always f32.
enum class Precision : std::uint8_t {
  fp32,
  tf32,  ///< f32 tensors; factors of convolutions and matrix products are rounded to 10 bits of fraction
  fp16,  ///< activations and weights in f16
  bf16,  ///< activations and weights in bf16
};
std::string_view to_string(Precision precision);
std::optional<Precision> try_precision(std::string_view name);  ///< none: there is no such name

/// A concrete shape: extents, outermost first. A scalar has rank 0 and one element.
using Shape = std::vector<std::int64_t>;

/// "1x3x224x224"; "scalar" for rank 0.
std::string to_string(const Shape& shape);
/// Product of the extents; throws Error on overflow or a negative extent.
std::int64_t element_count(const Shape& shape);

/// Shapes by tensor name, as `Session::acquire` and `Context::prepare` take them.
using ShapeMap = std::map<std::string, Shape, std::less<>>;

}  // namespace headrace
