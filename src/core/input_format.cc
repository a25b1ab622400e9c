#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <headrace/error.h>
#include <headrace/input_format.h>

namespace headrace {
namespace {

/// Types that every backend's pointwise kernels read.
constexpr DType kOffered[] = {DType::u8, DType::i8, DType::u16, DType::i16, DType::f16, DType::f32};

[[noreturn]] void bad(const std::string& what) {
  throw Error(ErrorCode::invalid_argument, "the input format " + what);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

double number(std::string_view text, std::string_view key) {
  const auto parts = split(text, '/');
  double values[2] = {0, 1};
  bool good = parts.size() <= 2;
  for (std::size_t i = 0; good && i < parts.size(); ++i) {
    const auto [end, error] = std::from_chars(parts[i].data(), parts[i].data() + parts[i].size(), values[i]);
    good = error == std::errc() && end == parts[i].data() + parts[i].size() && !parts[i].empty();
  }
  if (!good || values[1] == 0)
    bad(fmt::format("has {}={}, where '{}' is no number; write 0.5 or a quotient like 1/255", key, text,
                    text));
  return values[0] / values[1];
}

std::vector<double> numbers(std::string_view text, std::string_view key) {
  std::vector<double> result;
  for (std::string_view part : split(text, ':')) result.push_back(number(part, key));
  return result;
}

DType dtype_named(std::string_view name) {
  for (const DType t : kOffered)
    if (to_string(t) == name) return t;
  bad(
      fmt::format("begins with '{}', which is no type that is offered; use u8, i8, u16, i16, f16 or f32, as "
                  "in 'u8,nhwc,scale=1/255'",
                  name));
}

}  // namespace

void check(const InputFormat& format) {
  if (std::find(std::begin(kOffered), std::end(kOffered), format.dtype) == std::end(kOffered))
    bad(fmt::format("has the type {}, which is not offered; use u8, i8, u16, i16, f16 or f32",
                    to_string(format.dtype)));
  const auto finite = [](double v) { return std::isfinite(v); };
  if (!finite(format.scale) || format.scale == 0)
    bad(fmt::format("has the scale {}; use a finite number other than 0", format.scale));
  if (!std::all_of(format.mean.begin(), format.mean.end(), finite)) bad("has a mean that is not finite");
  if (!std::all_of(format.std.begin(), format.std.end(), [&](double v) { return finite(v) && v != 0; }))
    bad("divides by a std that is 0 or not finite; leave std out where nothing is to be divided");
}

std::string to_string(const InputFormat& format) {
  std::string text(to_string(format.dtype));
  if (format.channels_last) text += ",nhwc";
  if (format.scale != 1) text += fmt::format(",scale={}", format.scale);
  if (!format.mean.empty()) text += fmt::format(",mean={}", fmt::join(format.mean, ":"));
  if (!format.std.empty()) text += fmt::format(",std={}", fmt::join(format.std, ":"));
  return text;
}

InputFormat parse_input_format(std::string_view text) {
  const auto parts = split(text, ',');
  InputFormat format{.dtype = dtype_named(parts[0]), .mean = {}, .std = {}};
  std::vector<std::string_view> seen;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::size_t equals = parts[i].find('=');
    std::string_view key = parts[i].substr(0, equals);
    const bool has_value = equals != std::string_view::npos;
    const std::string_view value = has_value ? parts[i].substr(equals + 1) : std::string_view();
    if (!has_value && (key == "nchw" || key == "nhwc")) {
      format.channels_last = key == "nhwc";
      key = "layout";
    } else if (has_value && key == "scale") {
      format.scale = number(value, key);
    } else if (has_value && key == "mean") {
      format.mean = numbers(value, key);
    } else if (has_value && key == "std") {
      format.std = numbers(value, key);
    } else {
      bad(fmt::format("has the part '{}'; parts are nchw or nhwc, scale=, mean= and std=", parts[i]));
    }
    if (std::find(seen.begin(), seen.end(), key) != seen.end()) bad(fmt::format("tells the {} twice", key));
    seen.push_back(key);
  }
  check(format);
  return format;
}

double sample(const InputFormat& format, double unit) {
  if (is_float(format.dtype)) return (2 * unit - 1) / format.scale;
  const double range = std::ldexp(1.0, 8 * static_cast<int>(size_bytes(format.dtype)));
  return std::floor(unit * range) - (is_signed_int(format.dtype) ? range / 2 : 0);
}

}  // namespace headrace
