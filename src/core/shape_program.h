// Symbolic integer arithmetic on dimensions, as data.
//
// Problem: output shapes, slice bounds, reshape targets of a network with dynamic inputs are integer
// functions of the inputs' extents (and of the values of small integer inputs). They must be known before any
// kernel runs, and the functions must travel in the plan. Contract: a `Dim` is either a number or a reference
// to an expression of one `ShapeProgram`. Expressions are hash-consed and simplified on creation, so equal
// expressions have equal Dims: `==` is structural equality. A program is evaluated once per shape key, on the
// host, never per inference. Real run-time values (the scales of a Resize) take part as bits or in fixed
// point. What must hold of run-time values is a condition of the program, checked by `evaluate`. Use: Dim n =
// program.symbol("N", {SymbolSource::dim, 0, 0}); Dim m = program.add(program.mul(n, Dim(2)), Dim(1));
//      std::vector<int64_t> v = program.evaluate(symbol_values); int64_t x = resolve(m, v);
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include <headrace/types.h>

namespace headrace {

class ShapeAlgebra;

/// A number, or expression `expr` of a ShapeProgram.
struct Dim {
  std::int64_t value = 0;  ///< meaningful when is_constant()
  std::int32_t expr = -1;  ///< index into ShapeProgram::exprs, -1: a constant
  constexpr Dim() = default;
  constexpr Dim(std::int64_t v) : value(v) {}  // NOLINT: a number is a Dim
  static constexpr Dim of_expr(std::int32_t e) {
    Dim d;
    d.expr = e;
    return d;
  }
  constexpr bool is_constant() const { return expr < 0; }
  friend auto operator<=>(const Dim&, const Dim&) = default;
};
using Dims = std::vector<Dim>;

/// Dims of constants; and back, asserting that all are constant (resolved operators).
Dims to_dims(const Shape& shape);
Shape to_shape(const Dims& dims);
bool all_constant(const Dims& dims);

/// A real number in the arithmetic on integers: the bits of the double.
inline std::int64_t to_bits(double value) { return std::bit_cast<std::int64_t>(value); }
inline double from_bits(std::int64_t bits) { return std::bit_cast<double>(bits); }
/// Or, where it takes part in sums and products, fixed point: an integer in units of 1/kFixedOne.
inline constexpr std::int64_t kFixedOne = std::int64_t{1} << 32;

/// A real number, or expression `expr` of a ShapeProgram that gives the bits of one.
struct Real {
  double value = 0;        ///< meaningful when is_constant()
  std::int32_t expr = -1;  ///< as in Dim
  constexpr Real() = default;
  constexpr Real(double v) : value(v) {}  // NOLINT: a number is a Real
  static Real of_bits(Dim d) {
    Real r(d.is_constant() ? from_bits(d.value) : 0);
    r.expr = d.expr;
    return r;
  }
  Dim bits() const { return is_constant() ? Dim(to_bits(value)) : Dim::of_expr(expr); }
  constexpr bool is_constant() const { return expr < 0; }
  friend bool operator==(const Real&, const Real&) = default;
};
using Reals = std::vector<Real>;

/// Where a symbol's value comes from at run time.
struct SymbolSource {
  enum Kind : std::uint8_t { dim, value, real } kind = dim;
  std::int32_t input = 0;  ///< index of the graph input
  std::int32_t index = 0;  ///< dim: the axis; value: the flat element, an integer; real: one, its bits
  bool reads_data() const { return kind != dim; }
  friend auto operator<=>(const SymbolSource&, const SymbolSource&) = default;
};
struct Symbol {
  std::string name;
  std::vector<SymbolSource> sources;  ///< all must agree; the first one defines
  friend bool operator==(const Symbol&, const Symbol&) = default;
};

/// Division rounds as named and by zero is an Error at evaluation. Comparisons give 0 or 1.
enum class DimOp : std::uint8_t {
  symbol,
  add,
  sub,
  mul,
  floor_div,
  ceil_div,
  trunc_div,
  mod,
  min,
  max,
  eq,
  lt,
  select,
  to_fixed,    ///< of the real with bits a; Error when it is no number below 2^31
  to_real,     ///< bits of a / b
  scale,       ///< floor(a * real b) with b > 0, the product rounded as that of floats: 10 * 0.7f is 7
  range_count  ///< max(0, ceil((real b - real a) / real c)): elements of the range from a to b by c
};
inline constexpr DimOp kLastDimOp = DimOp::range_count;
int arity(DimOp op);  ///< operands; 0 for a symbol

struct DimExpr {
  DimOp op = DimOp::symbol;
  Dim a, b, c;  ///< symbol: a.value is its index; select: a ? b : c
  friend auto operator<=>(const DimExpr&, const DimExpr&) = default;
};

/// What must hold of the values that a program is evaluated for.
struct Condition {
  Dim holds;            ///< not 0
  std::string message;  ///< of the Error when it is 0
  friend bool operator==(const Condition&, const Condition&) = default;
};

class ShapeProgram {
 public:
  /// A named symbol; a second source with the same name adds a run-time equality check.
  Dim symbol(const std::string& name, SymbolSource source);
  Dim add(Dim a, Dim b);
  Dim sub(Dim a, Dim b);
  Dim mul(Dim a, Dim b);
  Dim floor_div(Dim a, Dim b);
  Dim ceil_div(Dim a, Dim b);
  Dim trunc_div(Dim a, Dim b);
  Dim mod(Dim a, Dim b);  ///< sign follows the divisor (Python)
  Dim min(Dim a, Dim b);
  Dim max(Dim a, Dim b);
  Dim eq(Dim a, Dim b);
  Dim lt(Dim a, Dim b);
  Dim select(Dim condition, Dim if_true, Dim if_false);
  Dim to_fixed(Real r);
  Real to_real(Dim a, Dim b);  ///< a / b
  Dim scale(Dim extent, Real factor);
  Dim range_count(Real start, Real limit, Real delta);
  Dim product(std::span<const Dim> dims);
  Dim make(DimOp op, Dim a, Dim b, Dim c = {});  ///< the general form; simplifies and interns
  /// `evaluate` throws Error(invalid_argument, message) where `condition` is 0; so does this when it always
  /// is.
  void require(Dim condition, const std::string& message);

  /// Values of all expressions for these symbol values (in order of `symbols()`); Error on overflow, division
  /// by 0 and conditions that do not hold.
  std::vector<std::int64_t> evaluate(std::span<const std::int64_t> symbol_values) const;

  const std::vector<Symbol>& symbols() const { return symbols_; }
  const std::vector<DimExpr>& exprs() const { return exprs_; }
  const std::vector<Condition>& conditions() const { return conditions_; }
  /// "N", "2*N+1", "7": for people and text forms.
  std::string to_string(Dim d) const;
  std::string to_string(const Dims& dims) const;  ///< "Nx3x(2*H)x224"

  /// Rebuilds a program from plan data; Error(invalid_plan) when an expression refers forward or out of
  /// range.
  static ShapeProgram from_data(std::vector<Symbol> symbols, std::vector<DimExpr> exprs,
                                std::vector<Condition> conditions = {});
  friend bool operator==(const ShapeProgram& a, const ShapeProgram& b) {
    return a.symbols_ == b.symbols_ && a.exprs_ == b.exprs_ && a.conditions_ == b.conditions_;
  }

 private:
  friend class ShapeAlgebra;  // core/shape_algebra.cc: the simplifier
  void check_conditions(std::span<const std::int64_t> values) const;
  std::vector<Symbol> symbols_;
  std::vector<DimExpr> exprs_;  ///< operands refer to earlier entries only
  std::map<DimExpr, std::int32_t> interned_;
  std::vector<Condition> conditions_;
};

/// The number behind `d`, given `values` from ShapeProgram::evaluate.
inline std::int64_t resolve(Dim d, std::span<const std::int64_t> values) {
  return d.is_constant() ? d.value : values[static_cast<std::size_t>(d.expr)];
}
Shape resolve(const Dims& dims, std::span<const std::int64_t> values);

}  // namespace headrace
