#include "ladder/model.h"

#include <random>

#include <headrace/error.h>

#include "compiler/compiler.h"
#include "graph/graph.h"
#include "onnx/import.h"

namespace headrace::ladder {
namespace {

HostTensor weights(Shape shape, std::uint64_t seed) {
  HostTensor tensor(DType::f32, std::move(shape));
  std::mt19937_64 random(seed);
  for (float& v : tensor.as_mutable<float>()) v = static_cast<float>(random() % 1000) / 500.0f - 1.0f;
  return tensor;
}

/// y = relu(x w0) w1: two steps, of which the first reads the input.
Graph small_network() {
  Graph graph;
  const Dim n = graph.shapes().symbol("N", {SymbolSource::dim, 0, 0});
  const ValueId x = graph.add_input("x", {DType::f32, {n, 48}});
  const ValueId hidden = graph.add1(MatMul{}, {x, graph.add_constant(weights({48, 16}, 1))});
  PwExpr expr;
  expr.op(PwOp::relu, DType::f32, expr.load(0, DType::f32));
  const ValueId active = graph.add1(Pointwise{expr}, {hidden});
  graph.add_output("y", graph.add1(MatMul{}, {active, graph.add_constant(weights({16, 10}, 2))}));
  return graph;
}

}  // namespace

Graph load_network(const std::string& onnx) {
  return onnx.empty() ? small_network() : onnx::import_file(onnx, {});
}

std::map<std::string, InputFormat> narrow_formats(const Graph& graph) {
  std::map<std::string, InputFormat> formats;
  for (const ValueId id : graph.inputs())
    if (const Value& input = graph.value(id); input.type.dtype == DType::f32)
      formats[input.names.front()] = {.mean = {128}, .std = {64}};
  return formats;
}

std::shared_ptr<const Plan> make_plan(const LadderOptions& options, const std::string& device,
                                      Variant variant, const Registry& registry) {
  Graph graph = load_network(options.onnx);
  const bool half = variant != Variant::fp32 && has_half(device);
  compiler::Options how{.device = device, .precision = half ? Precision::fp16 : Precision::fp32};
  if (variant == Variant::narrow) how.input_formats = narrow_formats(graph);
  bool dynamic = false;
  for (const ValueId input : graph.inputs()) {
    const Dims& shape = graph.value(input).type.shape;
    dynamic = dynamic || (!shape.empty() && !shape[0].is_constant());
  }
  if (!dynamic)
    throw Error(ErrorCode::invalid_argument,
                "the ladder needs a model whose inputs have a dynamic first axis; export it with one");
  how.profiles = {{{"*", {1}, {options.batch}, {options.batch}}}};
  if (const std::int64_t small = small_batch(options.batch); small < options.batch)
    how.profiles.push_back({{"*", {1}, {small}, {small}}});
  how.threads = options.threads;
  return std::make_shared<const Plan>(compiler::compile(std::move(graph), registry, how));
}

}  // namespace headrace::ladder
