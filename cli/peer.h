// Another engine in a process of its own (bench/peer.py), for comparison.
#pragma once

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "cli.h"

namespace headrace::cli {

/// bench/peer.py of the source tree. Error(unsupported) when that is not there.
std::string default_peer_script();

class Peer {
 public:
  /// Starts the process and loads the model. Error(unsupported) says why that failed (Python or the peer is
  /// not there, the model is none), and leaves no process and no file behind.
  /// `outputs`: intermediate tensors to return too; unknown ones are left out.
  Peer(const std::string& name, const std::string& script, const std::string& onnx, int threads,
       const std::vector<std::string>& outputs = {});
  ~Peer();  ///< ends the process and removes its files
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  const std::string& name() const { return name_; }
  const std::string& version() const { return version_; }
  void prepare(const std::vector<NamedTensor>& inputs);
  std::vector<double> run(int count);  ///< awaited milliseconds of each
  std::map<std::string, Tensor> outputs();

 private:
  explicit Peer(std::string name) : name_(std::move(name)) {}  // from here on ~Peer cleans up
  Json ask(const std::string& line);
  Json answer();
  std::string name_, version_, folder_;
  int pid_ = -1;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

}  // namespace headrace::cli
