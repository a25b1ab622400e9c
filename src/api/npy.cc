// NumPy's .npy format, versions 1.0 to 3.0 (numpy.lib.format), C order, little endian.
#include <cstring>
#include <string>

#include <fmt/format.h>

#include <headrace/tensor.h>

#include "base/file.h"

namespace headrace {
namespace {

struct NpyType {
  DType dtype;
  const char* code;
};
constexpr NpyType kTypes[] = {
    {DType::f32, "<f4"}, {DType::f16, "<f2"}, {DType::f64, "<f8"}, {DType::i8, "|i1"},
    {DType::i16, "<i2"}, {DType::i32, "<i4"}, {DType::i64, "<i8"}, {DType::u8, "|u1"},
    {DType::u16, "<u2"}, {DType::u32, "<u4"}, {DType::u64, "<u8"}, {DType::boolean, "|b1"},
};

[[noreturn]] void bad(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("'{}' is not a NumPy .npy file that can be read: {}", path, why));
}

/// The text after "'key':", up to the next ',' or '}' outside parentheses.
std::string value_of(const std::string& header, const std::string& key, const std::string& path) {
  const std::size_t at = header.find("'" + key + "'");
  if (at == std::string::npos) bad(path, fmt::format("its header has no '{}'", key));
  std::size_t i = header.find(':', at);
  if (i == std::string::npos) bad(path, "its header is cut short");
  std::string value;
  int depth = 0;
  for (++i; i < header.size(); ++i) {
    const char c = header[i];
    if (c == '(') ++depth;
    if (c == ')') --depth;
    if (depth == 0 && (c == ',' || c == '}')) break;
    if (c != ' ') value += c;
  }
  return value;
}

}  // namespace

Tensor load_npy(const std::string& path) {
  const MappedFile file(path);
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < 10 || std::memcmp(bytes.data(), "\x93NUMPY", 6) != 0)
    bad(path, "it does not begin with the NumPy magic");
  const int major = static_cast<int>(bytes[6]);
  const std::size_t length_size = major == 1 ? 2 : 4;
  if (major < 1 || major > 3) bad(path, fmt::format("format version {} is not known (1 to 3 are)", major));
  if (bytes.size() < 8 + length_size) bad(path, "its header is cut short");
  std::size_t header_size = 0;
  std::memcpy(&header_size, bytes.data() + 8, length_size);
  const std::size_t begin = 8 + length_size;
  if (header_size > bytes.size() - begin) bad(path, "its header is cut short");
  const std::string header(reinterpret_cast<const char*>(bytes.data()) + begin, header_size);

  std::string code = value_of(header, "descr", path);
  if (code.size() >= 2) code = code.substr(1, code.size() - 2);
  if (!code.empty() && code[0] == '=') code[0] = '<';
  const NpyType* type = nullptr;
  for (const NpyType& t : kTypes)
    if (code == t.code || (t.code[0] == '|' && code.size() == 3 && code.substr(1) == t.code + 1)) type = &t;
  if (!type)
    bad(path, fmt::format("element type '{}' is not supported (little-endian floats, integers and bool are)",
                          code));
  if (value_of(header, "fortran_order", path) != "False")
    bad(path, "it is in Fortran order; save numpy.ascontiguousarray(x)");
  Shape shape;
  const std::string extents = value_of(header, "shape", path);
  const auto not_a_shape = [&] {
    bad(path, fmt::format("its shape '{}' is not a tuple of extents like (1, 3)", extents));
  };
  if (extents.size() < 2 || extents.front() != '(' || extents.back() != ')') not_a_shape();
  for (std::size_t i = 1; i + 1 < extents.size(); ++i) {  // each turn: digits, then ',' or the closing ')'
    std::int64_t extent = 0;
    const std::size_t first = i;
    for (; extents[i] >= '0' && extents[i] <= '9'; ++i) {
      if (extent > (std::int64_t{1} << 58)) bad(path, "an extent of its shape is too large");
      extent = extent * 10 + (extents[i] - '0');
    }
    if (i == first || (extents[i] != ',' && i + 1 != extents.size())) not_a_shape();
    shape.push_back(extent);
  }
  const std::size_t data_begin = begin + header_size;
  std::size_t need = 0;
  try {
    need = tensor_bytes(type->dtype, shape);
  } catch (const Error& e) {
    bad(path, e.message());
  }
  if (bytes.size() - data_begin < need)
    bad(path, fmt::format("shape {} needs {} bytes of data, the file has {}", to_string(shape), need,
                          bytes.size() - data_begin));
  Tensor tensor(type->dtype, shape);
  std::memcpy(tensor.view().data(), bytes.data() + data_begin, need);
  if (type->dtype == DType::boolean)  // C++ knows only the bytes 0 and 1
    for (std::size_t i = 0; i < need; ++i)
      tensor.view().data()[i] = std::byte{tensor.view().data()[i] != std::byte{0}};
  return tensor;
}

void save_npy(const std::string& path, const ConstTensorView& tensor) {
  const char* code = "";
  for (const NpyType& t : kTypes)
    if (t.dtype == tensor.dtype()) code = t.code;
  std::string shape;
  for (std::int64_t extent : tensor.shape()) shape += fmt::format("{}, ", extent);
  std::string header = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", code, shape);
  header.resize((header.size() + 1 + 10 + 63) / 64 * 64 - 10 - 1, ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix += static_cast<char>(header.size() & 0xff);
  prefix += static_cast<char>(header.size() >> 8);
  prefix += header;
  const std::span<const std::byte> pieces[] = {std::as_bytes(std::span(prefix)),
                                               std::span(tensor.data(), tensor.size_bytes())};
  write_file_atomic(path, pieces);
}

}  // namespace headrace
