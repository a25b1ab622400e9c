#include "core/shape_algebra.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/checked.h"

namespace headrace {

namespace {

constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr int kMaxVisits = 2048;  // of one decomposition; what lies beyond is taken as an atom
constexpr std::size_t kMaxFactors = 32;

void add_term(ShapeAlgebra::Terms& terms, const ShapeAlgebra::Monomial& monomial, std::int64_t factor) {
  auto [it, fresh] = terms.try_emplace(monomial, 0);
  it->second = checked_add(it->second, factor, "shape arithmetic");
  if (it->second == 0) terms.erase(it);
}

void collect(const ShapeProgram& program, Dim d, std::int64_t factor, ShapeAlgebra::Terms& out, int& visits);

/// The single term of d, when it has one.
void collect_factors(const ShapeProgram& program, Dim d, Dims& factors, std::int64_t& factor, int& visits) {
  if (d.is_constant()) {
    factor = checked_mul(factor, d.value, "shape arithmetic");
    return;
  }
  const DimExpr& e = program.exprs()[static_cast<std::size_t>(d.expr)];
  if (e.op != DimOp::mul || ++visits > kMaxVisits || factors.size() >= kMaxFactors) {
    factors.push_back(d);
    return;
  }
  collect_factors(program, e.a, factors, factor, visits);
  collect_factors(program, e.b, factors, factor, visits);
}

void collect(const ShapeProgram& program, Dim d, std::int64_t factor, ShapeAlgebra::Terms& out, int& visits) {
  if (d.is_constant()) {
    add_term(out, {}, checked_mul(factor, d.value, "shape arithmetic"));
    return;
  }
  const DimExpr& e = program.exprs()[static_cast<std::size_t>(d.expr)];
  const bool go_on = ++visits <= kMaxVisits;
  if (go_on && (e.op == DimOp::add || e.op == DimOp::sub)) {
    collect(program, e.a, factor, out, visits);
    collect(program, e.b, e.op == DimOp::add ? factor : checked_mul(factor, -1, "shape arithmetic"), out,
            visits);
    return;
  }
  if (go_on && e.op == DimOp::mul) {
    Dims factors;
    collect_factors(program, d, factors, factor, visits);
    std::sort(factors.begin(), factors.end());
    add_term(out, factors, factor);
    return;
  }
  add_term(out, {d}, factor);
}

/// terms / monomial when every term is a multiple of it.
std::optional<ShapeAlgebra::Terms> divide_exactly(const ShapeAlgebra::Terms& terms,
                                                  const ShapeAlgebra::Monomial& monomial,
                                                  std::int64_t factor) {
  ShapeAlgebra::Terms out;
  for (const auto& [factors, coefficient] : terms) {
    if (factor == 0 || (coefficient == kMin && factor == -1) || coefficient % factor != 0)
      return std::nullopt;
    if (!std::includes(factors.begin(), factors.end(), monomial.begin(), monomial.end())) return std::nullopt;
    Dims rest;
    std::set_difference(factors.begin(), factors.end(), monomial.begin(), monomial.end(),
                        std::back_inserter(rest));
    add_term(out, rest, coefficient / factor);
  }
  return out;
}

}  // namespace

namespace {

[[noreturn]] void fail(const std::string& what) {
  throw Error(ErrorCode::invalid_argument, "shape arithmetic: " + what);
}

std::int64_t to_fixed(double value) {
  const double fixed = std::nearbyint(value * static_cast<double>(kFixedOne));
  if (!(std::abs(fixed) < 0x1p63)) fail(std::to_string(value) + " is not a number below 2147483648");
  return static_cast<std::int64_t>(fixed);
}

std::int64_t scale(std::int64_t extent, double factor) {
  const double product = static_cast<double>(extent) * factor, nearest = std::nearbyint(product);
  if (!(factor > 0) || !(std::abs(product) < 0x1p53))
    fail(std::to_string(extent) + " times " + std::to_string(factor) + " is not a size");
  // Extents and factors are exact here; where their product as a float is whole, that is meant.
  const bool whole = static_cast<float>(product) == static_cast<float>(nearest);
  return static_cast<std::int64_t>(whole ? nearest : std::floor(product));
}

std::int64_t range_count(double start, double limit, double delta) {
  const double count = std::ceil((limit - start) / delta);
  if (delta == 0 || !(count < 0x1p53)) {
    fail("the range from " + std::to_string(start) + " to " + std::to_string(limit) + " by " +
         std::to_string(delta) + " has no end");
  }
  return static_cast<std::int64_t>(std::max(count, 0.0));
}

}  // namespace

int arity(DimOp op) {
  switch (op) {
    case DimOp::symbol: return 0;
    case DimOp::to_fixed: return 1;
    case DimOp::select:
    case DimOp::range_count: return 3;
    default: return 2;
  }
}

std::int64_t apply(DimOp op, std::int64_t a, std::int64_t b, std::int64_t c) {
  constexpr std::string_view what = "shape arithmetic";
  switch (op) {
    case DimOp::add: return checked_add(a, b, what);
    case DimOp::sub: return checked_sub(a, b, what);
    case DimOp::mul: return checked_mul(a, b, what);
    case DimOp::floor_div:
    case DimOp::ceil_div:
    case DimOp::trunc_div:
    case DimOp::mod: {
      if (b == 0) {
        throw Error(ErrorCode::invalid_argument, "shape arithmetic: " + std::to_string(a) + " divided by 0");
      }
      if (a == kMin && b == -1) {
        if (op == DimOp::mod) return 0;
        return checked_mul(a, b, what);
      }
      const std::int64_t quotient = a / b, rest = a % b;
      const bool down = rest != 0 && ((rest < 0) != (b < 0));
      if (op == DimOp::floor_div) return quotient - (down ? 1 : 0);
      if (op == DimOp::ceil_div) return quotient + (rest != 0 && !down ? 1 : 0);
      if (op == DimOp::trunc_div) return quotient;
      return down ? rest + b : rest;
    }
    case DimOp::min: return std::min(a, b);
    case DimOp::max: return std::max(a, b);
    case DimOp::eq: return a == b ? 1 : 0;
    case DimOp::lt: return a < b ? 1 : 0;
    case DimOp::select: return a != 0 ? b : c;
    case DimOp::to_fixed: return to_fixed(from_bits(a));
    case DimOp::to_real: {
      if (b == 0) fail("0 is divided by");
      return to_bits(static_cast<double>(a) / static_cast<double>(b));
    }
    case DimOp::scale: return scale(a, from_bits(b));
    case DimOp::range_count: return range_count(from_bits(a), from_bits(b), from_bits(c));
    case DimOp::symbol: break;
  }
  throw Error(ErrorCode::internal, "shape arithmetic: not an operation");
}

Dim ShapeAlgebra::intern(const DimExpr& expr) {
  const auto [it, fresh] =
      program_.interned_.try_emplace(expr, static_cast<std::int32_t>(program_.exprs_.size()));
  if (fresh) program_.exprs_.push_back(expr);
  return Dim::of_expr(it->second);
}

ShapeAlgebra::Terms ShapeAlgebra::terms(const ShapeProgram& program, Dim d) {
  Terms out;
  int visits = 0;
  collect(program, d, 1, out, visits);
  return out;
}

Dim ShapeAlgebra::from_terms(const Terms& terms) {
  std::optional<Dim> sum;
  std::int64_t constant = 0;
  for (const auto& [factors, coefficient] : terms) {
    if (factors.empty()) {
      constant = coefficient;
      continue;
    }
    Dim term = factors[0];
    for (std::size_t i = 1; i < factors.size(); ++i) term = intern({DimOp::mul, term, factors[i], {}});
    if (coefficient != 1) term = intern({DimOp::mul, term, coefficient, {}});
    sum = sum ? intern({DimOp::add, *sum, term, {}}) : term;
  }
  if (!sum) return constant;
  return constant == 0 ? *sum : intern({DimOp::add, *sum, constant, {}});
}

Dim ShapeAlgebra::mul(Dim a, Dim b) {
  const Terms ta = terms(program_, a), tb = terms(program_, b);
  if (ta.empty() || tb.empty()) return 0;
  const auto constant = [](const Terms& t) { return t.size() == 1 && t.begin()->first.empty(); };
  if (constant(ta) || constant(tb)) {  // distributes over the sum
    Terms out;
    const std::int64_t factor = (constant(ta) ? ta : tb).begin()->second;
    for (const auto& [factors, coefficient] : constant(ta) ? tb : ta) {
      add_term(out, factors, checked_mul(coefficient, factor, "shape arithmetic"));
    }
    return from_terms(out);
  }
  // One monomial; a sum goes in as a factor, its coefficients' common divisor taken out.
  Dims factors;
  std::int64_t coefficient = 1;
  for (const Terms* t : {&ta, &tb}) {
    if (t->size() == 1) {
      const auto& [f, k] = *t->begin();
      factors.insert(factors.end(), f.begin(), f.end());
      coefficient = checked_mul(coefficient, k, "shape arithmetic");
      continue;
    }
    std::int64_t common = 0;
    for (const auto& [f, k] : *t) common = k == kMin ? 1 : std::gcd(common, k);
    common = std::max<std::int64_t>(common, 1);
    Terms reduced = *t;
    for (auto& [f, k] : reduced) k /= common;
    factors.push_back(from_terms(reduced));
    coefficient = checked_mul(coefficient, common, "shape arithmetic");
  }
  if (factors.size() > kMaxFactors) return intern({DimOp::mul, std::min(a, b), std::max(a, b), {}});
  std::sort(factors.begin(), factors.end());
  return from_terms({{factors, coefficient}});
}

Dim ShapeAlgebra::divide(DimOp op, Dim a, Dim b) {
  if (b == Dim(0)) return intern({op, a, b, {}});  // an error when evaluated
  if (a == Dim(0)) return 0;
  const Terms ta = terms(program_, a), tb = terms(program_, b);
  if (tb.size() == 1) {
    const auto& [factors, factor] = *tb.begin();
    if (auto exact = divide_exactly(ta, factors, factor)) return from_terms(*exact);
    if (factors.empty() && factor > 0 && factor < (1 << 30) && op == DimOp::ceil_div) {
      return make(DimOp::floor_div, make(DimOp::add, a, factor - 1, {}), b, {});
    }
    if (factors.empty() && factor > 0 && op == DimOp::floor_div) {
      // floor((c*x + r) / c) = x + floor(r / c), with the constant of r in [0, c)
      Terms whole, rest;
      for (const auto& [f, k] : ta) {
        const std::int64_t modulo = f.empty() ? apply(DimOp::mod, k, factor, 0) : k % factor == 0 ? 0 : k;
        if (modulo != 0) add_term(rest, f, modulo);
        if (modulo != k) add_term(whole, f, apply(DimOp::floor_div, k, factor, 0));
      }
      if (!whole.empty()) {
        return make(DimOp::add, from_terms(whole), make(op, from_terms(rest), b, {}), {});
      }
      // floor((floor(x / c) + k) / d) = floor((x + k*c) / (c*d))
      Dim inner;
      std::int64_t k = 0;
      for (const auto& [f, coefficient] : ta) {
        if (f.empty())
          k = coefficient;
        else if (f.size() == 1 && coefficient == 1 && inner.is_constant())
          inner = f[0];
        else
          return intern({op, a, b, {}});
      }
      if (!inner.is_constant()) {
        const DimExpr e = program_.exprs_[static_cast<std::size_t>(inner.expr)];
        std::int64_t product, shift;
        if (e.op == op && e.b.is_constant() && e.b.value > 0 &&
            !__builtin_mul_overflow(e.b.value, factor, &product) &&
            !__builtin_mul_overflow(e.b.value, k, &shift)) {
          return make(op, make(DimOp::add, e.a, shift, {}), product, {});
        }
      }
    }
    if (op == DimOp::trunc_div && range(a).low.value_or(-1) >= 0 && range(b).low.value_or(0) >= 1) {
      return make(DimOp::floor_div, a, b, {});
    }
  }
  return intern({op, a, b, {}});
}

Dim ShapeAlgebra::mod(Dim a, Dim b) {
  if (b == Dim(0)) return intern({DimOp::mod, a, b, {}});
  const Terms tb = terms(program_, b);
  if (tb.size() == 1) {
    const auto& [factors, factor] = *tb.begin();
    Terms rest;
    for (const auto& [f, k] : terms(program_, a)) {
      const Terms one{{f, k}};
      if (!divide_exactly(one, factors, factor)) add_term(rest, f, k);
    }
    if (rest.empty()) return 0;
    a = from_terms(rest);
    if (a.is_constant() && b.is_constant()) return apply(DimOp::mod, a.value, b.value, 0);
  }
  return intern({DimOp::mod, a, b, {}});
}

ShapeAlgebra::Terms ShapeAlgebra::difference(Dim a, Dim b) const {
  Terms out = terms(program_, a);
  for (const auto& [factors, k] : terms(program_, b))
    add_term(out, factors, checked_mul(k, -1, "shape arithmetic"));
  return out;
}

Dim ShapeAlgebra::minmax(DimOp op, Dim a, Dim b) {
  if (a == b) return a;
  const std::int64_t neutral = op == DimOp::min ? kMax : kMin, absorbing = op == DimOp::min ? kMin : kMax;
  if (a == Dim(neutral)) return b;
  if (b == Dim(neutral)) return a;
  if (a == Dim(absorbing) || b == Dim(absorbing)) return absorbing;
  // min(min(x, c), d) = min(x, min(c, d))
  if (a.is_constant()) std::swap(a, b);
  if (b.is_constant() && !a.is_constant()) {
    const DimExpr inner = program_.exprs_[static_cast<std::size_t>(a.expr)];
    if (inner.op == op && inner.b.is_constant()) {
      return minmax(op, inner.a, apply(op, inner.b.value, b.value, 0));
    }
  }
  // Only numbers of a reasonable size: INT64_MAX stands for "to the end" in slices and must not overflow
  // here.
  const auto sane = [](Dim d) { return !d.is_constant() || (d.value > kMin / 4 && d.value < kMax / 4); };
  if (sane(a) && sane(b)) {
    const Range gap = range(difference(a, b), 8);
    if (gap.low.value_or(-1) >= 0) return op == DimOp::max ? a : b;
    if (gap.high.value_or(1) <= 0) return op == DimOp::max ? b : a;
  }
  if (!b.is_constant() && b < a) std::swap(a, b);
  return intern({op, a, b, {}});
}

Dim ShapeAlgebra::make(DimOp op, Dim a, Dim b, Dim c) {
  if (op == DimOp::symbol) return intern({op, a, {}, {}});
  const bool numbers = a.is_constant() && b.is_constant();
  const bool divides = op == DimOp::floor_div || op == DimOp::ceil_div || op == DimOp::trunc_div ||
                       op == DimOp::mod || op == DimOp::to_real;
  if (numbers && op != DimOp::select && c.is_constant() && !(divides && b.value == 0))
    return apply(op, a.value, b.value, c.value);
  switch (op) {
    case DimOp::add: {
      Terms sum = terms(program_, a);
      for (const auto& [factors, k] : terms(program_, b)) add_term(sum, factors, k);
      return from_terms(sum);
    }
    case DimOp::sub: return from_terms(difference(a, b));
    case DimOp::mul: return mul(a, b);
    case DimOp::floor_div:
    case DimOp::ceil_div:
    case DimOp::trunc_div: return divide(op, a, b);
    case DimOp::mod: return mod(a, b);
    case DimOp::min:
    case DimOp::max: return minmax(op, a, b);
    case DimOp::eq:
    case DimOp::lt: {
      if (a == b) return op == DimOp::eq ? 1 : 0;
      const auto sane = [](Dim d) { return !d.is_constant() || (d.value > kMin / 4 && d.value < kMax / 4); };
      if (sane(a) && sane(b)) {
        const Range gap = range(difference(a, b), 8);
        const bool below = gap.high.value_or(0)<0, above = gap.low.value_or(0)> 0;
        if (op == DimOp::eq && (below || above)) return 0;
        if (op == DimOp::lt && below) return 1;
        if (op == DimOp::lt && gap.low.value_or(-1) >= 0) return 0;
      }
      if (op == DimOp::eq && b < a) std::swap(a, b);
      return intern({op, a, b, {}});
    }
    case DimOp::select:
      if (a.is_constant()) return a.value != 0 ? b : c;
      if (b == c) return b;
      return intern({op, a, b, c});
    case DimOp::to_fixed:
    case DimOp::to_real:
    case DimOp::range_count:
    case DimOp::symbol: break;
    case DimOp::scale:
      if (b == Dim(to_bits(1))) return a;
      break;
  }
  return intern({op, a, b, c});
}

}  // namespace headrace
