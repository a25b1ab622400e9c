#include "ocr/exif.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace headrace::ocr {
namespace {

using Bytes = std::span<const std::uint8_t>;

// The payload of the file's Exif segment (a TIFF file), or nothing. Segments end where the pixels start.
Bytes exif_block(Bytes b) {
  constexpr std::string_view kName("Exif\0\0", 6);
  if (b.size() < 4 || b[0] != 0xFF || b[1] != 0xD8) return {};
  for (std::size_t at = 2; at + 4 <= b.size() && b[at] == 0xFF && b[at + 1] != 0xDA;) {
    if (b[at + 1] == 0xFF) {
      ++at;  // a fill byte
      continue;
    }
    const std::size_t length = static_cast<std::size_t>(b[at + 2] * 256 + b[at + 3]);
    if (length < 2 || length > b.size() - at - 2) return {};
    const Bytes payload = b.subspan(at + 4, length - 2);
    if (b[at + 1] == 0xE1 && payload.size() > kName.size() &&
        std::equal(kName.begin(), kName.end(), payload.begin(),
                   [](char c, std::uint8_t v) { return static_cast<std::uint8_t>(c) == v; }))
      return payload.subspan(kName.size());
    at += 2 + length;
  }
  return {};
}

Image mirror(Image image) {
  for (int y = 0; y < image.height; ++y) {
    std::uint8_t* row = image.row(y);
    for (int a = 0, b = image.width - 1; a < b; ++a, --b)
      std::swap_ranges(row + a * 3, row + a * 3 + 3, row + b * 3);
  }
  return image;
}

}  // namespace

int exif_orientation(Bytes jpeg) {
  const Bytes tiff = exif_block(jpeg);
  if (tiff.size() < 8 || tiff[0] != tiff[1] || (tiff[0] != 'I' && tiff[0] != 'M')) return 1;
  const auto number = [&](std::size_t at, std::size_t bytes) {  // 0 outside the block
    std::size_t value = 0;
    for (std::size_t i = 0; i < bytes && at < tiff.size() && bytes <= tiff.size() - at; ++i)
      value = value << 8 | tiff[at + (tiff[0] == 'M' ? i : bytes - 1 - i)];
    return value;
  };
  constexpr std::size_t kEntry = 12, kTag = 0x0112, kShort = 3;
  const std::size_t folder = number(4, 4), entries = number(folder, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = folder + 2 + i * kEntry;
    if (number(entry, 2) != kTag || number(entry + 2, 2) != kShort) continue;
    const std::size_t value = number(entry + 8, 2);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation == 2 || orientation == 4 || orientation == 5 || orientation == 7)
    image = mirror(std::move(image));
  if (orientation >= 5) image = rotate_quarter_left(image);
  if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7)
    image = rotate_half(image);
  return image;
}

}  // namespace headrace::ocr
