// From ONNX nodes to core operators: shapes, host values, functions, and the operators whose versions differ.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "onnx_writer.h"

namespace headrace::onnx::test {
namespace {

using ::testing::HasSubstr;

std::string shape_of(const Graph& g, std::size_t output = 0) {
  return g.shapes().to_string(g.value(g.outputs().at(output).value).type.shape);
}
template <class T>
const T& only(const Graph& g) {
  const T* found = nullptr;
  for (NodeId id : g.nodes()) {
    if (const T* op = std::get_if<T>(&g.node(id).op)) {
      EXPECT_EQ(found, nullptr) << "more than one " << name(g.node(id).op);
      found = op;
    }
  }
  if (found == nullptr) throw std::runtime_error("no such operator in:\n" + print(g));
  return *found;
}
/// Extents of the output when the symbols have these values, in order of their making.
Shape resolved(const Graph& g, std::vector<std::int64_t> symbols) {
  return resolve(g.value(g.outputs().at(0).value).type.shape, g.shapes().evaluate(symbols));
}

TEST(OnnxImport, DynamicDims) {
  Model m;
  m.input("x", 1, {"N", "", "?", "-1", "5"}).node("Relu", {"x"}, {"y"}).output("y");
  const Graph g = m.import();
  verify(g);
  EXPECT_EQ(g.shapes().symbols().size(), 4u);
  EXPECT_EQ(g.shapes().symbols()[0].name, "N");
  EXPECT_EQ(g.shapes().symbols()[2].name, "x.2");
}

TEST(OnnxImport, AcceptsUnsortedNodes) {
  Model m;
  m.input("x", 1, {"4"}).node("Relu", {"a"}, {"y"}).node("Abs", {"x"}, {"a"}).output("y");
  EXPECT_EQ(m.error(), "");
}

TEST(OnnxImport, InitialiserThatIsAlsoAnInputIsConstant) {
  Model m;
  m.input("x", 1, {"4"}).input("w", 1, {"4"}).initializer(floats("w", {4}, {1, 2, 3, 4}));
  m.node("Add", {"x", "w"}, {"y"}).output("y");
  EXPECT_EQ(m.import().inputs().size(), 1u);
}

TEST(OnnxImport, FunctionIsInlinedWithItsAttributes) {
  Model m;
  m.input("x", 1, {"4"}).node("act", {"x"}, {"y"}, {attr("slope", 0.5f)}, "local", "call").output("y");
  m.function("act", {"a"}, {"b"},
             {node("LeakyRelu", {"a"}, {"b"}, {attr_ref("alpha", "slope")}, "", "inner")}, {"slope"});
  const Graph g = m.import();
  EXPECT_EQ(only<Pointwise>(g).expr.code.back().alpha, 0.5);
  EXPECT_THAT(print(g), HasSubstr("call/inner"));
}

TEST(OnnxImport, ShapeArithmeticMakesNoNodes) {
  Model m;  // reshape x to [N, C*H*W] by Shape, Gather, Unsqueeze, Concat
  m.input("x", 1, {"N", "3", "H", "W"});
  m.node("Shape", {"x"}, {"s"}).initializer(ints("zero", {}, {0})).initializer(ints("axes", {1}, {0}));
  m.initializer(ints("rest", {1}, {-1}))
      .node("Gather", {"s", "zero"}, {"n"})
      .node("Unsqueeze", {"n", "axes"}, {"n1"});
  m.node("Concat", {"n1", "rest"}, {"to"}, {attr("axis", 0)}).node("Reshape", {"x", "to"}, {"y"}).output("y");
  const Graph g = m.import();
  EXPECT_EQ(g.nodes().size(), 1u) << print(g);
  EXPECT_EQ(resolved(g, {2, 5, 7}), (Shape{2, 105}));
}

TEST(OnnxImport, FloatShapeArithmetic) {
  Model m;  // Resize to floor(H * 0.5), as exporters write it
  m.input("x", 1, {"1", "1", "H", "W"})
      .node("Shape", {"x"}, {"s"})
      .node("Cast", {"s"}, {"f"}, {attr("to", 1)});
  m.initializer(floats("half", {4}, {1, 1, 0.5f, 2})).node("Mul", {"f", "half"}, {"scaled"});
  m.node("Floor", {"scaled"}, {"whole"}).node("Cast", {"whole"}, {"sizes"}, {attr("to", 7)});
  m.node("Resize", {"x", "", "", "sizes"}, {"y"}, {attr("mode", "nearest")}).output("y");
  EXPECT_EQ(resolved(m.import(), {7, 9}), (Shape{1, 1, 3, 18}));
}

TEST(OnnxImport, SmallIntegerInputBecomesSymbols) {
  Model m;
  m.input("x", 1, {"4", "6"}).input("s", 7, {"3"}).node("Reshape", {"x", "s"}, {"y"}).output("y");
  const Graph g = m.import();
  ASSERT_EQ(g.shapes().symbols().size(), 3u);
  EXPECT_EQ(g.shapes().symbols()[1].sources[0].kind, SymbolSource::value);
  EXPECT_EQ(resolved(g, {2, 3, 4}), (Shape{2, 3, 4}));
  EXPECT_EQ(resolved(g, {0, -1, 2}), (Shape{4, 3, 2}));
}

TEST(OnnxImport, IntegerInputIsNoSymbolWhenOnlyItsDataIsUsed) {
  Model m;
  m.input("s", 7, {"3"}).node("Add", {"s", "s"}, {"y"}).output("y");
  EXPECT_TRUE(m.import().shapes().symbols().empty());
}

TEST(OnnxImport, DataDependentShapeIsRefused) {
  Model m;
  m.input("x", 1, {"N", "6"}).node("ArgMax", {"x"}, {"i"}, {attr("axis", 1), attr("keepdims", 0)});
  m.node("Reshape", {"x", "i"}, {"y"}).output("y");
  EXPECT_THAT(m.error(), HasSubstr("depends on the data of a tensor"));
}

TEST(OnnxImport, Slices) {
  auto shape = [](std::int64_t start, std::int64_t end, std::int64_t step, std::int64_t extent) {
    Model m;
    m.input("x", 1, {"N"}).initializer(ints("s", {1}, {start})).initializer(ints("e", {1}, {end}));
    m.initializer(ints("a", {1}, {0})).initializer(ints("t", {1}, {step}));
    m.node("Slice", {"x", "s", "e", "a", "t"}, {"y"}).output("y");
    return resolved(m.import(), {extent}).at(0);
  };
  const auto big = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(shape(0, big, 2, 7), 4);
  EXPECT_EQ(shape(1, -1, 1, 7), 5);
  EXPECT_EQ(shape(-3, big, 1, 7), 3);
  EXPECT_EQ(shape(-3, big, 1, 2), 2);
  EXPECT_EQ(shape(5, 2, 1, 7), 0);
  EXPECT_EQ(shape(-1, -big, -1, 7), 7);
  EXPECT_EQ(shape(5, 1, -2, 7), 2);
}

TEST(OnnxImport, SoftmaxFlattensBeforeOpset13) {
  Model m;
  m.input("x", 1, {"2", "3", "4"}).node("Softmax", {"x"}, {"y"}, {attr("axis", 1)}).output("y");
  EXPECT_EQ(only<Softmax>(m.import()).axis, 1);
  EXPECT_EQ(m.import().nodes().size(), 1u);
  m.opset = 12;
  EXPECT_EQ(m.import().nodes().size(), 3u) << print(m.import());
  EXPECT_EQ(shape_of(m.import()), "2x3x4");
}

TEST(OnnxImport, SamePadsOfDynamicExtents) {
  auto pads = [](const char* how) {
    Model m;
    m.input("x", 1, {"1", "1", "H"}).initializer(floats("w", {1, 1, 4}, {1, 1, 1, 1}));
    m.node("Conv", {"x", "w"}, {"y"}, {attr("auto_pad", how), attr("strides", std::vector<std::int64_t>{2})})
        .output("y");
    const Graph g = m.import();
    const Conv& op = only<Conv>(g);
    const auto v = g.shapes().evaluate(std::vector<std::int64_t>{7});
    EXPECT_EQ(resolved(g, {7}), (Shape{1, 1, 4}));
    return std::pair{resolve(op.pads_begin[0], v), resolve(op.pads_end[0], v)};
  };
  EXPECT_EQ(pads("SAME_UPPER"), (std::pair<std::int64_t, std::int64_t>{1, 2}));
  EXPECT_EQ(pads("SAME_LOWER"), (std::pair<std::int64_t, std::int64_t>{2, 1}));
}

TEST(OnnxImport, ResizeScaleIsTheFractionItRoundsFrom) {
  Model m;
  m.input("x", 1, {"1", "1", "H", "10"}).initializer(floats("s", {4}, {1, 1, 0.7f, 0.6f}));
  m.node("Resize", {"x", "", "s"}, {"y"}).output("y");
  EXPECT_EQ(resolved(m.import(), {10}), (Shape{1, 1, 7, 6}));
}

TEST(OnnxImport, BatchNormIsAScaleAndAShift) {
  Model m;
  m.input("x", 1, {"N", "2", "4"})
      .initializer(floats("g", {2}, {2, 4}))
      .initializer(floats("b", {2}, {1, 0}));
  m.initializer(floats("m", {2}, {3, 0})).initializer(floats("v", {2}, {4, 16}));
  m.node("BatchNormalization", {"x", "g", "b", "m", "v"}, {"y"}, {attr("epsilon", 0.0f)}).output("y");
  const Graph g = m.import();
  const Node& n = g.node(g.nodes().at(0));
  EXPECT_EQ(to_string(only<Pointwise>(g).expr), "add(mul(x0, x1), x2)");
  const auto& factor = *g.value(n.inputs.at(1)).constant;
  EXPECT_EQ(factor.shape(), (Shape{1, 2, 1}));
  EXPECT_EQ(factor.at_double(0), 1.0);
  EXPECT_EQ(g.value(n.inputs.at(2)).constant->at_double(0), -2.0);
}

TEST(OnnxImport, BatchNormOfDynamicChannels) {
  Model m;
  m.input("x", 1, {"N", "C", "4"})
      .initializer(floats("g", {2}, {2, 4}))
      .initializer(floats("b", {2}, {1, 0}));
  m.initializer(floats("v", {3}, {4, 16, 1}));
  m.node("BatchNormalization", {"x", "g", "b", "b", "g"}, {"y"}).output("y");
  EXPECT_EQ(shape_of(m.import()), "Nx2x4");
  Model odd = m;  // factors of different lengths
  odd.node("BatchNormalization", {"x", "g", "b", "b", "v"}, {"z"}).output("z");
  EXPECT_THAT(odd.error(), HasSubstr("making 'z'"));
}

TEST(OnnxImport, ReduceWithAxesKnownAtRunTime) {
  Model m;
  m.input("x", 1, {"3", "4", "5"}).input("a", 7, {"1"});
  m.node("ReduceSum", {"x", "a"}, {"y"}, {attr("keepdims", 0)}).output("y");
  EXPECT_EQ(resolved(m.import(), {-2}), (Shape{3, 5}));
  EXPECT_EQ(resolved(m.import(), {0}), (Shape{4, 5}));
}

TEST(OnnxImport, OutputsHaveMemoryOfTheirOwn) {
  Model m;
  m.input("x", 1, {"4"})
      .node("Identity", {"x"}, {"y"})
      .node("Relu", {"x"}, {"r"})
      .node("Identity", {"r"}, {"r2"});
  m.output("y").output("r").output("r2");
  const Graph g = m.import();
  EXPECT_NE(g.outputs()[0].value, g.inputs()[0]);
  EXPECT_NE(g.outputs()[1].value, g.outputs()[2].value);
}

TEST(OnnxImport, TypedTensorData) {
  const Bytes halves = message([](auto& w) {
    w.add_int64(1, 2);
    w.add_int32(2, 10);
    const std::int32_t bits[] = {0x3c00, 0xc000};
    w.add_packed_int32(5, std::begin(bits), std::end(bits));
    w.add_string(8, "h");
  });
  const auto [name, tensor] = read_tensor_proto(std::as_bytes(std::span(halves)));
  EXPECT_EQ(name, "h");
  EXPECT_EQ(tensor.at_double(0), 1.0);
  EXPECT_EQ(tensor.at_double(1), -2.0);
}

}  // namespace
}  // namespace headrace::onnx::test
