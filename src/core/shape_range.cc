// What is known of an expression's value before the symbols' values are: bounds, from the bottom up.
#include <algorithm>
#include <limits>

#include "core/shape_algebra.h"

namespace headrace {

namespace {

std::optional<std::int64_t> narrow(__int128 v) {
  if (v < std::numeric_limits<std::int64_t>::min() || v > std::numeric_limits<std::int64_t>::max())
    return std::nullopt;
  return static_cast<std::int64_t>(v);
}

}  // namespace

ShapeAlgebra::Range ShapeAlgebra::range(const Terms& terms, int depth) const {
  __int128 low = 0, high = 0;
  bool has_low = true, has_high = true;
  for (const auto& [factors, k] : terms) {
    Range term{1, 1};
    for (const Dim f : factors) {
      const Range r = range(f, depth - 1);
      if (r.low.value_or(-1) < 0) {  // the sign is open
        term = factors.size() == 1 ? r : Range{};
        break;
      }
      const auto product = [](std::optional<std::int64_t> x, std::optional<std::int64_t> y) {
        return x && y ? narrow(static_cast<__int128>(*x) * *y) : std::optional<std::int64_t>{};
      };
      const auto least = product(term.low, r.low);
      term = {least ? least : std::optional<std::int64_t>(0), product(term.high, r.high)};
    }
    if (k < 0) std::swap(term.low, term.high);
    has_low = has_low && term.low;
    has_high = has_high && term.high;
    if (has_low) low += static_cast<__int128>(*term.low) * k;
    if (has_high) high += static_cast<__int128>(*term.high) * k;
  }
  return {has_low ? narrow(low) : std::nullopt, has_high ? narrow(high) : std::nullopt};
}

ShapeAlgebra::Range ShapeAlgebra::range(Dim d, int depth) const {
  if (d.is_constant()) return {d.value, d.value};
  if (depth <= 0) return {};
  const DimExpr& e = program_.exprs_[static_cast<std::size_t>(d.expr)];
  switch (e.op) {
    case DimOp::symbol: {
      const auto& sources = program_.symbols_[static_cast<std::size_t>(e.a.value)].sources;
      const bool extent = std::any_of(sources.begin(), sources.end(),
                                      [](const SymbolSource& s) { return s.kind == SymbolSource::dim; });
      return extent ? Range{0, std::nullopt} : Range{};
    }
    case DimOp::add:
    case DimOp::sub:
    case DimOp::mul: {
      const Terms t = terms(program_, d);
      if (t.size() == 1 && t.begin()->first == Dims{d}) return {};
      return range(t, depth);
    }
    case DimOp::floor_div:
    case DimOp::ceil_div:
    case DimOp::trunc_div: {
      if (!e.b.is_constant() || e.b.value <= 0) return {};
      const Range r = range(e.a, depth - 1);
      Range out;
      if (r.low) out.low = apply(e.op, *r.low, e.b.value, 0);
      if (r.high) out.high = apply(e.op, *r.high, e.b.value, 0);
      return out;
    }
    case DimOp::mod:
      if (e.b.is_constant() && e.b.value > 0) return {0, e.b.value - 1};
      return {};
    case DimOp::min:
    case DimOp::max: {
      const Range a = range(e.a, depth - 1), b = range(e.b, depth - 1);
      const auto both = [&](auto x, auto y) {
        return x && y ? std::optional(apply(e.op, *x, *y, 0)) : std::nullopt;
      };
      const auto any = [&](auto x, auto y) {
        return x && y ? std::optional(apply(e.op, *x, *y, 0)) : x ? x : y;
      };
      if (e.op == DimOp::min) return {both(a.low, b.low), any(a.high, b.high)};
      return {any(a.low, b.low), both(a.high, b.high)};
    }
    case DimOp::to_fixed:
    case DimOp::to_real: return {};
    case DimOp::scale:
      if (range(e.a, depth - 1).low.value_or(-1) >= 0) return {0, std::nullopt};
      return {};
    case DimOp::range_count: return {0, std::nullopt};
    case DimOp::eq:
    case DimOp::lt: return {0, 1};
    case DimOp::select: {
      const Range a = range(e.b, depth - 1), b = range(e.c, depth - 1);
      Range out;
      if (a.low && b.low) out.low = std::min(*a.low, *b.low);
      if (a.high && b.high) out.high = std::max(*a.high, *b.high);
      return out;
    }
  }
  return {};
}

}  // namespace headrace
