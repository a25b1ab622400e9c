// Reads the text in pictures with headrace: detection, classification, recognition (PP-OCR), as a pipeline.
//
//   ocr::Ocr reader({.folder = "models"});
//   std::future<ocr::Result> first = reader.submit({.path = "sign.jpg"}), second = ...;
//   for (const ocr::Line& line : first.get().lines) puts(line.text.c_str());
//
//   file -> [read] -> [fit] -> [detect: Session] -> [regions] -> [classify] -> [recognise] -> result
//
// Every stage works on another picture: while the lines of one are recognised, text is looked for in the next
// one, and a third is decoded. Classify and recognise keep the crops of a picture in flight over Sessions of
// their own.
//
// Contract: any picture from 1x1 to 100 million pixels; no text gives no lines. Any thread may submit.
#pragma once

#include <chrono>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <headrace/pipeline.h>

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

/// Milliseconds of each stage, the wait before it included, when others are under way.
struct Times {
  double detect = 0, crops = 0, classify = 0, recognise = 0, total = 0;
};

struct Result {
  Image picture;
  std::vector<Line> lines;  ///< in reading order
  Times ms;
  double read_ms = 0;  ///< decoding of the file
};

struct Request {
  std::string path;  ///< "": the picture is given
  Image picture{};
  /// Sees every input and output of the networks, one call at a time: for tests, and for looking inside.
  Probe probe{};
};

class Ocr {
 public:
  explicit Ocr(const ModelOptions& options) : Ocr(load_models(options)) {}
  explicit Ocr(const Models& models);
  Ocr(const Ocr&) = delete;
  /// Waits while the first stages are full. The future has the result, or what went wrong with this picture.
  /// Results become ready in the order of the requests.
  std::future<Result> submit(Request request);
  /// One picture, awaited.
  Result read(const Image& picture) { return submit({.path = {}, .picture = picture}).get(); }
  PipelineReport report() const { return pipeline_.report(); }

 private:
  Pipeline<Request> stages();
  std::promise<Result> take(std::uint64_t number);

  Detector detector_;
  Classifier classifier_;
  Recogniser recogniser_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::promise<Result>> waiting_;
  std::uint64_t next_ = 0;
  Pipeline<Request> pipeline_;  // the last member: its threads end first
};

}  // namespace headrace::ocr
