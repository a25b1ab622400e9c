#include "core/shape_program.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include <headrace/error.h>

#include "core/shape_algebra.h"

namespace headrace {

Dims to_dims(const Shape& shape) { return {shape.begin(), shape.end()}; }

Shape to_shape(const Dims& dims) {
  Shape shape;
  shape.reserve(dims.size());
  for (const Dim d : dims) {
    if (!d.is_constant())
      throw Error(ErrorCode::internal, "to_shape: a dim is symbolic; resolve the operator first");
    shape.push_back(d.value);
  }
  return shape;
}

bool all_constant(const Dims& dims) {
  return std::all_of(dims.begin(), dims.end(), [](Dim d) { return d.is_constant(); });
}

Shape resolve(const Dims& dims, std::span<const std::int64_t> values) {
  Shape shape;
  shape.reserve(dims.size());
  for (const Dim d : dims) {
    if (!d.is_constant() && static_cast<std::size_t>(d.expr) >= values.size()) {
      throw Error(ErrorCode::invalid_plan, "a dim refers to shape expression " + std::to_string(d.expr) +
                                               " of " + std::to_string(values.size()));
    }
    shape.push_back(resolve(d, values));
  }
  return shape;
}

Dim ShapeProgram::symbol(const std::string& name, SymbolSource source) {
  for (std::size_t i = 0; i < symbols_.size(); ++i) {
    if (symbols_[i].name != name) continue;
    auto& sources = symbols_[i].sources;
    if (std::find(sources.begin(), sources.end(), source) == sources.end()) sources.push_back(source);
    return make(DimOp::symbol, static_cast<std::int64_t>(i), {});
  }
  symbols_.push_back({name, {source}});
  return make(DimOp::symbol, static_cast<std::int64_t>(symbols_.size()) - 1, {});
}

Dim ShapeProgram::make(DimOp op, Dim a, Dim b, Dim c) { return ShapeAlgebra(*this).make(op, a, b, c); }
Dim ShapeProgram::add(Dim a, Dim b) { return make(DimOp::add, a, b); }
Dim ShapeProgram::sub(Dim a, Dim b) { return make(DimOp::sub, a, b); }
Dim ShapeProgram::mul(Dim a, Dim b) { return make(DimOp::mul, a, b); }
Dim ShapeProgram::floor_div(Dim a, Dim b) { return make(DimOp::floor_div, a, b); }
Dim ShapeProgram::ceil_div(Dim a, Dim b) { return make(DimOp::ceil_div, a, b); }
Dim ShapeProgram::trunc_div(Dim a, Dim b) { return make(DimOp::trunc_div, a, b); }
Dim ShapeProgram::mod(Dim a, Dim b) { return make(DimOp::mod, a, b); }
Dim ShapeProgram::min(Dim a, Dim b) { return make(DimOp::min, a, b); }
Dim ShapeProgram::max(Dim a, Dim b) { return make(DimOp::max, a, b); }
Dim ShapeProgram::eq(Dim a, Dim b) { return make(DimOp::eq, a, b); }
Dim ShapeProgram::lt(Dim a, Dim b) { return make(DimOp::lt, a, b); }
Dim ShapeProgram::select(Dim condition, Dim if_true, Dim if_false) {
  return make(DimOp::select, condition, if_true, if_false);
}

Dim ShapeProgram::to_fixed(Real r) { return make(DimOp::to_fixed, r.bits(), {}); }
Dim ShapeProgram::scale(Dim extent, Real factor) { return make(DimOp::scale, extent, factor.bits()); }
Dim ShapeProgram::range_count(Real start, Real limit, Real delta) {
  return make(DimOp::range_count, start.bits(), limit.bits(), delta.bits());
}
Real ShapeProgram::to_real(Dim a, Dim b) { return Real::of_bits(make(DimOp::to_real, a, b)); }

Dim ShapeProgram::product(std::span<const Dim> dims) {
  if (std::find(dims.begin(), dims.end(), Dim(0)) != dims.end()) return 0;
  Dim out = 1;
  for (const Dim d : dims) out = mul(out, d);
  return out;
}

void ShapeProgram::require(Dim condition, const std::string& message) {
  if (condition == Dim(0)) throw Error(ErrorCode::invalid_argument, message);
  const Condition added{condition, message};
  const bool known = std::find(conditions_.begin(), conditions_.end(), added) != conditions_.end();
  if (!condition.is_constant() && !known) conditions_.push_back(added);
}

/// `values` may be the first ones only: then of the conditions on these.
void ShapeProgram::check_conditions(std::span<const std::int64_t> values) const {
  for (const Condition& c : conditions_) {
    if (!c.holds.is_constant() && static_cast<std::size_t>(c.holds.expr) >= values.size()) continue;
    if (headrace::resolve(c.holds, values) == 0) throw Error(ErrorCode::invalid_argument, c.message);
  }
}

std::vector<std::int64_t> ShapeProgram::evaluate(std::span<const std::int64_t> symbol_values) const {
  if (symbol_values.size() != symbols_.size()) {
    throw Error(ErrorCode::internal, "shape program: " + std::to_string(symbols_.size()) + " symbols, " +
                                         std::to_string(symbol_values.size()) + " values");
  }
  std::vector<std::int64_t> values;
  values.reserve(exprs_.size());
  for (const DimExpr& e : exprs_) {
    if (e.op == DimOp::symbol) {
      values.push_back(symbol_values[static_cast<std::size_t>(e.a.value)]);
      continue;
    }
    try {
      values.push_back(apply(e.op, headrace::resolve(e.a, values), headrace::resolve(e.b, values),
                             headrace::resolve(e.c, values)));
    } catch (Error& error) {
      check_conditions(values);  // a condition says better what is wrong
      const Dim d = Dim::of_expr(static_cast<std::int32_t>(values.size()));
      throw error.add_context("while computing the extent " + to_string(d));
    }
  }
  check_conditions(values);
  return values;
}

namespace {

constexpr std::string_view kDimOpNames[] = {
    "symbol", "add", "sub", "mul",    "floor_div", "ceil_div", "trunc_div", "mod",        "min",
    "max",    "eq",  "lt",  "select", "to_fixed",  "to_real",  "scale",     "range_count"};
constexpr std::size_t kMaxText = 2000;  // a stranger's program may describe a text of any length

std::string symbol_text(const std::string& name) {
  // 'x' separates extents, so a name with it is quoted.
  const bool plain = !name.empty() && (std::isalpha(static_cast<unsigned char>(name[0])) || name[0] == '_') &&
                     std::all_of(name.begin(), name.end(),
                                 [](unsigned char c) { return (std::isalnum(c) || c == '_') && c != 'x'; });
  if (plain) return name;
  std::string out = "'";
  for (const char c : name) out += c == '\'' || static_cast<unsigned char>(c) < 32 ? '_' : c;
  return out + "'";
}

/// Text of d; does not depend on the numbers of expressions, so that it survives a round trip.
std::string text(const ShapeProgram& program, Dim d, int& budget) {
  if (d.is_constant()) return std::to_string(d.value);
  if (--budget < 0 || static_cast<std::size_t>(d.expr) >= program.exprs().size()) return "...";
  const DimExpr& e = program.exprs()[static_cast<std::size_t>(d.expr)];
  if (e.op == DimOp::symbol) {
    const auto i = static_cast<std::size_t>(e.a.value);
    return i < program.symbols().size() ? symbol_text(program.symbols()[i].name) : "...";
  }
  if (e.op == DimOp::add || e.op == DimOp::sub || e.op == DimOp::mul) {
    const ShapeAlgebra::Terms terms = ShapeAlgebra::terms(program, d);
    struct Term {
      std::size_t degree;
      std::string text;
      std::int64_t factor;
    };
    std::vector<Term> parts;
    for (const auto& [factors, k] : terms) {
      if (factors == Dims{d}) return "...";
      std::vector<std::string> texts;
      for (const Dim f : factors) {
        std::string t = text(program, f, budget);
        if (t.size() > kMaxText) return "...";
        const bool sum =
            !f.is_constant() && (program.exprs()[static_cast<std::size_t>(f.expr)].op == DimOp::add ||
                                 program.exprs()[static_cast<std::size_t>(f.expr)].op == DimOp::sub);
        texts.push_back(sum ? "(" + t + ")" : t);
      }
      std::sort(texts.begin(), texts.end());
      std::string joined;
      for (const std::string& t : texts) joined += (joined.empty() ? "" : "*") + t;
      parts.push_back({factors.size(), joined, k});
    }
    std::sort(parts.begin(), parts.end(), [](const Term& x, const Term& y) {
      return x.degree != y.degree ? x.degree > y.degree : x.text < y.text;
    });
    // A positive term comes first where there is one.
    const auto first = std::find_if(parts.begin(), parts.end(), [](const Term& t) { return t.factor > 0; });
    if (first != parts.end() && first->degree > 0) std::rotate(parts.begin(), first, first + 1);
    std::string out;
    for (const Term& t : parts) {
      if (t.factor < 0)
        out += '-';
      else if (!out.empty())
        out += '+';
      const std::string k = std::to_string(t.factor).substr(t.factor < 0 ? 1 : 0);
      if (t.degree == 0)
        out += k;
      else
        out += (k == "1" ? "" : k + "*") + t.text;
      if (out.size() > kMaxText) return "...";
    }
    return parts.empty() ? "0" : out;
  }
  // Bits of a real that is a number are shown as the number.
  const auto real = [&](Dim x) {
    if (!x.is_constant()) return text(program, x, budget);
    char buffer[40];
    return "real(" +
           std::string(buffer, std::to_chars(buffer, buffer + sizeof buffer, from_bits(x.value)).ptr) + ")";
  };
  std::vector<std::string> operands;
  int k = 0;
  for (const Dim x : {e.a, e.b, e.c}) {
    if (k >= arity(e.op)) break;
    const bool is_real =
        e.op == DimOp::to_fixed || e.op == DimOp::range_count || (e.op == DimOp::scale && k == 1);
    operands.push_back(is_real ? real(x) : text(program, x, budget));
    ++k;
  }
  if (e.op == DimOp::min || e.op == DimOp::max || e.op == DimOp::eq)
    std::sort(operands.begin(), operands.end());
  std::string out(kDimOpNames[static_cast<std::size_t>(e.op)]);
  for (std::size_t i = 0; i < operands.size(); ++i) out += (i == 0 ? "(" : ", ") + operands[i];
  return out.size() > kMaxText ? "..." : out + ")";
}

}  // namespace

std::string ShapeProgram::to_string(Dim d) const {
  int budget = 500;
  return text(*this, d, budget);
}

std::string ShapeProgram::to_string(const Dims& dims) const {
  if (dims.empty()) return "scalar";
  std::string out;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) out += 'x';
    const std::string t = to_string(dims[i]);
    const bool simple =
        dims[i].is_constant() || (static_cast<std::size_t>(dims[i].expr) < exprs_.size() &&
                                  exprs_[static_cast<std::size_t>(dims[i].expr)].op == DimOp::symbol);
    out += simple ? t : "(" + t + ")";
  }
  return out;
}

ShapeProgram ShapeProgram::from_data(std::vector<Symbol> symbols, std::vector<DimExpr> exprs,
                                     std::vector<Condition> conditions) {
  const auto fail = [](const std::string& what) {
    throw Error(ErrorCode::invalid_plan, "shape program: " + what + "; the plan is damaged");
  };
  if (exprs.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) fail("too large");
  for (const Symbol& s : symbols) {
    if (s.sources.empty()) fail("symbol '" + s.name + "' has no source");
    for (const SymbolSource& source : s.sources) {
      if (source.kind > SymbolSource::real || source.input < 0 || source.index < 0) {
        fail("symbol '" + s.name + "' has a bad source");
      }
    }
  }
  ShapeProgram out;
  for (std::size_t i = 0; i < exprs.size(); ++i) {
    const DimExpr& e = exprs[i];
    const std::string where = "expression " + std::to_string(i);
    if (e.op > kLastDimOp) fail(where + " has an unknown operation");
    for (const Dim d : {e.a, e.b, e.c}) {
      if (d.expr < -1 || (d.expr >= 0 && d.value != 0)) fail(where + " has a malformed operand");
      if (d.expr >= 0 && static_cast<std::size_t>(d.expr) >= i) fail(where + " refers to a later one");
    }
    if (e.op == DimOp::symbol &&
        (!e.a.is_constant() || e.a.value < 0 || static_cast<std::size_t>(e.a.value) >= symbols.size())) {
      fail(where + " names a symbol that is not there");
    }
    out.interned_.try_emplace(e, static_cast<std::int32_t>(i));
  }
  for (const Condition& c : conditions) {
    if (c.holds.expr < -1 || c.holds.expr >= static_cast<std::int32_t>(exprs.size()))
      fail("a condition refers to expression " + std::to_string(c.holds.expr));
  }
  out.conditions_ = std::move(conditions);
  out.symbols_ = std::move(symbols);
  out.exprs_ = std::move(exprs);
  return out;
}

}  // namespace headrace
