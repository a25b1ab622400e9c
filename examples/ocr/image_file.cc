// Reading and writing of picture files; the one place that compiles stb.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include <headrace/error.h>

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#endif
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_ONLY_PNM
#define STBI_NO_STDIO
#include <stb_image.h>
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#define STBI_WRITE_NO_STDIO
#include <stb_image_write.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#include "ocr/exif.h"
#include "ocr/image.h"

namespace headrace::ocr {
namespace {

constexpr std::int64_t kMaxPixels = 100'000'000;
constexpr std::uintmax_t kMaxFileBytes = std::uintmax_t{512} << 20;

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("'{}' {}; give a whole PNG or JPEG picture", path, why));
}

std::vector<std::uint8_t> read_file(const std::string& path) {
  std::error_code failed;
  if (std::filesystem::is_directory(path, failed))
    throw Error(ErrorCode::io, fmt::format("'{}' is a folder, not a picture", path));
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw Error(ErrorCode::io,
                fmt::format("could not open the picture '{}': {}", path, std::strerror(errno)));
  std::vector<std::uint8_t> bytes;
  std::vector<char> part(std::size_t{1} << 20);
  while (file) {
    file.read(part.data(), static_cast<std::streamsize>(part.size()));
    bytes.insert(bytes.end(), part.data(), part.data() + file.gcount());
    if (bytes.size() > kMaxFileBytes) refuse(path, "is larger than 512 MiB");
  }
  if (file.bad()) throw Error(ErrorCode::io, fmt::format("could not read the picture '{}'", path));
  return bytes;
}

// A JPEG decoder fills what is missing with grey, so look for the end mark behind the first scan.
bool is_cut_off_jpeg(const std::vector<std::uint8_t>& b) {
  if (b.size() < 4 || b[0] != 0xFF || b[1] != 0xD8) return false;
  std::size_t at = 2;
  while (at + 4 <= b.size() && b[at] == 0xFF && b[at + 1] != 0xDA) {
    if (b[at + 1] == 0xFF)
      ++at;  // a fill byte
    else
      at += 2 + static_cast<std::size_t>(b[at + 2] * 256 + b[at + 3]);
  }
  for (; at + 1 < b.size(); ++at)
    if (b[at] == 0xFF && b[at + 1] == 0xD9) return false;
  return true;
}

}  // namespace

Image read_image(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_file(path);
  if (bytes.empty()) refuse(path, "is empty");
  const int size = static_cast<int>(bytes.size());
  int width = 0, height = 0, channels = 0;
  if (!stbi_info_from_memory(bytes.data(), size, &width, &height, &channels)) {
    constexpr std::uint8_t kPng[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    if (bytes.size() >= sizeof kPng && std::equal(std::begin(kPng), std::end(kPng), bytes.begin()))
      refuse(
          path,
          "is a PNG file that is cut off in its header, damaged there, or has more than 100 million pixels");
    refuse(path, "is not a picture that can be read (PNG, JPEG, BMP, PNM)");
  }
  if (width < 1 || height < 1) refuse(path, "has no pixels");
  if (std::int64_t{width} * height > kMaxPixels)
    refuse(path, fmt::format("has {}x{} pixels, more than 100 million", width, height));
  if (is_cut_off_jpeg(bytes)) refuse(path, "is a JPEG file that is cut off");
  const std::unique_ptr<stbi_uc, void (*)(void*)> rgba(
      stbi_load_from_memory(bytes.data(), size, &width, &height, &channels, 4), stbi_image_free);
  if (!rgba) {
    const char* reason = stbi_failure_reason();
    refuse(path, fmt::format("is damaged or of an unknown kind ({})",
                             reason && *reason ? reason : "it ends too early"));
  }
  Image image(width, height);
  const std::size_t pixels = image.bgr.size() / 3;
  for (std::size_t i = 0; i < pixels; ++i) {
    const stbi_uc* from = rgba.get() + i * 4;
    std::uint8_t* to = image.bgr.data() + i * 3;
    const int alpha = from[3];
    for (int c = 0; c < 3; ++c)
      to[2 - c] = static_cast<std::uint8_t>(
          alpha == 255 ? from[c] : (from[c] * alpha + 255 * (255 - alpha) + 127) / 255);
  }
  return upright(std::move(image), exif_orientation(bytes));
}

void write_png(const std::string& path, const Image& image) {
  std::vector<std::uint8_t> rgb(image.bgr);
  for (std::size_t i = 0; i + 2 < rgb.size(); i += 3) std::swap(rgb[i], rgb[i + 2]);
  std::vector<char> png;
  const auto append = [](void* context, void* data, int size) {
    auto& to = *static_cast<std::vector<char>*>(context);
    to.insert(to.end(), static_cast<char*>(data), static_cast<char*>(data) + size);
  };
  if (!stbi_write_png_to_func(append, &png, image.width, image.height, 3, rgb.data(), image.width * 3))
    throw Error(ErrorCode::out_of_memory, fmt::format("no memory to encode '{}'", path));
  const std::string part = path + ".part";
  bool good = false;
  {
    std::ofstream file(part, std::ios::binary | std::ios::trunc);
    file.write(png.data(), static_cast<std::streamsize>(png.size()));
    file.close();
    good = !file.fail();
  }
  std::error_code failed;
  if (good) std::filesystem::rename(part, path, failed);
  if (good && !failed) return;
  std::filesystem::remove(part, failed);
  throw Error(
      ErrorCode::io,
      fmt::format("could not write '{}'; check the folder and its permissions, or give --output FILE.png",
                  path));
}

}  // namespace headrace::ocr
