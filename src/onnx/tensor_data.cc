// TensorProto -> HostTensor: raw, typed and external data.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include <sys/stat.h>

#include "base/file.h"
#include "onnx/reader.h"
#include "onnx/wire.h"

namespace headrace::onnx {
namespace {

[[noreturn]] void fail(const TensorProto& t, const std::string& problem) {
  throw Error(ErrorCode::invalid_model, "tensor '" + std::string(t.name) + "': " + problem);
}

struct Extent {
  Shape shape;
  std::int64_t elements = 1;
  std::size_t bytes = 0;
};

Extent checked_extent(const TensorProto& t, DType dtype) {
  Extent e{t.dims, 1, 0};
  bool empty = false;
  for (const std::int64_t d : t.dims) {
    if (d < 0) fail(t, "negative dimension " + std::to_string(d));
    empty |= d == 0;
  }
  if (empty) {
    e.elements = 0;
    return e;
  }
  for (const std::int64_t d : t.dims) {
    if (__builtin_mul_overflow(e.elements, d, &e.elements))
      fail(t, "its dimensions multiply to more than 64 bits hold");
  }
  if (__builtin_mul_overflow(static_cast<std::size_t>(e.elements), size_bytes(dtype), &e.bytes)) {
    fail(t, "its size does not fit into 64 bits");
  }
  return e;
}

/// A tensor that views `data` when its alignment allows, else a copy.
HostTensor from_bytes(const TensorProto& t, DType dtype, const Extent& extent,
                      std::span<const std::byte> data, const std::shared_ptr<const void>& owner) {
  if (data.size() != extent.bytes) {
    fail(t, "has " + std::to_string(data.size()) + " bytes of data, but " +
                headrace::to_string(extent.shape) + " of " + std::string(headrace::to_string(dtype)) +
                " needs " + std::to_string(extent.bytes));
  }
  const bool odd_bools = dtype == DType::boolean &&
                         std::any_of(data.begin(), data.end(), [](std::byte b) { return b > std::byte{1}; });
  const bool aligned = reinterpret_cast<std::uintptr_t>(data.data()) % size_bytes(dtype) == 0;
  if (owner && aligned && !odd_bools && !data.empty()) return HostTensor(dtype, extent.shape, data, owner);
  HostTensor copy(dtype, extent.shape);
  if (!data.empty()) std::memcpy(copy.mutable_bytes().data(), data.data(), data.size());
  if (odd_bools) {
    for (std::byte& b : copy.mutable_bytes()) b = std::byte{b != std::byte{0}};
  }
  return copy;
}

/// The typed field that holds `dtype`, as onnx.proto has it.
std::uint32_t typed_field(DType dtype) {
  switch (dtype) {
    case DType::f32: return 4;
    case DType::f64: return 10;
    case DType::i64: return 7;
    case DType::u32:
    case DType::u64: return 11;
    default: return 5;
  }
}

HostTensor from_typed(const TensorProto& t, DType dtype, const Extent& extent) {
  const std::uint32_t wanted = typed_field(dtype);
  std::vector<std::byte> values;
  auto append = [&](auto v) {
    const auto* p = reinterpret_cast<const std::byte*>(&v);
    values.insert(values.end(), p, p + sizeof(v));
  };
  Reader r(t.message, "TensorProto", t.message.data());
  while (r.next()) {
    const std::uint32_t field = r.field();
    const bool typed = field == 4 || field == 5 || field == 7 || field == 10 || field == 11;
    if (typed && field != wanted) {
      fail(t, "its values stand in field " + std::to_string(field) + " of TensorProto; " +
                  std::string(headrace::to_string(dtype)) + " values belong into field " +
                  std::to_string(wanted));
    }
    if (!typed) {
      r.skip();
    } else if (field == 4) {
      r.each_fixed<4>([&](const char* p) {
        std::uint32_t v;
        std::memcpy(&v, p, 4);
        append(v);
      });
    } else if (field == 10) {
      r.each_fixed<8>([&](const char* p) {
        std::uint64_t v;
        std::memcpy(&v, p, 8);
        append(v);
      });
    } else {
      r.each_integer([&](std::int64_t v) {
        switch (size_bytes(dtype)) {
          case 1: append(static_cast<std::uint8_t>(dtype == DType::boolean ? v != 0 : v)); break;
          case 2: append(static_cast<std::uint16_t>(v)); break;
          case 4: append(static_cast<std::uint32_t>(v)); break;
          default: append(v);
        }
      });
    }
  }
  if (values.size() != extent.bytes) {
    fail(t, "has " + std::to_string(values.size() / size_bytes(dtype)) + " values, but its shape " +
                headrace::to_string(extent.shape) + " needs " + std::to_string(extent.elements));
  }
  HostTensor tensor(dtype, extent.shape);
  if (!values.empty()) std::memcpy(tensor.mutable_bytes().data(), values.data(), values.size());
  return tensor;
}

std::int64_t parse_number(const TensorProto& t, std::string_view key, std::string_view text) {
  std::int64_t v = 0;
  const bool digits = !text.empty() && text.size() <= 18 &&
                      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) fail(t, "external data " + std::string(key) + " '" + std::string(text) + "' is not a number");
  for (const char c : text) v = v * 10 + (c - '0');
  return v;
}

/// The external file of `t`, mapped. Refuses whatever could leave the model's folder.
HostTensor from_external(const TensorProto& t, DType dtype, const Extent& extent, const std::string& folder) {
  namespace fs = std::filesystem;
  std::string location;
  std::int64_t offset = 0;
  std::optional<std::int64_t> length;
  for (const auto& [key, value] : t.external_data) {
    if (key == "location")
      location = value;
    else if (key == "offset")
      offset = parse_number(t, key, value);
    else if (key == "length")
      length = parse_number(t, key, value);
  }
  if (folder.empty())
    fail(t, "external data is refused for a model from memory; load the model from its file");
  const std::string quoted = "external data location '" + location + "'";
  if (location.empty()) fail(t, "external data without a location");
  if (location.find('\0') != std::string::npos) fail(t, "external data location holds a NUL byte");
  const fs::path relative(location);
  if (relative.is_absolute() || location.find('\\') != std::string::npos) {
    fail(t, quoted + " must be a relative path with '/'");
  }
  fs::path path(folder);
  for (const fs::path& part : relative) {
    if (part == "..") fail(t, quoted + " contains '..'; it must stay in the model's folder");
    path /= part;
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) {
      throw Error(ErrorCode::io,
                  "tensor '" + std::string(t.name) + "': " + quoted + " is not in the model's folder");
    }
    if (S_ISLNK(info.st_mode)) fail(t, quoted + " goes through a symbolic link");
    if (S_ISREG(info.st_mode) && info.st_nlink != 1)
      fail(t, quoted + " is a hard link (link count is not 1)");
    if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) fail(t, quoted + " is not a regular file");
  }
  if (!fs::is_regular_file(path)) fail(t, quoted + " is not a regular file");
  auto file = std::make_shared<const MappedFile>(path);
  const auto size = static_cast<std::int64_t>(file->size_bytes());
  const auto wanted = length.value_or(static_cast<std::int64_t>(extent.bytes));
  if (offset > size || wanted > size - offset) {
    fail(t, quoted + ": bytes " + std::to_string(offset) + " to " + std::to_string(offset) + "+" +
                std::to_string(wanted) + " lie outside the file of " + std::to_string(size) + " bytes");
  }
  const auto data = file->bytes().subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(wanted));
  return from_bytes(t, dtype, extent, data, file);
}

}  // namespace

DType to_dtype(std::int64_t data_type) {
  constexpr std::string_view kNames[] = {
      "undefined",      "float",    "uint8",        "int8",           "uint16",
      "int16",          "int32",    "int64",        "string",         "bool",
      "float16",        "double",   "uint32",       "uint64",         "complex64",
      "complex128",     "bfloat16", "float8e4m3fn", "float8e4m3fnuz", "float8e5m2",
      "float8e5m2fnuz", "uint4",    "int4",         "float4e2m1",     "float8e8m0",
      "uint2",          "int2"};
  switch (data_type) {
    case 1: return DType::f32;
    case 2: return DType::u8;
    case 3: return DType::i8;
    case 4: return DType::u16;
    case 5: return DType::i16;
    case 6: return DType::i32;
    case 7: return DType::i64;
    case 9: return DType::boolean;
    case 10: return DType::f16;
    case 11: return DType::f64;
    case 12: return DType::u32;
    case 13: return DType::u64;
    default: break;
  }
  if (data_type > 0 && data_type < static_cast<std::int64_t>(std::size(kNames))) {
    throw Error(ErrorCode::unsupported,
                "element type " + std::string(kNames[data_type]) + " is not supported");
  }
  throw Error(ErrorCode::invalid_model, "unknown element type " + std::to_string(data_type));
}

HostTensor to_host_tensor(const TensorProto& t, const std::shared_ptr<const void>& owner,
                          const std::string& folder) {
  if (t.has_strings && t.data_type != 8) fail(t, "has string data but is not of type string");
  DType dtype;
  try {
    dtype = to_dtype(t.data_type);
  } catch (Error& e) {
    throw e.add_context("in tensor '" + std::string(t.name) + "'");
  }
  if (t.raw && t.has_typed) fail(t, "has both raw and typed data; one of them must go");
  if (t.external && (t.raw || t.has_typed))
    fail(t, "has external data and data of its own; one of them must go");
  const Extent extent = checked_extent(t, dtype);
  if (t.external) return from_external(t, dtype, extent, folder);
  if (t.raw)
    return from_bytes(t, dtype, extent, std::as_bytes(std::span(t.raw->data(), t.raw->size())), owner);
  return from_typed(t, dtype, extent);
}

}  // namespace headrace::onnx
