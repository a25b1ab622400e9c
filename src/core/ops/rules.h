// Shape rules of the core operators: one overload of `infer` per operator, and what they share.
//
// The rules are the one place that says which inputs an operator takes. They run on symbolic types when a
// graph is built and on concrete ones before a plan's kernels are made, so they are also the guard against a
// stranger's plan: what passes here with numbers only may be executed memory-safely.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/op.h"

namespace headrace::rules {

inline constexpr std::size_t kMaxRank = 16;
inline constexpr std::int64_t kMaxStep = std::int64_t{1} << 31;  ///< of strides, dilations, kernels

/// The inputs of one operator, with checks that name it when they fail.
struct Inputs {
  std::string_view op;
  std::span<const ValueType> types;
  ShapeProgram& program;

  const ValueType& operator[](std::size_t i) const { return types[i]; }
  std::size_t size() const { return types.size(); }
  std::size_t rank(std::size_t i) const { return types[i].shape.size(); }
  [[noreturn]] void fail(const std::string& what) const;  ///< Error(invalid_model)
  std::string show(std::size_t i) const;                  ///< "input 1 (f32[Nx3])"
  void count(std::size_t least, std::size_t most) const;
  void same_dtype(std::size_t first, std::size_t last) const;  ///< of inputs [first, last)
  void need_float(std::size_t i) const;
  void need_index(std::size_t i) const;  ///< i32 or i64
  std::size_t axis(std::int64_t axis, std::size_t rank) const;
  void entries(std::size_t have, std::size_t want, std::string_view field) const;
  /// The common extent; fails when both are numbers and differ.
  Dim unify(Dim a, Dim b, const std::string& what) const;
  Dims broadcast(const Dims& a, const Dims& b) const;
  /// Fails unless input i broadcasts to `shape` without changing it.
  void broadcasts_to(std::size_t i, const Dims& shape) const;
  /// Checks steps of `post` and its operands, inputs [first, size()).
  void post(const std::vector<Post>& post, std::size_t first, const ValueType& dst) const;
};

using Types = std::vector<ValueType>;
#define X(Name) Types infer(const Name& op, const Inputs& in);
HEADRACE_OPS(X)
#undef X

/// Fails unless the expression's dtypes fit; returns the result's dtype.
DType check_expr(const PwExpr& expr, const Inputs& in);

}  // namespace headrace::rules
