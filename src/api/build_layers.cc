#include "api/build_layers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/tensor.h"

namespace headrace::api {
namespace {

double elements(const Shape& shape) {
  double n = 1;
  for (std::int64_t extent : shape) n *= static_cast<double>(extent);
  return n;
}

}  // namespace

HostTensor as_host(const ConstTensorView& view) {
  return HostTensor(view.dtype(), view.shape(), {view.data(), view.size_bytes()}, nullptr);
}

Distance deviation(const HostTensor& got, const HostTensor& reference) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (got.shape() != reference.shape()) return {kInfinity, kInfinity};
  double worst = 0, scale = 0, errors = 0, squares = 0;
  for (std::int64_t i = 0, n = reference.elements(); i < n; ++i) {
    const double a = got.at_double(i), b = reference.at_double(i);
    if (!std::isfinite(b)) {
      if (a == b || (std::isnan(a) && std::isnan(b))) continue;
      return {kInfinity, kInfinity};
    }
    if (!std::isfinite(a)) return {kInfinity, kInfinity};
    worst = std::max(worst, std::abs(a - b));
    scale = std::max(scale, std::abs(b));
    errors += (a - b) * (a - b);
    squares += b * b;
  }
  if (worst == 0) return {};
  return {scale > 0 ? worst / scale : kInfinity, squares > 0 ? std::sqrt(errors / squares) : kInfinity};
}

std::vector<Deviation> sorted(const std::map<std::string, double>& by_name) {
  std::vector<Deviation> list;
  for (const auto& [name, relative] : by_name) list.push_back({name, relative});
  std::stable_sort(list.begin(), list.end(),
                   [](const Deviation& a, const Deviation& b) { return a.relative > b.relative; });
  return list;
}

std::string layer_name(const Graph& graph, NodeId node) {
  const Node& n = graph.node(node);
  return n.origins.empty() ? std::string(name(n.op)) : n.origins.front();
}

Layers::Layers(const Graph& graph, Precision precision)
    : graph_(graph), precision_(precision), exposed_(graph) {
  for (const GraphOutput& o : graph.outputs()) names_.try_emplace(o.value, o.name);
  for (NodeId n : graph.nodes())
    for (ValueId v : graph.node(n).outputs) {
      if (graph.value(v).type.dtype != DType::f32 || names_.contains(v)) continue;
      names_[v] = fmt::format("layer {} of value {}", n, v);
      exposed_.add_output(names_[v], v);
    }
}

void Layers::measure(const std::vector<NamedTensor>& inputs, const std::vector<NamedTensor>& got,
                     const std::vector<NamedTensor>& reference) {
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < reference.size(); ++i) index[reference[i].name] = i;
  for (const auto& [value, name] : names_) {
    const std::size_t i = index.at(name);
    shapes_[value] = reference[i].tensor.shape();
    if (is_float(reference[i].tensor.dtype()))
      distances_[value] = deviation(as_host(got[i].tensor.view()), as_host(reference[i].tensor.view()));
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {  // rounded on their way in
    const HostTensor data = as_host(inputs[i].tensor.view());
    shapes_[graph_.inputs()[i]] = data.shape();
    if (data.dtype() != DType::f32 || precision_ == Precision::tf32) continue;
    HostTensor rounded(precision_ == Precision::fp16 ? DType::f16 : DType::bf16, data.shape());
    for (std::int64_t k = 0; k < data.elements(); ++k) rounded.set_double(k, data.at_double(k));
    distances_[graph_.inputs()[i]] = deviation(rounded, data);
  }
}

std::vector<Deviation> Layers::deviations() const {
  std::map<std::string, double> found;
  for (const auto& [value, distance] : distances_) {
    if (graph_.value(value).producer == kNoNode) continue;
    double& worst = found[layer_name(graph_, graph_.value(value).producer)];
    worst = std::max(worst, distance.largest);
  }
  return sorted(found);
}

/// What a node costs, in a unit of its own: numbers moved, and products at a small part of that.
double Layers::work(NodeId node) const {
  const Node& n = graph_.node(node);
  const auto of = [&](ValueId v) {
    if (graph_.value(v).constant) return elements(graph_.value(v).constant->shape());
    const auto it = shapes_.find(v);
    return it == shapes_.end() ? 1 : elements(it->second);
  };
  double moved = 0, products = 0;
  for (ValueId v : n.inputs) moved += of(v);
  for (ValueId v : n.outputs) moved += of(v);
  const auto extent = [&](ValueId v, std::size_t from_back) {
    const Dims& shape = graph_.value(v).type.shape;
    const Dim d = shape.size() > from_back ? shape[shape.size() - 1 - from_back] : Dim(1);
    return d.is_constant() ? static_cast<double>(d.value) : 64.0;
  };
  if (std::holds_alternative<Conv>(n.op))
    products = of(n.outputs[0]) * of(n.inputs[1]) /
               std::max(1.0, extent(n.inputs[1], graph_.value(n.inputs[1]).type.shape.size() - 1));
  if (std::holds_alternative<ConvTranspose>(n.op))
    products = of(n.inputs[0]) * of(n.inputs[1]) /
               std::max(1.0, extent(n.inputs[1], graph_.value(n.inputs[1]).type.shape.size() - 1));
  if (const auto* matmul = std::get_if<MatMul>(&n.op))
    products = of(n.outputs[0]) * extent(n.inputs[0], matmul->transpose_a ? 1 : 0);
  return 1 + moved + products / 32;
}

std::vector<Move> Layers::moves(const std::set<std::string>& outputs) const {
  std::set<NodeId> useful;  // what the outputs depend on
  std::vector<ValueId> open;
  for (const GraphOutput& o : graph_.outputs())
    if (outputs.contains(o.name)) open.push_back(o.value);
  std::set<ValueId> seen(open.begin(), open.end());
  while (!open.empty()) {
    const ValueId v = open.back();
    open.pop_back();
    const NodeId producer = graph_.value(v).producer;
    if (producer == kNoNode) continue;
    useful.insert(producer);
    for (ValueId in : graph_.node(producer).inputs)
      if (seen.insert(in).second) open.push_back(in);
  }
  std::vector<Move> result;
  const auto error_of = [&](ValueId v) {
    const auto it = distances_.find(v);
    return it == distances_.end() ? 0 : it->second.rms;
  };
  const auto add = [&](ValueId v) {
    const NodeId producer = graph_.value(v).producer;
    double own = error_of(v), before = 0;
    Move move;
    if (producer != kNoNode) {
      move.nodes.push_back(producer);
      for (ValueId in : graph_.node(producer).inputs) before = std::max(before, error_of(in));
    }
    if (precision_ != Precision::tf32)
      for (NodeId user : graph_.users(v))
        if (useful.contains(user)) move.nodes.push_back(user);
    if (move.nodes.empty()) return;
    double cost = 0;
    for (NodeId n : move.nodes) cost += work(n);
    // An error of unknown size comes first; one that inputs brought along is not the layer's own.
    own = std::isfinite(own)      ? std::sqrt(std::max(0.0, own * own - before * before))
          : std::isfinite(before) ? 1e9
                                  : 0;
    move.worth = own * own / cost;
    result.push_back(std::move(move));
  };
  for (ValueId in : graph_.inputs())
    if (seen.contains(in) && distances_.contains(in)) add(in);
  for (NodeId n : graph_.nodes())
    if (useful.contains(n))
      for (ValueId v : graph_.node(n).outputs)
        if (seen.contains(v)) add(v);
  std::stable_sort(result.begin(), result.end(),
                   [](const Move& a, const Move& b) { return a.worth > b.worth; });
  return result;
}

}  // namespace headrace::api
