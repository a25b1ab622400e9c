// A network small enough for ten thousand runs: y = relu(x) + 1 on [N, 4], with reference kernels.
#pragma once

#include <memory>

#include <headrace/headrace.h>

#include "api/registry.h"
#include "compiler/compiler.h"
#include "graph/graph.h"

namespace headrace::testing {

inline PlanFile small_plan(const std::string& device = "reference") {
  Graph graph;
  const Dim n = graph.shapes().symbol("N", {SymbolSource::dim, 0, 0});
  const ValueId x = graph.add_input("x", {DType::f32, {n, 4}});
  PwExpr expr;
  const auto loaded = expr.load(0, DType::f32);
  const auto relu = expr.op(PwOp::relu, DType::f32, loaded);
  const auto one = expr.constant(1.0, DType::f32);
  expr.op(PwOp::add, DType::f32, relu, one);
  graph.add_output("y", graph.add1(Pointwise{expr}, {x}));
  compiler::Options options{.device = device};
  options.profiles = {{{"x", {1, 4}, {2, 4}, {8, 4}}}};
  options.opt_level = 0;
  return PlanFile(
      std::make_shared<const Plan>(compiler::compile(std::move(graph), api::registry(), options)));
}

inline Engine small_engine(bool check_hazards = false) {
  LoadOptions options;
  options.threads = 1;
  options.check_hazards = check_hazards;
  return Engine::load(small_plan(), options);
}

}  // namespace headrace::testing
