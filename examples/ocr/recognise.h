// Reads straightened lines of text: which way up they are, and what they say.
//
//   ocr::Classifier classifier(cls_engine, threads);
//   for (std::size_t i : classifier.upside_down(crops)) crops[i] = ocr::rotate_half(crops[i]);
//   ocr::Recogniser recogniser(rec_engine, threads);
//   std::vector<ocr::Reading> readings = recogniser.read(crops);
//
// Both keep many inferences in flight over one Session: a worker with one thread for each core.
// Contract: one thread at a time.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <headrace/session.h>

#include "ocr/detect.h"
#include "ocr/image.h"

namespace headrace::ocr {

class Classifier {
 public:
  Classifier(const Engine& engine, int threads);
  /// Indices of the crops that stand on their head. Shows `cls.I.input` and `cls.I.output`: I is the first
  /// crop of the batch.
  std::vector<std::size_t> upside_down(std::span<const Image> crops, const Probe& probe = {});

 private:
  std::string input_;
  std::size_t slots_;
  Session session_;
};

struct Reading {
  std::string text;
  float confidence = 0;  ///< mean over the characters, 0 without any
};

class Recogniser {
 public:
  /// Error(invalid_plan) when the plan does not carry the network's character list.
  Recogniser(const Engine& engine, int threads);
  /// Shows `rec.I.input` and `rec.I.output` of crop I.
  std::vector<Reading> read(std::span<const Image> crops, const Probe& probe = {});
  /// Width of the network's input for a crop: widths come in steps, because a new one has to be prepared.
  static int input_width(const Image& crop);

 private:
  Reading decode(ConstTensorView probabilities) const;
  std::string input_;
  std::vector<std::string> characters_;  ///< [0]: blank
  std::size_t slots_;
  Session session_;
};

}  // namespace headrace::ocr
