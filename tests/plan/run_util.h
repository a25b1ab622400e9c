// Running a graph node by node with the reference kernels, and a plan through Engine and Context: to be
// compared.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "plan_util.h"

namespace headrace::test {

using Tensors = std::map<std::string, HostTensor, std::less<>>;

inline std::vector<HostTensor> run_graph(const Graph& graph, const Tensors& inputs) {
  std::vector<std::int64_t> symbols;
  const auto input = [&](std::size_t i) -> const HostTensor& {
    return inputs.at(graph.value(graph.inputs()[i]).names.front());
  };
  for (const Symbol& s : graph.shapes().symbols()) {
    const SymbolSource& source = s.sources.front();
    const HostTensor& t = input(static_cast<std::size_t>(source.input));
    symbols.push_back(source.kind == SymbolSource::dim ? t.shape()[static_cast<std::size_t>(source.index)]
                                                       : read_symbol(t, source));
  }
  const auto values = graph.shapes().evaluate(symbols);
  std::map<ValueId, HostTensor> tensors;
  for (std::size_t i = 0; i < graph.inputs().size(); ++i) tensors[graph.inputs()[i]] = input(i);
  const auto tensor = [&](ValueId v) -> const HostTensor& {
    return graph.value(v).constant ? *graph.value(v).constant : tensors.at(v);
  };
  for (NodeId n : graph.nodes()) {
    const Node& node = graph.node(n);
    std::vector<const HostTensor*> srcs;
    for (ValueId v : node.inputs) srcs.push_back(&tensor(v));
    auto results = evaluate_reference(resolve(node.op, values), srcs);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) tensors[node.outputs[i]] = std::move(results[i]);
  }
  std::vector<HostTensor> outputs;
  for (const GraphOutput& o : graph.outputs()) outputs.push_back(tensor(o.value));
  return outputs;
}

/// Blocking inference with bound memory of its own.
inline std::vector<HostTensor> run_context(runtime::Context& context, const Tensors& inputs,
                                           Event* input_consumed = nullptr) {
  const runtime::Engine& engine = context.engine();
  ShapeMap shapes;
  for (const auto& [name, t] : inputs) shapes[name] = t.shape();
  const runtime::Prepared& prepared = context.prepare(shapes, inputs);
  const auto stream = engine.device().make_stream({.name = "test", .inline_execution = true, .threads = 1});
  const auto done = engine.device().make_event();
  for (std::size_t i = 0; i < prepared.inputs.size(); ++i) {
    const HostTensor& t = inputs.at(engine.inputs()[i].name);
    BufferRef b = engine.device().allocate(t.bytes().size() + 1, MemoryKind::host, MemoryUse::io);
    std::memcpy(b->host_data(), t.bytes().data(), t.bytes().size());
    context.bind_input(i, b);
  }
  std::vector<BufferRef> results;
  for (std::size_t i = 0; i < prepared.outputs.size(); ++i) {
    results.push_back(
        engine.device().allocate(prepared.outputs[i].span_bytes() + 1, MemoryKind::host, MemoryUse::io));
    context.bind_output(i, results.back());
  }
  context.enqueue(*stream, *done, {.input_consumed = input_consumed});
  done->wait();
  std::vector<HostTensor> outputs;
  for (std::size_t i = 0; i < results.size(); ++i) {
    HostTensor t(prepared.outputs[i].dtype, prepared.outputs[i].shape);
    std::memcpy(t.mutable_bytes().data(), results[i]->host_data(), t.bytes().size());
    outputs.push_back(std::move(t));
  }
  return outputs;
}

inline HostTensor random_tensor(Shape shape, std::uint32_t seed) {
  HostTensor t(DType::f32, std::move(shape));
  std::mt19937 random(seed);
  for (std::int64_t i = 0; i < t.elements(); ++i)
    t.set_double(i, static_cast<double>(random() % 2001) / 1000 - 1);
  return t;
}

/// Inputs of small_graph().
inline Tensors inputs_of(std::int64_t n, std::uint32_t seed) {
  Tensors t;
  t["x"] = random_tensor({n, 2, 4, 4}, seed);
  HostTensor i(DType::i64, {3});
  i.set_int(1, 47), i.set_int(2, 5);
  t["i"] = std::move(i);
  return t;
}

/// An engine of small_graph() at batch 2, with inputs of zeros in pinned memory: the same inference again and
/// again.
class Loop {
 public:
  Loop(const runtime::EngineRef& engine, std::unique_ptr<Stream> stream)
      : context_(engine), stream_(std::move(stream)) {
    Device& device = engine->device();
    done_ = device.make_event(), consumed_ = device.make_event();
    const auto make = [&](const TensorDesc& d) {
      BufferRef b = device.allocate(d.span_bytes(), MemoryKind::pinned, MemoryUse::io);
      std::memset(b->host_data(), 0, b->size_bytes());
      return b;
    };
    const runtime::Prepared& prepared = context_.prepare(shapes_);
    for (const TensorDesc& d : prepared.inputs) in_.push_back(make(d));
    for (const TensorDesc& d : prepared.outputs) out_.push_back(make(d));
  }
  void infer() {
    context_.prepare(shapes_);
    for (std::size_t i = 0; i < in_.size(); ++i) context_.bind_input(i, in_[i]);
    for (std::size_t i = 0; i < out_.size(); ++i) context_.bind_output(i, out_[i]);
    context_.enqueue(*stream_, *done_, {.input_consumed = consumed_.get()});
    done_->wait();
  }

 private:
  runtime::Context context_;
  std::unique_ptr<Stream> stream_;
  EventRef done_, consumed_;
  const ShapeMap shapes_{{"x", {2, 2, 4, 4}}};
  std::vector<BufferRef> in_, out_;
};

/// Small sums in another order differ in the last bits.
inline bool close(const HostTensor& a, const HostTensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  for (std::int64_t i = 0; i < a.elements(); ++i)
    if (!(std::abs(a.at_double(i) - b.at_double(i)) <= 1e-5 * (1 + std::abs(b.at_double(i))))) return false;
  return true;
}

}  // namespace headrace::test
