// Another engine in a process of its own (bench/peer.py), for comparison.
#pragma once

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "cli.h"

namespace headrace::cli {

class Peer {
 public:
  /// Starts the process and loads the model. Error(unsupported) when Python or the peer is not there, and how
  /// to get it.
  Peer(const std::string& name, const std::string& onnx, int threads);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }
  void prepare(const std::vector<NamedTensor>& inputs);
  std::vector<double> run(int count);  ///< awaited milliseconds of each
  std::map<std::string, Tensor> outputs();

 private:
  Json ask(const std::string& line);
  Json answer();
  std::string name_, version_, folder_;
  int pid_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

}  // namespace headrace::cli
