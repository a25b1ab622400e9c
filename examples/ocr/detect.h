// Finds where text stands in a picture: the detection network and what follows it.
//
//   ocr::Detector detector(engine);
//   hr::InputLease in = detector.session().acquire(detector.shapes(picture));
//   detector.fill(picture, in);
//   hr::OutputLease out = detector.session().submit(std::move(in)).get();
//   std::vector<ocr::Quad> boxes = detector.boxes(picture, out);   // in reading order, clockwise from the
//   top left
//
// Contract: the picture must be `fit` first. All members may be called by several threads at once.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include <headrace/session.h>

#include "ocr/geometry.h"
#include "ocr/image.h"

namespace headrace::ocr {

/// Is shown what goes into the networks and what comes out, under names like `rec.3.input`; may be empty.
using Probe = std::function<void(const std::string& name, ConstTensorView)>;

/// A picture brought to a size that the detector likes, and the way back.
struct Fitted {
  Image image;
  float scale_x = 1, scale_y = 1;  ///< original = (fitted - offset) * scale
  float offset_x = 0, offset_y = 0;
  Point to_original(Point p) const { return {(p.x - offset_x) * scale_x, (p.y - offset_y) * scale_y}; }
};
/// Large pictures shrink to 2000 pixels (long strips to 4000), tiny ones grow, strips get black borders.
Fitted fit(const Image& picture);

/// Text boxes of a probability map, scaled to a picture of the given size.
std::vector<Quad> boxes_of_map(std::span<const float> map, int map_width, int map_height, int width,
                               int height);

class Detector {
 public:
  explicit Detector(const Engine& engine);
  Session& session() { return session_; }
  /// Of the network's input for a picture.
  ShapeMap shapes(const Image& image) const;
  /// Shows `det.picture` (u8, height x width x 3) and `det.input`.
  void fill(const Image& image, InputLease& input, const Probe& probe = {}) const;
  /// Shows `det.output` and `det.boxes` (n x 4 x 2).
  std::vector<Quad> boxes(const Image& image, const OutputLease& output, const Probe& probe = {}) const;

 private:
  std::string input_;
  Session session_;
};

}  // namespace headrace::ocr
