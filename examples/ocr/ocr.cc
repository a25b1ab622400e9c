#include "ocr/ocr.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace headrace::ocr {
namespace {

constexpr float kConfidenceThreshold = 0.5f;
constexpr float kUpright = 1.5f;  // boxes that are so much higher than wide hold text that runs downwards

Image cut_out(const Image& image, const Quad& box) {
  const auto whole = [](float a, float b) { return std::max(1, static_cast<int>(std::max(a, b))); };
  const int width = whole(distance(box[0], box[1]), distance(box[2], box[3]));
  const int height = whole(distance(box[0], box[3]), distance(box[1], box[2]));
  Image crop = straighten(image, box, width, height);
  return static_cast<float>(height) >= kUpright * static_cast<float>(width) ? rotate_quarter_left(crop)
                                                                            : crop;
}

}  // namespace

Ocr::Ocr(const Models& models)
    : detector_(models.detection),
      classifier_(models.classification, models.detection.threads()),
      recogniser_(models.recognition, models.detection.threads()) {}

Result Ocr::read(const Image& picture, const Probe& probe) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Clock::time_point last = start;
  const auto lap = [&] {
    const Clock::time_point now = Clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last, now)).count();
  };
  Result result;
  const Fitted fitted = fit(picture);
  const std::vector<Quad> boxes = detector_.find(fitted.image, probe);
  result.ms.detect = lap();
  std::vector<Image> crops;
  for (const Quad& box : boxes) crops.push_back(cut_out(fitted.image, box));
  result.ms.crops = lap();
  for (std::size_t i : classifier_.upside_down(crops, probe)) crops[i] = rotate_half(crops[i]);
  result.ms.classify = lap();
  const std::vector<Reading> readings = recogniser_.read(crops, probe);
  result.ms.recognise = lap();
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    if (readings[i].text.empty() || readings[i].confidence < kConfidenceThreshold) continue;
    Quad box = boxes[i];
    for (Point& p : box) {
      p = fitted.to_original(p);
      p.x = std::clamp(p.x, 0.0f, static_cast<float>(picture.width));
      p.y = std::clamp(p.y, 0.0f, static_cast<float>(picture.height));
    }
    result.lines.push_back({readings[i].text, readings[i].confidence, box});
  }
  result.ms.total = std::chrono::duration<double, std::milli>(last - start).count();
  return result;
}

}  // namespace headrace::ocr
