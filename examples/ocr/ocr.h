// Reads the text in a picture with headrace: detection, classification, recognition (PP-OCR).
//
//   ocr::Ocr reader({.folder = "models"});
//   for (const ocr::Line& line : reader.read(ocr::read_image("sign.jpg")).lines) puts(line.text.c_str());
//
// Contract: any picture from 1x1 to 100 million pixels; no text gives no lines. One thread at a time.
#pragma once

#include <string>
#include <vector>

#include "ocr/detect.h"
#include "ocr/image.h"
#include "ocr/models.h"
#include "ocr/recognise.h"

namespace headrace::ocr {

struct Line {
  std::string text;      ///< UTF-8
  float confidence = 0;  ///< 0.5 to 1
  Quad box;              ///< in pixels, clockwise from the corner at the top left of the picture
};

/// Milliseconds of each stage.
struct Times {
  double detect = 0, crops = 0, classify = 0, recognise = 0, total = 0;
};

struct Result {
  std::vector<Line> lines;  ///< in reading order
  Times ms;
};

class Ocr {
 public:
  explicit Ocr(const ModelOptions& options) : Ocr(load_models(options)) {}
  explicit Ocr(const Models& models);
  /// `probe` sees every input and output of the networks: for tests, and for looking inside.
  Result read(const Image& picture, const Probe& probe = {});

 private:
  Detector detector_;
  Classifier classifier_;
  Recogniser recogniser_;
};

}  // namespace headrace::ocr
