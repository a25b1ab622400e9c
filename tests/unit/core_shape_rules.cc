// Shape rules: what each operator gives, and what it refuses.
#include <gtest/gtest.h>

#include <headrace/error.h>

#include "core/op.h"

namespace headrace {
namespace {

struct ShapeRules : testing::Test {
  ShapeProgram p;
  Dim n = p.symbol("N", {SymbolSource::dim, 0, 0}), h = p.symbol("H", {SymbolSource::dim, 0, 2});

  static ValueType f32(Dims shape) { return {DType::f32, std::move(shape)}; }
  static ValueType i64(Dims shape) { return {DType::i64, std::move(shape)}; }
  std::string shape(const Op& op, std::vector<ValueType> in, std::size_t output = 0) {
    return p.to_string(infer_types(op, in, p).at(output).shape);
  }
  /// The message of the refusal; empty when there is none.
  std::string refusal(const Op& op, std::vector<ValueType> in) {
    try {
      infer_types(op, in, p);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_model);
      return e.message();
    }
    return "";
  }
  static Conv conv(std::int64_t stride, std::int64_t pad, std::int64_t groups = 1) {
    return {{stride, stride}, {1, 1}, {pad, pad}, {pad, pad}, groups, false, {}};
  }
};

TEST_F(ShapeRules, Conv) {
  EXPECT_EQ(shape(conv(2, 3), {f32({n, 3, 224, 224}), f32({64, 3, 7, 7})}), "Nx64x112x112");
  EXPECT_EQ(shape(conv(2, 1), {f32({1, 8, h, 32}), f32({16, 8, 3, 3})}), "1x16x(floor_div(H+1, 2))x16");
  EXPECT_NE(refusal(conv(1, 0), {f32({1, 3, 8, 8}), f32({4, 5, 3, 3})}), "");
  EXPECT_NE(refusal(conv(1, 0, 2), {f32({1, 8, 8, 8}), f32({3, 4, 3, 3})}), "");
  EXPECT_NE(refusal(conv(0, 0), {f32({1, 3, 8, 8}), f32({4, 3, 3, 3})}), "");
  EXPECT_NE(refusal(conv(1, -1), {f32({1, 3, 8, 8}), f32({4, 3, 3, 3})}), "");
  EXPECT_NE(refusal(conv(1, 0), {f32({1, 3, 2, 2}), f32({4, 3, 3, 3})}), "");
  EXPECT_NE(refusal(conv(1, 0), {f32({1, 3, 8, 8}), i64({4, 3, 3, 3})}), "");
  EXPECT_NE(refusal(conv(1, 0), {f32({1, 3, 8, 8}), f32({4, 3, 3, 3}), f32({4})}), "")
      << "a bias nobody asked for";
  Conv wide = conv(1, 0);
  wide.pads_begin[0] = INT64_MAX;
  EXPECT_NE(refusal(wide, {f32({1, 3, 8, 8}), f32({4, 3, 3, 3})}), "");
}

TEST_F(ShapeRules, ConvPost) {
  Conv c = conv(1, 1);
  c.has_bias = true;
  c.post = {{PwOp::add}, {PwOp::relu}};
  const ValueType x = f32({1, 3, 8, 8}), w = f32({4, 3, 3, 3}), b = f32({4});
  EXPECT_EQ(shape(c, {x, w, b, f32({1, 4, 8, 8})}), "1x4x8x8");
  EXPECT_NE(refusal(c, {x, w, b}), "");
  EXPECT_NE(refusal(c, {x, w, b, f32({1, 4, 8, 9})}), "");
  EXPECT_NE(refusal(c, {x, w, f32({5}), f32({1, 4, 8, 8})}), "");
  c.post = {{PwOp::equal}};
  EXPECT_NE(refusal(c, {x, w, b, f32({1})}), "");
}

TEST_F(ShapeRules, ConvTransposeAndPool) {
  const ConvTranspose t{{2, 2}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, 2, false, {}};
  EXPECT_EQ(shape(t, {f32({1, 4, h, 5}), f32({4, 3, 3, 3})}), "1x6x(2*H)x10");
  Pool pool{PoolKind::max, {3, 3}, {2, 2}, {1, 1}, {0, 0}, {0, 0}, false, true, false, 2};
  EXPECT_EQ(shape(pool, {f32({1, 4, 8, 9})}), "1x4x4x4");
  EXPECT_EQ(infer_types(pool, std::vector{f32({1, 4, 8, 9})}, p)[1].dtype, DType::i64);
  pool.kernel = {1, 1};
  pool.pads_end = {1, 1};
  EXPECT_EQ(shape(pool, {f32({1, 4, 8, 8})}), "1x4x4x4") << "a window behind the input is dropped";
}

TEST_F(ShapeRules, MatMulAndPointwise) {
  EXPECT_EQ(shape(MatMul{}, {f32({n, 1, 5, 7}), f32({4, 7, 6})}), "Nx4x5x6");
  EXPECT_EQ(shape(MatMul{true, true, 1, false, {}}, {f32({7, 5}), f32({6, 7})}), "5x6");
  EXPECT_NE(refusal(MatMul{}, {f32({5, 7}), f32({8, 6})}), "");
  EXPECT_NE(refusal(MatMul{}, {f32({7}), f32({7, 6})}), "");
  PwExpr add;
  add.op(PwOp::add, DType::f32, add.load(0, DType::f32), add.load(1, DType::f32));
  EXPECT_EQ(shape(Pointwise{add}, {f32({n, 3, 1}), f32({4})}), "Nx3x4");
  EXPECT_NE(refusal(Pointwise{add}, {f32({3}), f32({4})}), "");
  EXPECT_NE(refusal(Pointwise{add}, {f32({3})}), "");
  EXPECT_NE(refusal(Pointwise{add}, {f32({3}), i64({3})}), "");
  EXPECT_NE(refusal(Pointwise{}, {f32({3})}), "");
}

TEST_F(ShapeRules, Movement) {
  EXPECT_EQ(shape(Transpose{{2, 0, 1}}, {f32({n, 3, h})}), "HxNx3");
  EXPECT_NE(refusal(Transpose{{0, 0}}, {f32({2, 3})}), "");
  EXPECT_NE(refusal(Reshape{{5}}, {f32({2, 3})}), "");
  EXPECT_NE(refusal(Reshape{{-2, -3}}, {f32({2, 3})}), "");
  EXPECT_EQ(shape(Slice{{4}, {-2}, {3}}, {f32({5})}), "3");
  EXPECT_NE(refusal(Slice{{4}, {-2}, {4}}, {f32({5})}), "");
  EXPECT_NE(refusal(Slice{{5}, {1}, {1}}, {f32({5})}), "");
  EXPECT_NE(refusal(Slice{{1}, {INT64_MAX}, {3}}, {f32({5})}), "");
  EXPECT_NE(refusal(Slice{{0}, {0}, {3}}, {f32({5})}), "");
  EXPECT_EQ(shape(Concat{1}, {f32({2, 3}), f32({2, n})}), "2x(N+3)");
  EXPECT_NE(refusal(Concat{1}, {f32({2, 3}), f32({3, 3})}), "");
  EXPECT_NE(refusal(Concat{2}, {f32({2, 3}), f32({2, 3})}), "");
  EXPECT_EQ(shape(Pad{{1, -1}, {2, 0}, PadMode::constant}, {f32({2, 3})}), "5x2");
  EXPECT_NE(refusal(Pad{{3}, {0}, PadMode::reflect}, {f32({3})}), "");
  EXPECT_NE(refusal(Pad{{-4}, {0}, PadMode::constant}, {f32({3})}), "");
  EXPECT_EQ(shape(Broadcast{{n, 3}}, {f32({1})}), "Nx3");
  EXPECT_NE(refusal(Broadcast{{2, 3}}, {f32({4})}), "");
}

TEST_F(ShapeRules, Indices) {
  EXPECT_EQ(shape(Gather{1}, {f32({2, 5, 3}), i64({4, 6})}), "2x4x6x3");
  EXPECT_NE(refusal(Gather{1}, {f32({2, 0}), i64({1})}), "") << "clamping needs an element";
  EXPECT_NE(refusal(Gather{3}, {f32({2, 5, 3}), i64({4})}), "");
  EXPECT_NE(refusal(Gather{0}, {f32({2}), f32({4})}), "");
  EXPECT_EQ(shape(GatherNd{1}, {f32({2, 5, 3}), i64({2, 7, 1})}), "2x7x3");
  EXPECT_NE(refusal(GatherNd{0}, {f32({2, 5}), i64({7, 3})}), "");
  EXPECT_NE(refusal(GatherElements{0}, {f32({2, 5}), i64({4, 6})}), "");
  EXPECT_NE(refusal(ScatterNd{}, {f32({2, 5}), i64({7, 1}), f32({7, 4})}), "");
  EXPECT_EQ(shape(TopK{3, 1, true, true}, {f32({2, 5})}, 1), "2x3");
  EXPECT_NE(refusal(TopK{6, 1, true, true}, {f32({2, 5})}), "");
}

TEST_F(ShapeRules, SizesThatOverflowAreRefused) {
  EXPECT_NE(refusal(Broadcast{{INT64_MAX / 2, 4}}, {f32({1})}), "");
  EXPECT_NE(refusal(HostValue{{1, 2}, {3}, DType::i64}, {}), "");
  EXPECT_NE(refusal(Reshape{Dims(17, 1)}, {f32({1})}), "") << "rank";
}

}  // namespace
}  // namespace headrace
