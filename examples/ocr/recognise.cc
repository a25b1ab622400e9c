#include "ocr/recognise.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <numeric>

#include <fmt/format.h>

namespace headrace::ocr {
namespace {

constexpr int kLineHeight = 48;
constexpr int kClassifierWidth = 192;
constexpr std::size_t kClassifierBatch = 8;
constexpr float kTurnThreshold = 0.9f;
constexpr int kNarrowest = 128, kWidest = 8192;  // of the recogniser's input

int scaled_width(const Image& crop, int widest) {
  const double width = std::ceil(kLineHeight * (static_cast<double>(crop.width) / crop.height));
  return static_cast<int>(std::clamp(width, 1.0, static_cast<double>(widest)));
}

SessionOptions one_thread_streams(int threads, std::size_t slots) {
  return {.slots = static_cast<int>(slots), .contexts = threads, .threads = 1, .overflow = Overflow::block};
}

// Tickets in order of submission; takes the oldest result when as many are in flight as the session has
// slots.
template <class Use>
class Window {
 public:
  Window(std::size_t slots, Use use) : slots_(slots), use_(std::move(use)) {}
  void make_room() {
    if (tickets_.size() >= slots_) take();
  }
  void add(Ticket&& ticket) { tickets_.push_back(std::move(ticket)); }
  void finish() {
    while (!tickets_.empty()) take();
  }

 private:
  void take() {
    Ticket ticket = std::move(tickets_.front());
    tickets_.pop_front();
    use_(ticket.get());
  }
  std::size_t slots_;
  Use use_;
  std::deque<Ticket> tickets_;
};

}  // namespace

Classifier::Classifier(const Engine& engine, int threads)
    : input_(engine.inputs().at(0).name),
      slots_(static_cast<std::size_t>(threads) * 2),
      session_(engine, one_thread_streams(threads, slots_)) {}

std::vector<std::size_t> Classifier::upside_down(std::span<const Image> crops, const Probe& probe) {
  std::vector<std::size_t> result;
  Window window(slots_, [&](const OutputLease& out) {
    if (probe) probe(fmt::format("cls.{}.output", out.tag()), out[std::size_t{0}]);
    const std::span<const float> p = out[std::size_t{0}].as<float>();
    for (std::size_t i = 0; i + 1 < p.size(); i += 2)
      if (p[i + 1] > p[i] && p[i + 1] > kTurnThreshold) result.push_back(out.tag() + i / 2);
  });
  constexpr std::size_t kItem = std::size_t{3} * kLineHeight * kClassifierWidth;
  for (std::size_t first = 0; first < crops.size();) {
    // Batches are powers of two, so that there are few shapes to prepare.
    std::size_t batch = kClassifierBatch;
    while (batch > crops.size() - first) batch /= 2;
    window.make_room();
    InputLease lease =
        session_.acquire({{input_, {static_cast<std::int64_t>(batch), 3, kLineHeight, kClassifierWidth}}});
    const std::span<float> to = lease[input_].as<float>();
    for (std::size_t i = 0; i < batch; ++i) {
      const Image& crop = crops[first + i];
      to_planes(resize(crop, scaled_width(crop, kClassifierWidth), kLineHeight), to.data() + i * kItem,
                kClassifierWidth);
    }
    if (probe) probe(fmt::format("cls.{}.input", first), lease[input_]);
    window.add(session_.submit(std::move(lease), {.tag = first}));
    first += batch;
  }
  window.finish();
  return result;
}

Recogniser::Recogniser(const Engine& engine, int threads)
    : input_(engine.inputs().at(0).name),
      slots_(static_cast<std::size_t>(threads) * 2),
      session_(engine, one_thread_streams(threads, slots_)) {
  const std::string list = engine.metadata("character");
  characters_.emplace_back();  // blank
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find('\n', at), list.size());
    characters_.push_back(list.substr(at, end - at));
    if (!characters_.back().empty() && characters_.back().back() == '\r') characters_.back().pop_back();
    at = end + 1;
  }
  characters_.emplace_back(" ");
  const std::int64_t classes =
      engine.outputs().at(0).shape.empty() ? -1 : engine.outputs().at(0).shape.back();
  if (list.empty() || (classes >= 0 && classes != static_cast<std::int64_t>(characters_.size())))
    throw Error(ErrorCode::invalid_plan, fmt::format("the recognition network's character list (metadata "
                                                     "'character' of the .onnx file) has {} entries, "
                                                     "its output {}; give --models a folder with the "
                                                     "unchanged networks, and delete old *.plan files there",
                                                     list.empty() ? 0 : characters_.size(), classes));
}

int Recogniser::input_width(const Image& crop) {
  const int width = scaled_width(crop, kWidest);
  if (width <= kNarrowest) return kNarrowest;
  const int step = width <= 1280 ? 64 : width <= 2560 ? 256 : 1024;
  return (width + step - 1) / step * step;
}

std::vector<Reading> Recogniser::read(std::span<const Image> crops, const Probe& probe) {
  // The longest first: then the workers finish at about the same time.
  std::vector<std::size_t> order(crops.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return input_width(crops[a]) > input_width(crops[b]);
  });
  std::vector<Reading> readings(crops.size());
  Window window(slots_, [&](const OutputLease& out) {
    if (probe) probe(fmt::format("rec.{}.output", out.tag()), out[std::size_t{0}]);
    readings[out.tag()] = decode(out[std::size_t{0}]);
  });
  for (std::size_t i : order) {
    const int width = input_width(crops[i]);
    window.make_room();
    InputLease lease = session_.acquire({{input_, {1, 3, kLineHeight, width}}});
    to_planes(resize(crops[i], scaled_width(crops[i], kWidest), kLineHeight),
              lease[input_].as<float>().data(), width);
    if (probe) probe(fmt::format("rec.{}.input", i), lease[input_]);
    window.add(session_.submit(std::move(lease), {.tag = i}));
  }
  window.finish();
  return readings;
}

// CTC: the likeliest class of each column; repeats and blanks say nothing.
Reading Recogniser::decode(ConstTensorView probabilities) const {
  const std::span<const float> p = probabilities.as<float>();
  const std::size_t classes = characters_.size();
  if (probabilities.shape().size() != 3 || probabilities.shape()[2] != static_cast<std::int64_t>(classes))
    throw Error(ErrorCode::invalid_model,
                fmt::format("the recognition network gives {}, not 1 x columns x {} characters",
                            to_string(probabilities.shape()), classes));
  Reading reading;
  double sum = 0, count = 0;
  std::size_t last = 0;
  for (std::size_t at = 0; at + classes <= p.size(); at += classes) {
    const auto column = p.subspan(at, classes);
    const std::size_t best =
        static_cast<std::size_t>(std::max_element(column.begin(), column.end()) - column.begin());
    if (best != 0 && best != last) {
      reading.text += characters_[best];
      sum += column[best];
      ++count;
    }
    last = best;
  }
  if (count > 0) reading.confidence = static_cast<float>(sum / count);
  return reading;
}

}  // namespace headrace::ocr
