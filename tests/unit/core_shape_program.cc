#include <gtest/gtest.h>

#include <headrace/error.h>

#include "core/shape_program.h"

namespace headrace {
namespace {

struct ShapeProgramTest : testing::Test {
  ShapeProgram p;
  Dim n = p.symbol("N", {SymbolSource::dim, 0, 0}), h = p.symbol("H", {SymbolSource::dim, 0, 2});
  Dim v = p.symbol("v", {SymbolSource::value, 1, 0});
};

TEST_F(ShapeProgramTest, NumbersFold) {
  EXPECT_EQ(p.add(2, 3), Dim(5));
  EXPECT_EQ(p.floor_div(-7, 2), Dim(-4));
  EXPECT_EQ(p.ceil_div(-7, 2), Dim(-3));
  EXPECT_EQ(p.trunc_div(-7, 2), Dim(-3));
  EXPECT_EQ(p.mod(-7, 3), Dim(2));
  EXPECT_EQ(p.mod(7, -3), Dim(-2));
  EXPECT_EQ(p.select(1, 4, 5), Dim(4));
  EXPECT_EQ(p.lt(2, 3), Dim(1));
}

TEST_F(ShapeProgramTest, SumsAreCanonical) {
  EXPECT_EQ(p.add(n, 0), n);
  EXPECT_EQ(p.mul(n, 1), n);
  EXPECT_EQ(p.mul(n, 0), Dim(0));
  EXPECT_EQ(p.sub(n, n), Dim(0));
  EXPECT_EQ(p.add(n, h), p.add(h, n));
  EXPECT_EQ(p.add(p.add(n, 3), -3), n);
  EXPECT_EQ(p.mul(p.add(n, 1), 2), p.add(p.mul(2, n), 2));
  EXPECT_EQ(p.mul(p.mul(n, h), 4), p.mul(p.mul(4, h), n));
  EXPECT_NE(p.add(n, h), p.add(n, n));
}

TEST_F(ShapeProgramTest, DivisionsSimplify) {
  EXPECT_EQ(p.floor_div(p.mul(n, 6), 6), n);
  EXPECT_EQ(p.floor_div(p.mul(n, h), h), n);
  EXPECT_EQ(p.mod(p.add(p.mul(n, 4), 8), 4), Dim(0));
  EXPECT_EQ(p.ceil_div(h, 2), p.add(p.floor_div(p.sub(h, 1), 2), 1));
  // Two strided convolutions are one division.
  const Dim once = p.add(p.floor_div(p.sub(h, 1), 2), 1);
  EXPECT_EQ(p.add(p.floor_div(p.sub(once, 1), 2), 1), p.ceil_div(h, 4));
}

TEST_F(ShapeProgramTest, ExtentsAreNotNegative) {
  EXPECT_EQ(p.max(n, 0), n);
  EXPECT_EQ(p.min(n, INT64_MAX), n);
  EXPECT_EQ(p.max(p.add(n, 2), n), p.add(n, 2));
  EXPECT_EQ(p.lt(n, 0), Dim(0));
  EXPECT_EQ(p.eq(n, n), Dim(1));
  EXPECT_EQ(p.eq(p.add(n, 1), n), Dim(0));
  EXPECT_FALSE(p.max(v, 0).is_constant());
  EXPECT_NE(p.max(v, 0), v);  // a value may be negative
}

TEST_F(ShapeProgramTest, EvaluatesWhatItSimplifies) {
  // Every combination of two operations, against plain arithmetic.
  const DimOp ops[] = {DimOp::add,      DimOp::sub,       DimOp::mul, DimOp::floor_div,
                       DimOp::ceil_div, DimOp::trunc_div, DimOp::mod, DimOp::min,
                       DimOp::max,      DimOp::eq,        DimOp::lt};
  const std::int64_t values[] = {5, 12, -7};
  struct Pair {
    Dim d;
    std::int64_t x;
  };
  std::vector<Pair> atoms = {{n, 5}, {h, 12}, {v, -7}, {3, 3}, {-2, -2}, {1, 1}};
  const auto plain = [](DimOp op, std::int64_t a, std::int64_t b) -> std::int64_t {
    ShapeProgram numbers;
    return numbers.make(op, a, b).value;
  };
  std::vector<Pair> results;
  for (const DimOp op : ops) {
    for (const Pair& a : atoms) {
      for (const Pair& b : atoms) {
        const Pair first{p.make(op, a.d, b.d), plain(op, a.x, b.x)};
        results.push_back(first);
        for (const DimOp outer : ops) {
          for (const Pair& c : atoms)
            results.push_back({p.make(outer, first.d, c.d), plain(outer, first.x, c.x)});
        }
      }
    }
  }
  const std::vector<std::int64_t> all = p.evaluate(values);
  for (const Pair& r : results) ASSERT_EQ(resolve(r.d, all), r.x) << p.to_string(r.d);
}

TEST_F(ShapeProgramTest, EvaluationRefusesOverflowAndDivisionByZero) {
  p.mul(p.mul(n, n), n);
  EXPECT_THROW(static_cast<void>(p.evaluate(std::vector<std::int64_t>{INT64_MAX, 1, 1})), Error);
  ShapeProgram q;
  q.floor_div(7, q.symbol("k", {SymbolSource::value, 0, 0}));
  EXPECT_THROW(static_cast<void>(q.evaluate(std::vector<std::int64_t>{0})), Error);
}

TEST_F(ShapeProgramTest, Text) {
  EXPECT_EQ(p.to_string(Dims{n, 3, p.mul(2, h), 224}), "Nx3x(2*H)x224");
  EXPECT_EQ(p.to_string(p.sub(n, 1)), "N-1");
  EXPECT_EQ(p.to_string(p.symbol("max batch", {SymbolSource::dim, 2, 0})), "'max batch'");
}

TEST_F(ShapeProgramTest, DataRoundTrip) {
  p.floor_div(p.add(h, 5), 3);
  const ShapeProgram q = ShapeProgram::from_data(p.symbols(), p.exprs());
  EXPECT_EQ(q, p);
  ShapeProgram r = q;
  EXPECT_EQ(r.floor_div(p.add(h, 5), 3), p.floor_div(p.add(h, 5), 3)) << "interning must survive";
}

TEST_F(ShapeProgramTest, HostileDataIsRefused) {
  const std::vector<Symbol> symbols = {{"N", {{SymbolSource::dim, 0, 0}}}};
  const auto refused = [&](std::vector<DimExpr> exprs) {
    try {
      ShapeProgram::from_data(symbols, std::move(exprs));
    } catch (const Error& e) {
      return e.code() == ErrorCode::invalid_plan;
    }
    return false;
  };
  EXPECT_FALSE(refused({{DimOp::symbol, 0, {}, {}}}));
  EXPECT_TRUE(refused({{DimOp::symbol, 1, {}, {}}}));
  EXPECT_TRUE(refused({{DimOp::symbol, -1, {}, {}}}));
  EXPECT_TRUE(refused({{DimOp::add, Dim::of_expr(0), 1, {}}}));
  EXPECT_TRUE(refused({{DimOp::add, Dim::of_expr(7), 1, {}}}));
  EXPECT_TRUE(refused({{static_cast<DimOp>(200), 1, 1, {}}}));
}

TEST_F(ShapeProgramTest, TextOfAStrangersProgramIsBounded) {
  std::vector<DimExpr> exprs = {{DimOp::symbol, 0, {}, {}}};
  for (int i = 0; i < 200; ++i) {
    const Dim d = Dim::of_expr(i);
    exprs.push_back({i % 2 == 0 ? DimOp::max : DimOp::add, d, d, {}});
  }
  const ShapeProgram q = ShapeProgram::from_data({{"N", {{SymbolSource::dim, 0, 0}}}}, exprs);
  EXPECT_LT(q.to_string(Dim::of_expr(200)).size(), 10000u);
}

}  // namespace
}  // namespace headrace
