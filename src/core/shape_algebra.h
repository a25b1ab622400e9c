// Simplification of shape expressions: sums of products with integer coefficients in one canonical form.
//
// Problem: two ways to compute the same extent should give the same Dim, or shapes of a network cannot be
// compared before its inputs are known. Contract: every function returns an interned Dim whose value equals
// the operation's on all symbol values where that is defined. Work is bounded for any program, also a
// stranger's.
#pragma once

#include <map>
#include <optional>

#include "core/shape_program.h"

namespace headrace {

class ShapeAlgebra {
 public:
  explicit ShapeAlgebra(ShapeProgram& program) : program_(program) {}
  Dim make(DimOp op, Dim a, Dim b, Dim c);
  Dim intern(const DimExpr& expr);

  using Monomial = Dims;  ///< sorted factors; empty: the constant term
  using Terms = std::map<Monomial, std::int64_t>;
  static Terms terms(const ShapeProgram& program, Dim d);
  /// The least and the greatest possible value, where known. Extents are at least 0.
  struct Range {
    std::optional<std::int64_t> low, high;
  };
  Range range(Dim d, int depth = 8) const;

 private:
  Dim from_terms(const Terms& terms);
  Terms difference(Dim a, Dim b) const;
  Dim mul(Dim a, Dim b);
  Dim divide(DimOp op, Dim a, Dim b);
  Dim mod(Dim a, Dim b);
  Dim minmax(DimOp op, Dim a, Dim b);
  Range range(const Terms& terms, int depth) const;
  ShapeProgram& program_;
};

/// The operation on numbers; Error(invalid_argument) on overflow and on division by zero.
std::int64_t apply(DimOp op, std::int64_t a, std::int64_t b, std::int64_t c);

}  // namespace headrace
