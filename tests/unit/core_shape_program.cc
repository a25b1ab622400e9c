#include <cmath>
#include <limits>

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

TEST_F(ShapeProgramTest, RealsTakePartAsBitsOrFixed) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::nan("");
  const Real r = Real::of_bits(v);
  const auto value = [&](Dim d, double x) {
    return resolve(d, p.evaluate(std::vector<std::int64_t>{10, 1, to_bits(x)}));
  };
  const auto with = [&](Dim d, double x) {
    try {
      return value(d, x);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      return std::int64_t{-1};
    }
  };
  const Dim fixed = p.to_fixed(r), bits = p.to_real(fixed, kFixedOne).bits(), half = p.to_real(n, 4).bits();
  EXPECT_EQ(from_bits(value(bits, -1.5)), -1.5);
  EXPECT_EQ(from_bits(value(half, 0)), 2.5);
  EXPECT_EQ(value(fixed, -1.5), -kFixedOne * 3 / 2);
  EXPECT_EQ(p.scale(n, 1.0), n);
  EXPECT_EQ(p.scale(10, 0.7f), Dim(7));
  EXPECT_EQ(p.range_count(0, 1, 0.1), Dim(10));
  EXPECT_EQ(p.to_string(p.range_count(0.5, r, 1)), "range_count(real(0.5), v, real(1))");
  for (const double x : {0x1p31, -1e300, inf, nan}) EXPECT_EQ(with(fixed, x), -1) << x;
  const Dim scaled = p.scale(n, r);
  for (const auto& [x, size] : {std::pair{0.7, 7},
                                {static_cast<double>(0.7f), 7},
                                {0.35, 3},
                                {1e-300, 0},
                                {0.0, -1},
                                {-1.0, -1},
                                {inf, -1},
                                {nan, -1},
                                {1e300, -1}})
    EXPECT_EQ(with(scaled, x), size) << x;
}

TEST(ShapeRange, CountsAreThoseOfDoubles) {
  ShapeProgram s;
  const auto count = [&](double start, double limit, double delta) {
    return s.range_count(start, limit, delta).value;
  };
  EXPECT_EQ(count(0, 1, static_cast<double>(0.001f)), 1000);
  EXPECT_EQ(count(0, 1, static_cast<double>(1e-5f)), 100001);  // 1e-5f is a little less than 1e-5
  EXPECT_EQ(count(0, 7, static_cast<double>(0.7f)), 11);
  EXPECT_EQ(count(0, 0.6, 0.2), 3);
  EXPECT_EQ(count(5, 0, -2), 3);
  EXPECT_EQ(count(5, 0, 2), 0);
  EXPECT_THROW(count(0, 1, 0), Error);
  EXPECT_THROW(count(0, std::nan(""), 1), Error);
  EXPECT_THROW(count(0, 1e300, 1e-300), Error);
}

TEST_F(ShapeProgramTest, ConditionsAreCheckedAndSayWhy) {
  const auto why = [&](std::int64_t value) {
    try {
      static_cast<void>(p.evaluate(std::vector<std::int64_t>{1, 1, value}));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
      return e.message();
    }
    return std::string();
  };
  p.require(p.sub(1, p.eq(v, 0)), "the step is 0");
  p.floor_div(n, v);
  p.require(p.lt(v, 9), "the step is large");
  p.require(1, "never");
  EXPECT_EQ(p.conditions().size(), 2u);
  EXPECT_EQ(why(3), "");
  EXPECT_EQ(why(0), "the step is 0") << "it comes before the division by 0 that it explains";
  EXPECT_EQ(why(9), "the step is large");
  EXPECT_THROW(p.require(0, "always"), Error);
  EXPECT_EQ(ShapeProgram::from_data(p.symbols(), p.exprs(), p.conditions()), p);
  EXPECT_THROW(ShapeProgram::from_data(p.symbols(), p.exprs(), {{Dim::of_expr(99), "x"}}), Error);
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
