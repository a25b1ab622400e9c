// Integer arithmetic that refuses to wrap: sizes and shapes may come from a stranger's file.
//
//   std::int64_t bytes = checked_mul(count, 4, "weights");
//   std::size_t total = size_bytes(dims, 4, "tensor 'x'");
// Contract: the exact result, or Error(ErrorCode::invalid_argument) that names `what` and the operands.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <headrace/error.h>

namespace headrace {

namespace detail {
[[noreturn]] inline void throw_overflow(std::string_view what, std::int64_t a, char sign, std::int64_t b) {
  throw Error(ErrorCode::invalid_argument, std::string(what) + ": " + std::to_string(a) + " " + sign + " " +
                                               std::to_string(b) + " does not fit into 64 bits");
}
}  // namespace detail

[[nodiscard]] inline std::int64_t checked_add(std::int64_t a, std::int64_t b, std::string_view what) {
  std::int64_t result;
  if (__builtin_add_overflow(a, b, &result)) [[unlikely]]
    detail::throw_overflow(what, a, '+', b);
  return result;
}

[[nodiscard]] inline std::int64_t checked_sub(std::int64_t a, std::int64_t b, std::string_view what) {
  std::int64_t result;
  if (__builtin_sub_overflow(a, b, &result)) [[unlikely]]
    detail::throw_overflow(what, a, '-', b);
  return result;
}

[[nodiscard]] inline std::int64_t checked_mul(std::int64_t a, std::int64_t b, std::string_view what) {
  std::int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) [[unlikely]]
    detail::throw_overflow(what, a, '*', b);
  return result;
}

// The number of elements of a shape. A negative dim is an error; an empty shape is one element. A dim of 0
// makes the product 0 whatever the others are.
[[nodiscard]] inline std::int64_t element_count(std::span<const std::int64_t> dims, std::string_view what) {
  bool empty = false;
  for (std::int64_t dim : dims) {
    if (dim < 0) [[unlikely]] {
      throw Error(ErrorCode::invalid_argument, std::string(what) + ": negative dimension " +
                                                   std::to_string(dim) + "; resolve symbolic dims first");
    }
    empty |= dim == 0;
  }
  if (empty) return 0;
  std::int64_t count = 1;
  for (std::int64_t dim : dims) count = checked_mul(count, dim, what);
  return count;
}

[[nodiscard]] inline std::size_t size_bytes(std::span<const std::int64_t> dims, std::size_t element_bytes,
                                            std::string_view what) {
  return static_cast<std::size_t>(
      checked_mul(element_count(dims, what), static_cast<std::int64_t>(element_bytes), what));
}

// `value` rounded up to a multiple of `alignment` (a power of two).
[[nodiscard]] inline std::int64_t align_up(std::int64_t value, std::int64_t alignment,
                                           std::string_view what) {
  return checked_add(value, alignment - 1, what) & ~(alignment - 1);
}

}  // namespace headrace
