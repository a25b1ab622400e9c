#include "backends/cuda/codegen.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include <headrace/error.h>

namespace headrace::cuda {

std::string type_name(DType dtype) { return dtype == DType::boolean ? "u8" : std::string(to_string(dtype)); }

DType raw_dtype(DType dtype) {
  switch (size_bytes(dtype)) {
    case 1: return DType::u8;
    case 2: return DType::u16;
    case 4: return DType::u32;
    default: return DType::u64;
  }
}

std::string register_name(DType dtype) {
  if (dtype == DType::f64) return "double";
  return is_float(dtype) ? "float" : "i64";
}

std::string literal(double value, DType dtype) {
  const bool wide = dtype == DType::f64;
  if (!std::isfinite(value) || (!wide && !std::isfinite(static_cast<float>(value)))) {
    return wide ? fmt::format("__longlong_as_double(0x{:016x}LL)", std::bit_cast<std::uint64_t>(value))
                : fmt::format("__int_as_float(0x{:08x})",
                              std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  }
  char buffer[64];
  const auto end = wide ? std::to_chars(buffer, buffer + sizeof buffer, value)
                        : std::to_chars(buffer, buffer + sizeof buffer, static_cast<float>(value));
  std::string text(buffer, end.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  if (!wide) text += "f";
  return value < 0 || std::signbit(value) ? "(" + text + ")" : text;
}

std::string literal(std::int64_t value) {
  return fmt::format("((i64)0x{:x}ULL)", static_cast<std::uint64_t>(value));
}

bool is_wide(const Nest& nest) {
  constexpr std::int64_t kLimit = (std::int64_t{1} << 31) - (1 << 20);  // room for the last block's surplus
  if (nest.count() >= kLimit) return true;
  for (std::size_t o = 0; o < nest.strides.size(); ++o)
    if (nest.span(o) >= kLimit) return true;
  return false;
}

std::string index_types(bool wide) {
  return wide ? "typedef long long idx; typedef unsigned long long uidx;\n"
              : "typedef int idx; typedef unsigned int uidx;\n";
}

std::string decompose(const Nest& nest, const std::string& flat, const std::vector<std::string>& offsets) {
  std::string out = "{ uidx r_ = " + flat + ";";
  for (std::size_t a = nest.axes(); a-- > 0;) {
    if (a > 0)
      out += fmt::format(" {{ const idx k_ = (idx)(r_ % {0}u); r_ /= {0}u;",
                         std::max<std::int64_t>(1, nest.extents[a]));
    else
      out += " { const idx k_ = (idx)r_;";
    for (std::size_t o = 0; o < offsets.size(); ++o)
      if (nest.strides[o][a] != 0) out += fmt::format(" {} += k_ * (idx){};", offsets[o], nest.strides[o][a]);
    out += " }";
  }
  return out + " }\n";
}

std::string fill(std::string_view text, const std::vector<Field>& fields) {
  std::string out;
  for (;;) {
    const std::size_t begin = text.find('$');
    out += text.substr(0, begin);
    if (begin == std::string_view::npos) return out;
    const std::size_t end = text.find('$', begin + 1);
    const std::string_view name = text.substr(begin + 1, end - begin - 1);
    const auto found =
        std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return name == f.name; });
    if (end == std::string_view::npos || found == fields.end())
      throw Error(ErrorCode::internal, "no value for '" + std::string(name) + "' in a kernel's text");
    out += found->value;
    text.remove_prefix(end + 1);
  }
}

std::int64_t access_bytes(std::int64_t count, std::int64_t size, const Strides& steps) {
  std::int64_t bytes = std::gcd<std::int64_t>(16, count * size);
  for (const std::int64_t step : steps) bytes = std::gcd(bytes, step * size);
  return std::max(bytes, size);
}

Geometry linear_geometry(std::int64_t threads, unsigned block) {
  const std::int64_t blocks = std::max<std::int64_t>(1, divide_up(threads, block));
  if (blocks > INT32_MAX)
    throw Error(ErrorCode::unsupported,
                fmt::format("a launch of {} blocks; tensors this large are not supported", blocks));
  Geometry g;
  g.grid[0] = static_cast<unsigned>(blocks);
  g.block[0] = block;
  return g;
}

}  // namespace headrace::cuda
