#include <gtest/gtest.h>

#include <headrace/error.h>

#include "graph/graph.h"

namespace headrace {
namespace {

constexpr const char* kText = R"TEXT(metadata "producer" "a \"test\""
symbol "k" value(1, 0)
%0 = input "x" f32[Nx3xHx224]
%1 = input "count" i64[1]
%2 = constant "w" f32[8x3x3x3] random(3)
%3 = constant f32[8] {0.5, 1, -2, 3.25, 0, 1e-05, 7, 8}
%4 = Conv(strides=[2, 2], dilations=[1, 1], pads_begin=[1, 1], pads_end=[1, 1], has_bias=true, post=[relu, clip(0, 6)]) %0, %2, %3 : f32[Nx8x(floor_div(H+1, 2))x112] "c1 (Conv)" "r1 (Relu)"
%5 = Pointwise(t0 = sigmoid(x0); mul(t0, add(t0, 2.5))) %4 : f32[Nx8x(floor_div(H+1, 2))x112]
%6 = Pointwise(cast:i64(less(x0, x1))) %5, %4 : i64[Nx8x(floor_div(H+1, 2))x112]
%7 = Reduce(axes=[2, 3], keep_dims=false) %5 : f32[Nx8]
%8, %9 = TopK(k=max(0, k), axis=1) %7 : f32[Nx(max(0, k))], i64[Nx(max(0, k))]
%10 = constant f32[scalar] {nan}
output "a" %6
output "b" %8
output "c" %9
output "d" %10
)TEXT";

TEST(GraphText, RoundTrip) {
  const Graph graph = parse_graph(kText);
  verify(graph);
  EXPECT_EQ(print(graph), kText);
  EXPECT_EQ(graph.metadata.at("producer"), "a \"test\"");
}

TEST(GraphText, RunTimeRealsRoundTrip) {
  const char* text = R"TEXT(symbol "s[0]" real(1, 0)
%0 = input "x" f32[8]
%1 = input "s" f32[1]
%2 = Resize(sizes=[scale(8, 's[0]')], scales=[real('s[0]')], roi=[0, 0.5]) %0 : f32[(scale(8, 's[0]'))]
output "y" %2
require "the scale must be positive" lt(0, 's[0]')
)TEXT";
  const Graph graph = parse_graph(text);
  EXPECT_EQ(print(graph), text);
  EXPECT_EQ(graph.shapes().conditions().size(), 1u);
}

TEST(GraphText, ErrorsNameTheLine) {
  const auto message = [](const char* text) {
    try {
      parse_graph(text);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(message("%0 = input \"x\" f32[2]\n%1 = Softmax(axis=1) %0\n").find("line 2"), std::string::npos);
  EXPECT_NE(message("%0 = Frobnicate() %1\n"), "");
  EXPECT_NE(message("%0 = input \"x\" f32[2"), "");
  EXPECT_NE(message("output \"x\" %3\n"), "");
  EXPECT_NE(message("%0 = constant f32[99999999999] random(1)\n"), "");
  EXPECT_NE(message(("%0 = input \"x\" f32[(" + std::string(100000, '(') + "\n").c_str()), "");
  EXPECT_NE(message("%0 = input \"x\" f32[2]\n%1 = Softmax() %0 : f32[3]\n"), "");
}

TEST(Graph, EditsKeepItsInvariants) {
  Graph g = parse_graph(
      "%0 = input \"x\" f32[4]\n%1 = Pointwise(relu(x0)) %0\n%2 = Pointwise(add(x0, x1)) %1, %1\noutput "
      "\"y\" %2\n");
  const NodeId relu = g.nodes()[0], add = g.nodes()[1];
  const ValueId r = g.node(relu).outputs[0];
  EXPECT_EQ(g.use_count(r), 2u);
  EXPECT_EQ(g.users(r), std::vector<NodeId>{add});
  EXPECT_THROW(g.erase(relu), Error);
  g.replace_uses(r, g.inputs()[0]);
  verify(g);
  g.erase(relu);
  verify(g);
  EXPECT_FALSE(g.alive(relu));
  EXPECT_FALSE(g.erase_dead());
  EXPECT_THROW(g.add(Softmax{3, false}, {g.inputs()[0]}), Error);
  verify(g);
}

TEST(Graph, DeadNodesAndUnreadOptionalResultsGo) {
  Graph g = parse_graph(
      "%0 = input \"x\" f32[1x1x4x4]\n"
      "%1, %2 = Pool(kernel=[2, 2], strides=[2, 2], dilations=[1, 1], pads_begin=[0, 0], pads_end=[0, 0]) "
      "%0\n"
      "%3 = Pointwise(relu(x0)) %1\noutput \"y\" %1\n");
  EXPECT_TRUE(g.erase_dead());
  verify(g);
  ASSERT_EQ(g.nodes().size(), 1u);
  EXPECT_EQ(g.node(g.nodes()[0]).outputs.size(), 1u);
  EXPECT_FALSE(g.erase_dead());
}

TEST(Graph, VerifyFindsUseBeforeDefinition) {
  Graph g = parse_graph(
      "%0 = input \"x\" f32[4]\n%1 = Pointwise(relu(x0)) %0\n%2 = Pointwise(neg(x0)) %1\noutput \"y\" %2\n");
  const ValueId late = g.node(g.nodes()[1]).outputs[0];
  g.set_input(g.nodes()[0], 0, late);
  EXPECT_THROW(verify(g), Error);
}

}  // namespace
}  // namespace headrace
