// Which layers of a network cost accuracy: their results in a lower precision against those in f32.
//
// The graph is run with every layer's result exposed as an output, in both precisions. What a value adds to
// the error of its producer's inputs is its own part; moving the value back to f32 means to compute its
// producer and its readers in f32, since a reader in 16 bits would round it again.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include <headrace/build.h>

#include "graph/graph.h"

namespace headrace::api {

/// The same memory.
HostTensor as_host(const ConstTensorView& view);

struct Distance {
  double largest = 0;  ///< largest error over the reference's largest number
  double rms = 0;      ///< root of the sum of squared errors over that of squared numbers
};
/// Both infinite where a number is finite in one of them only.
Distance deviation(const HostTensor& got, const HostTensor& reference);
std::vector<Deviation> sorted(const std::map<std::string, double>& by_name);  ///< worst first, then by name

/// "conv1 (Conv)"; the operator where a node stands for no ONNX node.
std::string layer_name(const Graph& graph, NodeId node);

/// Nodes that go back to f32 together.
struct Move {
  std::vector<NodeId> nodes;
  double worth = 0;  ///< error per work
};

class Layers {
 public:
  Layers(const Graph& graph, Precision precision);
  /// The graph with all results exposed.
  const Graph& exposed() const { return exposed_; }
  /// Takes the outputs of the exposed graph.
  void measure(const std::vector<NamedTensor>& inputs, const std::vector<NamedTensor>& got,
               const std::vector<NamedTensor>& reference);
  std::vector<Deviation> deviations() const;
  /// The moves that can help these outputs, the worthiest first.
  std::vector<Move> moves(const std::set<std::string>& outputs) const;

 private:
  double work(NodeId node) const;
  const Graph& graph_;
  Precision precision_;
  Graph exposed_;
  std::map<ValueId, std::string> names_;  ///< of the output that exposes a value
  std::map<ValueId, Distance> distances_;
  std::map<ValueId, Shape> shapes_;
};

}  // namespace headrace::api
