// The three PP-OCR networks: finds the .onnx files, builds their plans once, and loads them.
//
// Contract: a plan lies beside its .onnx file, or in the user's cache folder when that one cannot be written.
// One that is older than its .onnx file, or refused (another version, another CPU, damaged), is built again.
#pragma once

#include <functional>
#include <string>

#include <headrace/runtime.h>

namespace headrace::ocr {

struct ModelOptions {
  std::string folder;                              ///< with the .onnx files
  int threads = 0;                                 ///< 0: all usable cores
  std::function<void(const std::string&)> report;  ///< one line for each slow step; may be empty
};

struct Models {
  Engine detection, classification, recognition;
};
/// Error(io) names what is missing; else what `build` and `Engine::load` throw.
Models load_models(const ModelOptions& options);

}  // namespace headrace::ocr
