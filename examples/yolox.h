// What YOLOX's raw output means: boxes, scores, and which of the boxes to keep.
//
//   std::vector<yolox::Box> boxes = yolox::keep_best(yolox::decode(out["output"], fit, 0.3f), 0.45f);
//
// The output has a row for each cell of three grids over the network's square input, whose cells are 8, 16
// and 32 pixels wide: {x, y, log width, log height, objectness, score of each class}. x and y count cells
// from the cell's own corner, width and height are in cells too.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include <headrace/tensor.h>

namespace yolox {

/// How a picture lies in the network's square input: scaled by `scale`, from the corner at the top left.
struct Fit {
  int side = 640;                 ///< of the input
  int width = 640, height = 640;  ///< of the picture
  float scale() const { return static_cast<float>(side) / static_cast<float>(std::max(width, height)); }
};

struct Box {
  float left = 0, top = 0, right = 0, bottom = 0;  ///< pixels of the picture
  float score = 0;                                 ///< objectness times the class's score
  int kind = 0;
  friend bool operator==(const Box&, const Box&) = default;
};

/// Boxes of at least that score, cut at the picture's edges; those that lie outside it are left out.
inline std::vector<Box> decode(const headrace::ConstTensorView& output, const Fit& fit, float least_score) {
  constexpr std::array kCells = {8, 16, 32};
  std::int64_t rows = 0;
  for (const int cell : kCells) rows += std::int64_t{fit.side / cell} * (fit.side / cell);
  const headrace::Shape& shape = output.shape();
  if (shape.size() != 3 || shape[0] != 1 || shape[1] != rows || shape[2] < 6)
    throw headrace::Error(headrace::ErrorCode::invalid_argument,
                          "the output is " + headrace::to_string(shape) + ", for pictures of " +
                              std::to_string(fit.side) + " pixels YOLOX gives 1x" + std::to_string(rows) +
                              "x(5 + classes)");
  const std::span<const float> all = output.as<float>();
  const auto columns = static_cast<std::size_t>(shape[2]);
  const auto width = static_cast<float>(fit.width), height = static_cast<float>(fit.height);
  std::vector<Box> boxes;
  std::size_t row = 0;
  for (const int cell : kCells)
    for (int y = 0; y < fit.side / cell; ++y)
      for (int x = 0; x < fit.side / cell; ++x, ++row) {
        const std::span<const float> v = all.subspan(row * columns, columns);
        const auto best = std::max_element(v.begin() + 5, v.end());
        const float score = v[4] * *best;
        if (!(score >= least_score)) continue;
        const float unit = static_cast<float>(cell) / fit.scale();  // pixels of the picture
        const float middle_x = (v[0] + static_cast<float>(x)) * unit;
        const float middle_y = (v[1] + static_cast<float>(y)) * unit;
        const float half_width = std::exp(v[2]) * unit / 2, half_height = std::exp(v[3]) * unit / 2;
        const Box box = {std::clamp(middle_x - half_width, 0.0f, width),
                         std::clamp(middle_y - half_height, 0.0f, height),
                         std::clamp(middle_x + half_width, 0.0f, width),
                         std::clamp(middle_y + half_height, 0.0f, height),
                         score,
                         static_cast<int>(best - v.begin()) - 5};
        if (box.right > box.left && box.bottom > box.top) boxes.push_back(box);  // false for NaN too
      }
  return boxes;
}

/// Area of what two boxes have in common, over that of both together: 0 to 1.
inline float overlap(const Box& a, const Box& b) {
  const float width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const float height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  if (width <= 0 || height <= 0) return 0;
  const auto area = [](const Box& box) { return (box.right - box.left) * (box.bottom - box.top); };
  return width * height / (area(a) + area(b) - width * height);
}

/// Non-maximum suppression: the best box of each heap of the same kind. Best first, at most `most`.
inline std::vector<Box> keep_best(std::vector<Box> boxes, float most_overlap, std::size_t most = 100) {
  std::stable_sort(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.score > b.score; });
  std::vector<Box> kept;
  for (const Box& box : boxes) {
    if (kept.size() == most) break;
    if (std::none_of(kept.begin(), kept.end(), [&](const Box& better) {
          return better.kind == box.kind && overlap(better, box) > most_overlap;
        }))
      kept.push_back(box);
  }
  return kept;
}

}  // namespace yolox
