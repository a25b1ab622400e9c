// Pictures for the OCR example: read, write, resize, warp, and the networks' input form.
//
//   ocr::Image picture = ocr::read_image("sign.jpg");
//   ocr::Image small = ocr::resize(picture, 736, 416);
//   ocr::write_png("copy.png", small);
//
// Contract: an Image is at least 1x1, blue-green-red, 8 bits each. Grey becomes three equal channels, 16 bits
// become 8, and transparency shows white. Files that are no picture, damaged or cut off throw
// Error(invalid_argument) with the reason; files that cannot be opened or written throw Error(io).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ocr/geometry.h"

namespace headrace::ocr {

struct Image {
  int width = 0, height = 0;
  std::vector<std::uint8_t> bgr;  ///< row after row, 3 bytes a pixel

  Image() = default;
  Image(int w, int h, std::uint8_t value = 0)
      : width(w), height(h), bgr(static_cast<std::size_t>(w) * static_cast<std::size_t>(h) * 3, value) {}
  const std::uint8_t* row(int y) const {
    return bgr.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(width) * 3;
  }
  std::uint8_t* row(int y) {
    return bgr.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(width) * 3;
  }
};

/// PNG, JPEG (turned upright as its Exif block tells), BMP, PNM; at most 100 million pixels.
Image read_image(const std::string& path);
/// Atomic: an existing file stays untouched when anything fails.
void write_png(const std::string& path, const Image& image);

/// Bilinear between pixel centres, without smoothing.
Image resize(const Image& image, int width, int height);
/// The picture with black borders around it.
Image pad(const Image& image, int left, int top, int right, int bottom);
/// The inside of a quad, straightened to width x height: bicubic (a = -0.75), edges repeated.
Image straighten(const Image& image, const Quad& quad, int width, int height);
Image rotate_quarter_left(const Image& image);
Image rotate_half(const Image& image);

/// (value / 255 - 0.5) / 0.5 into three planes of `height` rows of `row_length` floats; the rest of each row
/// becomes 0.
void to_planes(const Image& image, float* planes, int row_length);

/// Draws the outline of a quad.
void draw_quad(Image& image, const Quad& quad, int thickness);

}  // namespace headrace::ocr
