// Reads an .onnx file into a Graph of core operators.
//
// Contract: all errors of a model come at once in one Error(invalid_model or unsupported): node, operator,
// opset, reason each. Nothing in a file can make the importer read outside it, recurse without bound, or
// allocate more than a small multiple of the file's size (initialisers alias the mapped file). External data
// must lie in the model's folder: relative path, no "..", no symlink, link count 1, offset + length within
// the file.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "graph/graph.h"

namespace headrace::onnx {

struct ImportOptions {
  std::vector<std::string> extra_outputs;  ///< ONNX tensor names to add as graph outputs
};

Graph import_file(const std::string& path, const ImportOptions& options = {});
/// `folder`: where external data may lie; empty: external data is refused. `owner` keeps `bytes` alive.
Graph import_bytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                   const std::string& folder = {}, const ImportOptions& options = {});

/// A TensorProto file (input_0.pb of ONNX's node tests) as a named host tensor.
std::pair<std::string, HostTensor> read_tensor_proto(std::span<const std::byte> bytes);

/// Names of the ONNX operators that are imported, with since-version: for docs and `env`.
std::vector<std::pair<std::string, int>> supported_operators();

}  // namespace headrace::onnx
