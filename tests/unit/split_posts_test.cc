// Post steps that no tactic takes become a Pointwise; the results stay.
#include <gtest/gtest.h>

#include "compiler/draft.h"
#include "plan/run_util.h"

namespace headrace {
namespace {

/// Takes convolutions with at most `most` post steps; makes nothing.
class ShyConv final : public Tactic {
 public:
  explicit ShyConv(std::size_t most) : most_(most) {}
  std::string_view id() const override { return "shy.conv"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const auto* conv = std::get_if<Conv>(&p.op);
    if (!conv) return Refusal{"not a Conv"};
    if (conv->post.size() > most_) return Refusal{"too many post steps"};
    return std::nullopt;
  }
  std::unique_ptr<Kernel> make(const Problem&, const Choice&) const override {
    throw Error(ErrorCode::internal, "not asked for here");
  }

 private:
  std::size_t most_;
};

/// y = silu(max(conv(x, w) + b, 0) * r), the steps after the convolution in its post list.
Graph fused_graph() {
  Graph g;
  const ValueId x = g.add_input("x", {DType::f32, {2, 3, 6, 6}});
  const ValueId r = g.add_input("r", {DType::f32, {2, 4, 6, 6}});
  const ValueId w = g.add_constant(test::random_tensor({4, 3, 3, 3}, 1), "w");
  const ValueId b = g.add_constant(test::random_tensor({4, 1, 1}, 2), "b");
  Conv conv{.strides = {1, 1}, .dilations = {1, 1}, .pads_begin = {1, 1}, .pads_end = {1, 1}};
  conv.post = {{PwOp::add}, {PwOp::relu}, {PwOp::mul}, {PwOp::silu, 1}};
  g.add_output("y", g.add1(conv, {x, w, b, r}, {"conv1 (Conv)"}));
  return g;
}

/// The post steps that stay with the convolution, and how many nodes there are.
std::pair<std::size_t, std::size_t> split(Graph& graph, std::size_t most) {
  Backend backend;
  backend.tactics.push_back(std::make_unique<ShyConv>(most));
  compiler::Draft draft;
  draft.backend = &backend;
  compiler::split_posts(draft, graph);
  verify(graph);
  const auto nodes = graph.nodes();
  return {std::get<Conv>(graph.node(nodes.front()).op).post.size(), nodes.size()};
}

TEST(SplitPosts, TheLongestPrefixStaysAndResultsAreTheSame) {
  test::Tensors inputs;
  inputs["x"] = test::random_tensor({2, 3, 6, 6}, 3);
  inputs["r"] = test::random_tensor({2, 4, 6, 6}, 4);
  const auto expected = test::run_graph(fused_graph(), inputs);
  for (std::size_t most : {0, 1, 2, 3}) {
    SCOPED_TRACE(most);
    Graph graph = fused_graph();
    EXPECT_EQ(split(graph, most), std::make_pair(most, std::size_t{2}));
    EXPECT_TRUE(test::close(test::run_graph(graph, inputs)[0], expected[0]));
  }
}

TEST(SplitPosts, WhatFitsStaysWhole) {
  Graph graph = fused_graph();
  EXPECT_EQ(split(graph, 4), std::make_pair(std::size_t{4}, std::size_t{1}));
}

}  // namespace
}  // namespace headrace
