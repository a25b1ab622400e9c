#include "ocr/image.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

namespace headrace::ocr {
namespace {

// Where a resized pixel reads: two neighbours and the weight of the second in 1/2048.
struct Tap {
  int first, second, weight;
};
constexpr int kBits = 11, kOne = 1 << kBits;

std::vector<Tap> taps(int from, int to) {
  std::vector<Tap> result(static_cast<std::size_t>(to));
  const double scale = static_cast<double>(from) / to;
  for (int i = 0; i < to; ++i) {
    const double at = std::clamp((i + 0.5) * scale - 0.5, 0.0, from - 1.0);
    const int first = static_cast<int>(at);
    result[static_cast<std::size_t>(i)] = {first, std::min(first + 1, from - 1),
                                           static_cast<int>(std::lround((at - first) * kOne))};
  }
  return result;
}

// One source row stretched to the new width, times kOne.
void stretch(const std::uint8_t* from, const std::vector<Tap>& columns, int* to) {
  for (const Tap& t : columns) {
    const std::uint8_t *a = from + t.first * 3, *b = from + t.second * 3;
    for (int c = 0; c < 3; ++c) *to++ = a[c] * (kOne - t.weight) + b[c] * t.weight;
  }
}

std::array<float, 4> cubic(float t) {
  constexpr float a = -0.75f;
  const float u = t + 1, v = 1 - t;
  std::array<float, 4> w;
  w[0] = ((a * u - 5 * a) * u + 8 * a) * u - 4 * a;
  w[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
  w[2] = ((a + 2) * v - (a + 3)) * v * v + 1;
  w[3] = 1 - w[0] - w[1] - w[2];
  return w;
}

std::uint8_t to_byte(float v) { return static_cast<std::uint8_t>(std::clamp(v + 0.5f, 0.0f, 255.0f)); }

}  // namespace

Image resize(const Image& image, int width, int height) {
  if (width == image.width && height == image.height) return image;
  Image result(width, height);
  const std::vector<Tap> columns = taps(image.width, width), rows = taps(image.height, height);
  const std::size_t length = static_cast<std::size_t>(width) * 3;
  std::vector<int> upper(length), lower(length);
  int upper_row = -1, lower_row = -1;
  for (int y = 0; y < height; ++y) {
    const Tap t = rows[static_cast<std::size_t>(y)];
    if (upper_row != t.first) {
      if (lower_row == t.first) {
        std::swap(upper, lower);
        std::swap(upper_row, lower_row);
      } else {
        stretch(image.row(t.first), columns, upper.data());
        upper_row = t.first;
      }
    }
    if (lower_row != t.second) {
      stretch(image.row(t.second), columns, lower.data());
      lower_row = t.second;
    }
    std::uint8_t* to = result.row(y);
    const int *a = upper.data(), *b = lower.data();
    const int weight = t.weight, rest = kOne - t.weight;
    for (std::size_t i = 0; i < length; ++i)
      to[i] = static_cast<std::uint8_t>(((a[i] >> 4) * rest + (b[i] >> 4) * weight + (1 << 17)) >> 18);
  }
  return result;
}

Image pad(const Image& image, int left, int top, int right, int bottom) {
  Image result(image.width + left + right, image.height + top + bottom);
  for (int y = 0; y < image.height; ++y)
    std::memcpy(result.row(y + top) + left * 3, image.row(y), static_cast<std::size_t>(image.width) * 3);
  return result;
}

Image straighten(const Image& image, const Quad& quad, int width, int height) {
  Image result(width, height);
  const Perspective map(quad, width, height);
  // Far outside the picture only its edge is seen; the clamp keeps the integers small.
  const float limit_x = static_cast<float>(image.width + 4), limit_y = static_cast<float>(image.height + 4);
  for (int y = 0; y < height; ++y) {
    std::uint8_t* to = result.row(y);
    for (int x = 0; x < width; ++x, to += 3) {
      Point p = map(x, y);
      p.x = p.x > -4 ? std::min(p.x, limit_x) : -4;  // false for NaN as well
      p.y = p.y > -4 ? std::min(p.y, limit_y) : -4;
      const float fx = std::floor(p.x), fy = std::floor(p.y);
      const int ix = static_cast<int>(fx), iy = static_cast<int>(fy);
      const std::array<float, 4> wx = cubic(p.x - fx), wy = cubic(p.y - fy);
      int column[4];
      for (int i = 0; i < 4; ++i) column[i] = std::clamp(ix - 1 + i, 0, image.width - 1) * 3;
      float sum[3] = {};
      for (int j = 0; j < 4; ++j) {
        const std::uint8_t* row = image.row(std::clamp(iy - 1 + j, 0, image.height - 1));
        const float w = wy[static_cast<std::size_t>(j)];
        for (int c = 0; c < 3; ++c)
          sum[c] += w * (wx[0] * row[column[0] + c] + wx[1] * row[column[1] + c] +
                         wx[2] * row[column[2] + c] + wx[3] * row[column[3] + c]);
      }
      for (int c = 0; c < 3; ++c) to[c] = to_byte(sum[c]);
    }
  }
  return result;
}

Image rotate_quarter_left(const Image& image) {
  Image result(image.height, image.width);
  for (int y = 0; y < result.height; ++y)
    for (int x = 0; x < result.width; ++x)
      std::memcpy(result.row(y) + x * 3, image.row(x) + (image.width - 1 - y) * 3, 3);
  return result;
}

Image rotate_half(const Image& image) {
  Image result(image.width, image.height);
  const std::size_t pixels = image.bgr.size() / 3;
  for (std::size_t i = 0; i < pixels; ++i)
    std::memcpy(result.bgr.data() + i * 3, image.bgr.data() + (pixels - 1 - i) * 3, 3);
  return result;
}

void to_planes(const Image& image, float* planes, int row_length) {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> t;
    for (int i = 0; i < 256; ++i)
      t[static_cast<std::size_t>(i)] = (static_cast<float>(i) / 255.0f - 0.5f) / 0.5f;
    return t;
  }();
  const std::size_t length = static_cast<std::size_t>(row_length),
                    plane = length * static_cast<std::size_t>(image.height);
  for (int y = 0; y < image.height; ++y) {
    const std::uint8_t* from = image.row(y);
    for (std::size_t c = 0; c < 3; ++c) {
      float* to = planes + c * plane + static_cast<std::size_t>(y) * length;
      for (int x = 0; x < image.width; ++x) to[x] = table[from[static_cast<std::size_t>(x) * 3 + c]];
      std::fill(to + image.width, to + row_length, 0.0f);
    }
  }
}

void draw_quad(Image& image, const Quad& quad, int thickness) {
  constexpr std::uint8_t kColour[3] = {40, 40, 230};
  for (std::size_t side = 0; side < 4; ++side) {
    const Point a = quad[side], b = quad[(side + 1) % 4];
    const int steps = std::max(1, static_cast<int>(std::ceil(distance(a, b) * 2)));
    for (int i = 0; i <= steps; ++i) {
      const float t = static_cast<float>(i) / static_cast<float>(steps);
      const int cx = static_cast<int>(std::lround(a.x + (b.x - a.x) * t)),
                cy = static_cast<int>(std::lround(a.y + (b.y - a.y) * t));
      for (int y = cy - thickness / 2; y <= cy + (thickness - 1) / 2; ++y)
        for (int x = cx - thickness / 2; x <= cx + (thickness - 1) / 2; ++x)
          if (x >= 0 && y >= 0 && x < image.width && y < image.height)
            std::memcpy(image.row(y) + x * 3, kColour, 3);
    }
  }
}

}  // namespace headrace::ocr
