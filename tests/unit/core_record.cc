// Records of operators: every operator comes back as it went, and no damaged record gets through or crashes.
#include <random>

#include <gtest/gtest.h>

#include <headrace/error.h>

#include "core/op.h"

namespace headrace {
namespace {

PwExpr expression() {
  PwExpr e;
  const auto x = e.load(0, DType::f32);
  const auto c = e.constant(2.5, DType::f32);
  e.op(PwOp::clip, DType::f32, e.op(PwOp::mul, DType::f32, x, c), -1, -1, 0, 6);
  return e;
}

std::vector<Op> one_of_each() {
  const Dims two = {1, Dim::of_expr(3)};
  const std::vector<Post> post = {{PwOp::add}, {PwOp::clip, 0, 6}};
  return {Pointwise{expression()},
          Conv{{2, 2}, {1, 1}, two, {0, 1}, 4, true, post},
          ConvTranspose{{2, 2}, {1, 1}, {0, 0}, two, {1, 0}, 2, true, post},
          MatMul{true, false, 0.125, true, post},
          Pool{PoolKind::average, {3, 3}, {2, 2}, {1, 1}, two, {0, 0}, true, true, false, 3},
          Reduce{ReduceKind::log_sum_exp, {0, 2}, false},
          ArgReduce{false, false, true, 2},
          Softmax{1, true},
          LayerNorm{2, 1e-6, true, false, true},
          Resize{ResizeMode::cubic,
                 ResizeCoord::align_corners,
                 ResizeNearest::ceil,
                 two,
                 {1, Real::of_bits(Dim::of_expr(2))},
                 {0, 0, 1, 1},
                 -0.5,
                 3,
                 true,
                 true},
          Transpose{{1, 0, 2}},
          Reshape{two},
          Slice{{0, 1}, {1, -1}, two},
          Concat{1},
          Pad{two, {0, 0}, PadMode::wrap},
          Broadcast{two},
          Gather{1},
          GatherElements{2},
          GatherNd{1},
          ScatterElements{1, ScatterReduce::max},
          ScatterNd{ScatterReduce::add},
          TopK{Dim::of_expr(1), 1, false, false},
          CumSum{1, true, true},
          Iota{1, 2, Dim::of_expr(0), DType::i32},
          HostValue{two, {2}, DType::i32},
          Reorder{},
          Custom{"com.example", "Thing", "a=1"}};
}

TEST(OpRecord, EveryOperatorComesBack) {
  const std::vector<Op> ops = one_of_each();
  ASSERT_EQ(ops.size(), std::variant_size_v<Op>);
  for (std::size_t i = 0; i < ops.size(); ++i) {
    EXPECT_EQ(ops[i].index(), i);
    EXPECT_TRUE(from_record(to_record(ops[i])) == ops[i]) << name(ops[i]);
  }
}

TEST(OpRecord, DamagedRecordsAreRefused) {
  const auto refused = [](const OpRecord& r) {
    try {
      from_record(r);
    } catch (const Error& e) {
      return e.code() == ErrorCode::invalid_plan;
    }
    return false;
  };
  EXPECT_TRUE(refused({"Nonsense", {}, {}, {}}));
  EXPECT_TRUE(refused({"", {}, {}, {}}));
  EXPECT_TRUE(refused({"Reshape", {INT64_MAX}, {}, {}}));
  EXPECT_TRUE(refused({"Reshape", {-1}, {}, {}}));
  EXPECT_TRUE(refused({"Reshape", {1, 5, -2}, {}, {}}));  // malformed dim
  EXPECT_TRUE(refused({"Softmax", {0, 2}, {}, {}}));      // a bool of 2
  EXPECT_TRUE(refused({"Softmax", {0, 1, 0}, {}, {}}));   // left over
  EXPECT_TRUE(refused({"Pointwise", {0}, {}, {}}));       // empty
  OpRecord forward = to_record(Pointwise{expression()});
  forward.ints[1 + 2 * 6 + 2] = 2;  // operand a of the third instruction: itself
  EXPECT_TRUE(refused(forward));
  for (const Op& op : one_of_each()) {
    OpRecord cut = to_record(op);
    if (cut.ints.empty()) continue;
    cut.ints.pop_back();
    EXPECT_TRUE(refused(cut)) << name(op);
  }
}

TEST(OpRecord, RandomDamageNeverCrashes) {
  std::mt19937_64 random(7);
  const std::int64_t nasty[] = {-1, 0, 1, 2, 7, 255, 1 << 20, INT64_MAX, INT64_MIN, INT32_MAX};
  for (const Op& op : one_of_each()) {
    const OpRecord good = to_record(op);
    for (int round = 0; round < 400; ++round) {
      OpRecord bad = good;
      for (std::uint64_t k = 0; k <= random() % 3 && !bad.ints.empty(); ++k) {
        bad.ints[random() % bad.ints.size()] = nasty[random() % std::size(nasty)];
      }
      try {
        const Op read = resolve(from_record(bad), std::vector<std::int64_t>{2, 3, 4, 5});
        ShapeProgram program;
        for (const Dims& shape : {Dims{2, 4, 6, 6}, Dims{4, 4}, Dims{}}) {
          const std::vector<ValueType> inputs(round % 4, {DType::f32, shape});
          try {
            for (const ValueType& t : infer_types(read, inputs, program)) {
              for (const Dim d : t.shape) EXPECT_TRUE(!d.is_constant() || d.value >= 0);
            }
          } catch (const Error&) {
          }
        }
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::invalid_plan) << e.what();
      }
    }
  }
}

TEST(OpRecord, ResolveNeedsTheExpression) {
  EXPECT_TRUE(resolve(Reshape{{Dim::of_expr(1), 4}}, std::vector<std::int64_t>{7, 9}) == Op(Reshape{{9, 4}}));
  Resize resize{.sizes = {4}, .scales = {Real::of_bits(Dim::of_expr(1))}};
  const Op resolved = resolve(resize, std::vector<std::int64_t>{7, to_bits(1.5)});
  EXPECT_EQ(std::get<Resize>(resolved).scales, Reals{1.5});
  EXPECT_THROW(resolve(resize, std::vector<std::int64_t>{7}), Error);
  EXPECT_THROW(resolve(Reshape{{Dim::of_expr(2)}}, std::vector<std::int64_t>{7, 9}), Error);
}

}  // namespace
}  // namespace headrace
