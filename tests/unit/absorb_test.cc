// Convolutions take in the rounding before them and the max-pool behind them; the results stay.
#include <gtest/gtest.h>

#include "backends/backend.h"
#include "compiler/draft.h"
#include "core/post.h"
#include "plan/run_util.h"

namespace headrace {
namespace {

/// Takes convolutions from plain f32 to channels_last f16, with a max-pool or not; makes nothing.
class EntranceConv final : public Tactic {
 public:
  EntranceConv(Layout preferred, bool pools) : preferred_(preferred), pools_(pools) {}
  std::string_view id() const override { return "entrance.conv"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const auto* conv = std::get_if<Conv>(&p.op);
    if (!conv) return Refusal{"not a Conv"};
    if (p.srcs[0].layout != Layout::plain || p.srcs[0].dtype != DType::f32 ||
        p.dsts[0].layout != Layout::channels_last)
      return Refusal{"not an entrance"};
    if (!conv->pool_kernel.empty() && !pools_) return Refusal{"no pools"};
    return std::nullopt;
  }
  Layout preferred_layout(const Problem&) const override { return preferred_; }
  std::unique_ptr<Kernel> make(const Problem&, const Choice&) const override {
    throw Error(ErrorCode::internal, "not asked for here");
  }

 private:
  Layout preferred_;
  bool pools_;
};

struct Entrance {
  Graph graph;
  ValueId rounded, conv, pooled;
};
/// y = pool(relu(conv(f16(x), w)))
Entrance entrance(const std::function<void(Pool&)>& change = [](Pool&) {}) {
  Entrance e;
  Graph& g = e.graph;
  const ValueId x = g.add_input("x", {DType::f32, {2, 3, 12, 14}});
  HostTensor w(DType::f16, {8, 3, 3, 3});
  const HostTensor values = test::random_tensor({8, 3, 3, 3}, 1);
  for (std::int64_t i = 0; i < w.elements(); ++i) w.set_double(i, values.at_double(i));
  Pointwise cast;
  cast.expr.op(PwOp::cast, DType::f16, cast.expr.load(0, DType::f32));
  e.rounded = g.add1(cast, {x}, {"cast"});
  Conv conv{.strides = {1, 1}, .dilations = {1, 1}, .pads_begin = {1, 1}, .pads_end = {1, 1}};
  conv.post = {{PwOp::relu}};
  e.conv = g.add1(conv, {e.rounded, g.add_constant(std::move(w), "w")}, {"conv1 (Conv)"});
  Pool pool{
      .kernel = {3, 3}, .strides = {2, 2}, .dilations = {1, 1}, .pads_begin = {1, 1}, .pads_end = {1, 1}};
  change(pool);
  e.pooled = g.add1(pool, {e.conv}, {"pool1 (MaxPool)"});
  g.add_output("y", e.pooled);
  return e;
}

void absorb(Graph& graph, Layout preferred, bool pools) {
  Backend backend;
  backend.tactics.push_back(std::make_unique<EntranceConv>(preferred, pools));
  compiler::Draft draft;
  draft.backend = &backend;
  compiler::absorb(draft, graph);
  verify(graph);
}
std::size_t nodes_after(Entrance e, Layout preferred = Layout::channels_last, bool pools = true) {
  absorb(e.graph, preferred, pools);
  return e.graph.nodes().size();
}

TEST(Absorb, RoundingAndPoolBecomePartsOfTheConvolution) {
  test::Tensors inputs;
  inputs["x"] = test::random_tensor({2, 3, 12, 14}, 3);
  const auto expected = test::run_graph(entrance().graph, inputs);
  Entrance e = entrance();
  absorb(e.graph, Layout::channels_last, true);
  ASSERT_EQ(e.graph.nodes().size(), 1u) << print(e.graph);
  const Node& node = e.graph.node(e.graph.nodes()[0]);
  EXPECT_EQ(std::get<Conv>(node.op).pool_kernel, (Ints{3, 3}));
  EXPECT_EQ(node.origins, (std::vector<std::string>{"cast", "conv1 (Conv)", "pool1 (MaxPool)"}));
  EXPECT_EQ(test::run_graph(e.graph, inputs)[0], expected[0]);
}

TEST(Absorb, WhatNoKernelDoesStaysApart) {
  EXPECT_EQ(nodes_after(entrance(), Layout::channels_last, false), 2u);
  EXPECT_EQ(nodes_after(entrance(), Layout::plain), 3u);
}

TEST(Absorb, WhatOthersReadStaysApart) {
  Entrance e = entrance();
  e.graph.add_output("conv", e.conv);
  EXPECT_EQ(nodes_after(std::move(e)), 2u);
  e = entrance();
  e.graph.add_output("rounded", e.rounded);
  EXPECT_EQ(nodes_after(std::move(e)), 3u);
  EXPECT_EQ(nodes_after(entrance([](Pool& p) { p.kind = PoolKind::average; })), 2u);
  EXPECT_EQ(nodes_after(entrance([](Pool& p) { p.ceil_mode = true; })), 2u);
  EXPECT_EQ(nodes_after(entrance([](Pool& p) { p.dilations = {2, 2}; })), 2u);
}

#ifdef HEADRACE_CUDA
TEST(Absorb, OnCudaAStemIsOneStep) {
  const Backend backend = make_cuda_backend();
  compiler::Draft draft;
  draft.backend = &backend;
  Entrance e = entrance();
  compiler::absorb(draft, e.graph);
  EXPECT_EQ(e.graph.nodes().size(), 1u) << print(e.graph);
}
#endif

}  // namespace
}  // namespace headrace
