#include "ocr/ocr.h"

#include <algorithm>
#include <utility>

namespace headrace::ocr {
namespace {

using Clock = std::chrono::steady_clock;

constexpr float kConfidenceThreshold = 0.5f;
constexpr float kUpright = 1.5f;  // boxes that are so much higher than wide hold text that runs downwards

// A picture on its way through the stages.
struct Page {
  Result result;
  Probe probe;
  Fitted fitted;
  std::vector<Quad> boxes;
  std::vector<Image> crops;
  std::vector<Reading> readings;
  Clock::time_point start, last;

  double lap() {
    const Clock::time_point now = Clock::now();
    return std::chrono::duration<double, std::milli>(now - std::exchange(last, now)).count();
  }
};

Image cut_out(const Image& image, const Quad& box) {
  const auto whole = [](float a, float b) { return std::max(1, static_cast<int>(std::max(a, b))); };
  const int width = whole(distance(box[0], box[1]), distance(box[2], box[3]));
  const int height = whole(distance(box[0], box[3]), distance(box[1], box[2]));
  Image crop = straighten(image, box, width, height);
  return static_cast<float>(height) >= kUpright * static_cast<float>(width) ? rotate_quarter_left(crop)
                                                                            : crop;
}

Page read_page(Request request) {
  Page page{.result = {}, .probe = std::move(request.probe)};
  page.start = page.last = Clock::now();
  page.result.picture = request.path.empty() ? std::move(request.picture) : read_image(request.path);
  page.result.read_ms = page.lap();
  page.start = page.last;
  return page;
}

std::vector<Line> lines_of(const Page& page) {
  const Image& picture = page.result.picture;
  std::vector<Line> lines;
  for (std::size_t i = 0; i < page.boxes.size(); ++i) {
    const Reading& reading = page.readings[i];
    if (reading.text.empty() || reading.confidence < kConfidenceThreshold) continue;
    Quad box = page.boxes[i];
    for (Point& p : box) {
      p = page.fitted.to_original(p);
      p.x = std::clamp(p.x, 0.0f, static_cast<float>(picture.width));
      p.y = std::clamp(p.y, 0.0f, static_cast<float>(picture.height));
    }
    lines.push_back({reading.text, reading.confidence, box});
  }
  return lines;
}

}  // namespace

Ocr::Ocr(const Models& models)
    : detector_(models.detection),
      classifier_(models.classification, models.detection.threads()),
      recogniser_(models.recognition, models.detection.threads()),
      pipeline_(stages()) {}

// Pictures may be large: few of them wait between the stages.
Pipeline<Request> Ocr::stages() {
  const EdgeOptions edge{.capacity = 1};
  const StageOptions one{.workers = 1, .input = edge}, two{.workers = 2, .input = edge};
  const auto failed = [this](const ItemFailure& failure) {
    take(failure.info.tag).set_exception(failure.error);
  };
  return make_pipeline<Request>(edge, {.on_failure = failed})
      .then("read", read_page, two)
      .then(
          "fit",
          [this](Page page) {
            page.fitted = fit(page.result.picture);
            detector_.session().prepare(detector_.shapes(page.fitted.image));
            return page;
          },
          one)
      .infer(
          "detect", detector_.session(),
          [this](const Page& page) { return detector_.shapes(page.fitted.image); },
          [this](const Page& page, InputLease& in) { detector_.fill(page.fitted.image, in, page.probe); },
          one)
      .then(
          "regions",
          [this](Inferred<Page> found) {
            Page page = std::move(found.item);
            page.boxes = detector_.boxes(page.fitted.image, found.output, page.probe);
            page.result.ms.detect = page.lap();
            for (const Quad& box : page.boxes) page.crops.push_back(cut_out(page.fitted.image, box));
            page.result.ms.crops = page.lap();
            return page;
          },
          two)
      .then(
          "classify",
          [this](Page page) {
            for (std::size_t i : classifier_.upside_down(page.crops, page.probe))
              page.crops[i] = rotate_half(page.crops[i]);
            page.result.ms.classify = page.lap();
            return page;
          },
          one)
      .then(
          "recognise",
          [this](Page page) {
            page.readings = recogniser_.read(page.crops, page.probe);
            page.result.ms.recognise = page.lap();
            return page;
          },
          one)
      .sink(
          "result",
          [this](Page page, const ItemInfo& info) {
            page.result.lines = lines_of(page);
            page.result.ms.total = std::chrono::duration<double, std::milli>(page.last - page.start).count();
            take(info.tag).set_value(std::move(page.result));
          },
          one);
}

std::future<Result> Ocr::submit(Request request) {
  std::future<Result> future;
  PushOptions options;
  {
    const std::scoped_lock lock(mutex_);
    options.tag = next_++;
    future = waiting_[options.tag].get_future();
  }
  pipeline_.push(std::move(request), options);
  return future;
}

std::promise<Result> Ocr::take(std::uint64_t number) {
  const std::scoped_lock lock(mutex_);
  return std::move(waiting_.extract(number).mapped());
}

}  // namespace headrace::ocr
