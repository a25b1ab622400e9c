// What every stream checks before anything is submitted, and says when a recording fails.
#pragma once

#include <cstddef>
#include <exception>
#include <string_view>

#include "device/device.h"

namespace headrace {

/// Throws Error(misuse) when the range lies outside its buffer, or names bytes of no buffer. `what` names the
/// call in messages.
void check_range(const Operand& operand, std::string_view what);
/// Throws Error(misuse) when the sizes differ or the bytes at the two addresses overlap.
void check_copy(const Operand& dst, const Operand& src, const std::byte* to, const std::byte* from);
/// Throws Error(invalid_argument) where memory to be wrapped has no address.
void check_wrapped(const std::byte* data, std::size_t size_bytes);

/// Throws `error` as an Error that names the stream that was recording.
[[noreturn]] void rethrow_from_recording(const std::exception_ptr& error, std::string_view stream);

}  // namespace headrace
