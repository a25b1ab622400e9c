#include "ocr/detect.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "ocr/regions.h"

namespace headrace::ocr {
namespace {

constexpr int kLongest = 2000, kLongestStrip = 4000, kShortest = 30;
constexpr double kStrip = 8;           // longer than this many times its breadth: a strip
constexpr int kNetworkShortest = 736;  // what the network was trained for
constexpr int kNetworkLongest = 8192;
constexpr double kEnlargedPixels = 6e5;  // small pictures are enlarged to at most so many pixels
constexpr float kTextThreshold = 0.3f, kBoxThreshold = 0.5f, kUnclip = 1.6f, kSmallestSide = 3;
constexpr std::size_t kMostBoxes = 1000;

int multiple_of_32(double v) { return std::max(32, static_cast<int>(std::lround(v / 32)) * 32); }

// Mean of the map over the box, edge pixels included.
float mean_inside(std::span<const float> map, int width, int height, const Quad& box) {
  float low_x = box[0].x, high_x = low_x, low_y = box[0].y, high_y = low_y;
  for (Point p : box) {
    low_x = std::min(low_x, p.x);
    high_x = std::max(high_x, p.x);
    low_y = std::min(low_y, p.y);
    high_y = std::max(high_y, p.y);
  }
  const auto whole = [](float v, int limit) { return std::clamp(static_cast<int>(v), 0, limit - 1); };
  const int left = whole(std::floor(low_x), width), right = whole(std::ceil(high_x), width);
  const int top = whole(std::floor(low_y), height), bottom = whole(std::ceil(high_y), height);
  double sum = 0, count = 0;
  for (int y = top; y <= bottom; ++y) {
    float from = INFINITY, to = -INFINITY;  // what the outline covers of this row of pixels
    for (std::size_t i = 0; i < 4; ++i) {
      Point a = box[i], b = box[(i + 1) % 4];
      if (a.y > b.y) std::swap(a, b);
      const float first = std::max(a.y, static_cast<float>(y) - 0.5f),
                  last = std::min(b.y, static_cast<float>(y) + 0.5f);
      if (first > last) continue;
      for (float at : {first, last}) {
        const float t = b.y > a.y ? (at - a.y) / (b.y - a.y) : 0, x = a.x + (b.x - a.x) * t;
        from = std::min(from, x);
        to = std::max(to, x);
      }
      if (a.y == b.y) {
        from = std::min(from, b.x);
        to = std::max(to, b.x);
      }
    }
    if (from > to) continue;
    const int x0 = std::max(left, static_cast<int>(std::floor(from + 0.5f)));
    const int x1 = std::min(right, static_cast<int>(std::floor(to + 0.5f)));
    for (int x = x0; x <= x1; ++x)
      sum += map[static_cast<std::size_t>(y) * static_cast<std::size_t>(width) + static_cast<std::size_t>(x)];
    count += std::max(0, x1 - x0 + 1);
  }
  return count > 0 ? static_cast<float>(sum / count) : 0;
}

// Lines from top to bottom; boxes of about the same height from left to right.
void sort_for_reading(std::vector<Quad>& boxes) {
  std::sort(boxes.begin(), boxes.end(), [](const Quad& a, const Quad& b) {
    return a[0].y < b[0].y || (a[0].y == b[0].y && a[0].x < b[0].x);
  });
  for (std::size_t i = 1; i < boxes.size(); ++i)
    for (std::size_t j = i; j > 0; --j) {
      if (std::abs(boxes[j][0].y - boxes[j - 1][0].y) >= 10 || boxes[j][0].x >= boxes[j - 1][0].x) break;
      std::swap(boxes[j], boxes[j - 1]);
    }
}

}  // namespace

Fitted fit(const Image& picture) {
  int width = picture.width, height = picture.height;
  const auto scale = [&](double ratio) {
    width = multiple_of_32(static_cast<int>(width * ratio));
    height = multiple_of_32(static_cast<int>(height * ratio));
  };
  const bool strip = std::max(width, height) > kStrip * std::min(width, height);
  const int longest = strip ? kLongestStrip : kLongest;
  if (std::max(width, height) > longest) scale(static_cast<double>(longest) / std::max(width, height));
  if (!strip && std::min(width, height) < kShortest)
    scale(static_cast<double>(kShortest) / std::min(width, height));
  Fitted fitted;
  fitted.scale_x = static_cast<float>(picture.width) / static_cast<float>(width);
  fitted.scale_y = static_cast<float>(picture.height) / static_cast<float>(height);
  fitted.image = resize(picture, width, height);
  if (strip) {
    const int breadth = std::max(static_cast<int>(std::max(width, height) / kStrip), kShortest) * 2;
    const int border = std::max(0, (breadth - std::min(width, height)) / 2);
    const int x = height > width ? border : 0, y = height > width ? 0 : border;
    fitted.image = pad(fitted.image, x, y, x, y);
    fitted.offset_x = static_cast<float>(x);
    fitted.offset_y = static_cast<float>(y);
  }
  return fitted;
}

std::vector<Quad> boxes_of_map(std::span<const float> map, int map_width, int map_height, int width,
                               int height) {
  std::vector<Quad> boxes;
  const float scale_x = static_cast<float>(width) / static_cast<float>(map_width);
  const float scale_y = static_cast<float>(height) / static_cast<float>(map_height);
  for (const std::vector<Point>& outline : text_regions(map, map_width, map_height, kTextThreshold)) {
    if (boxes.size() == kMostBoxes) break;
    const Rectangle core = smallest_rectangle(convex_hull(outline));
    if (core.short_side < kSmallestSide) continue;
    const Quad core_box = clockwise(core.corners);
    if (mean_inside(map, map_width, map_height, core_box) < kBoxThreshold) continue;
    // The network marks the inner part of a line: grow it to the whole letters.
    const float grow = area(core_box) * kUnclip / perimeter(core_box);
    std::vector<Point> corners(core_box.begin(), core_box.end());
    for (Point& p : corners) p = {std::trunc(p.x), std::trunc(p.y)};
    const Rectangle whole = smallest_rectangle(convex_hull(corners), grow);
    if (whole.short_side < kSmallestSide + 2) continue;
    Quad box = whole.corners;
    for (Point& p : box) {
      p.x = std::clamp(std::nearbyint(p.x * scale_x), 0.0f, static_cast<float>(width - 1));
      p.y = std::clamp(std::nearbyint(p.y * scale_y), 0.0f, static_cast<float>(height - 1));
    }
    box = clockwise(box);
    if (distance(box[0], box[1]) < 4 || distance(box[0], box[3]) < 4) continue;
    boxes.push_back(box);
  }
  sort_for_reading(boxes);
  return boxes;
}

// Two inputs: one picture is made ready while the one before it is computed.
Detector::Detector(const Engine& engine)
    : input_(engine.inputs().at(0).name),
      session_(engine, {.slots = 2, .contexts = 1, .threads = engine.threads()}) {}

ShapeMap Detector::shapes(const Image& image) const {
  const int shortest = std::min(image.width, image.height), longest = std::max(image.width, image.height);
  const double roomy = std::sqrt(kEnlargedPixels / (static_cast<double>(image.width) * image.height));
  double ratio = std::max(1.0, std::min(static_cast<double>(kNetworkShortest) / shortest, roomy));
  ratio = std::min(ratio, static_cast<double>(kNetworkLongest) / longest);
  const int width = multiple_of_32(static_cast<int>(image.width * ratio));
  const int height = multiple_of_32(static_cast<int>(image.height * ratio));
  return {{input_, {1, 3, height, width}}};
}

void Detector::fill(const Image& image, InputLease& input, const Probe& probe) const {
  const TensorView planes = input[input_];
  const int height = static_cast<int>(planes.shape()[2]), width = static_cast<int>(planes.shape()[3]);
  to_planes(resize(image, width, height), planes.as<float>().data(), width);
  if (!probe) return;
  probe("det.picture", ConstTensorView(std::span(image.bgr), {image.height, image.width, 3}));
  probe("det.input", planes);
}

std::vector<Quad> Detector::boxes(const Image& image, const OutputLease& output, const Probe& probe) const {
  const ConstTensorView map = output[std::size_t{0}];
  const Shape& shape = map.shape();
  if (shape.size() != 4 || shape[0] != 1 || shape[1] != 1)
    throw Error(ErrorCode::invalid_model,
                "the detection network does not give one map of the picture's size");
  std::vector<Quad> boxes = boxes_of_map(map.as<float>(), static_cast<int>(shape[3]),
                                         static_cast<int>(shape[2]), image.width, image.height);
  if (probe) {
    probe("det.output", map);
    std::vector<float> corners;
    for (const Quad& box : boxes)
      for (Point p : box) corners.insert(corners.end(), {p.x, p.y});
    probe("det.boxes", ConstTensorView(std::span(std::as_const(corners)),
                                       {static_cast<std::int64_t>(boxes.size()), 4, 2}));
  }
  return boxes;
}

}  // namespace headrace::ocr
