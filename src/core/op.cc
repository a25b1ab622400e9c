// Names, resolution and records of operators, all from their field lists. Text: op_text.cc.
#include "core/op.h"

#include <limits>
#include <type_traits>

#include <headrace/error.h>

#include "core/op_fields.h"

namespace headrace {

namespace {

// Bounds of what a record may hold; far above what models have.
constexpr std::size_t kMaxEntries = 1 << 20, kMaxPost = 64, kMaxCode = 4096;

constexpr int last(PoolKind) { return static_cast<int>(PoolKind::lp); }
constexpr int last(ReduceKind) { return static_cast<int>(ReduceKind::log_sum_exp); }
constexpr int last(ResizeMode) { return static_cast<int>(ResizeMode::cubic); }
constexpr int last(ResizeCoord) { return static_cast<int>(ResizeCoord::tf_crop_and_resize); }
constexpr int last(ResizeNearest) { return static_cast<int>(ResizeNearest::ceil); }
constexpr int last(PadMode) { return static_cast<int>(PadMode::wrap); }
constexpr int last(ScatterReduce) { return static_cast<int>(ScatterReduce::max); }
constexpr int last(DType) { return static_cast<int>(DType::bf16); }
constexpr int last(PwOp) { return static_cast<int>(PwOp::select); }

struct Writer {
  OpRecord& out;

  void integer(std::int64_t v) { out.ints.push_back(v); }
  void put(bool v) { integer(v ? 1 : 0); }
  void put(std::int64_t v) { integer(v); }
  void put(double v) { out.reals.push_back(v); }
  void put(const std::string& v) { out.strings.push_back(v); }
  void put(Dim v) {
    integer(v.value);
    integer(v.expr);
  }
  template <class E>
  requires std::is_enum_v<E>
  void put(E v) { integer(static_cast<std::int64_t>(v)); }
  template <class T>
  void put(const std::vector<T>& v) {
    integer(static_cast<std::int64_t>(v.size()));
    for (const T& x : v) put(x);
  }
  void put(Real v) {
    put(v.value);
    integer(v.expr);
  }
  void put(const Post& v) {
    put(v.op);
    put(v.alpha);
    put(v.beta);
  }
  void put(const PwInstr& v) {
    put(v.op);
    put(v.dtype);
    integer(v.a);
    integer(v.b);
    integer(v.c);
    integer(v.imm);
    put(v.alpha);
    put(v.beta);
  }
  void put(const PwExpr& v) { put(v.code); }
};

struct Reader {
  const OpRecord& in;
  std::size_t int_at = 0, real_at = 0, string_at = 0;
  std::string_view field;

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::invalid_plan, "operator record '" + in.id.substr(0, 64) + "', field '" +
                                             std::string(field) + "': " + what + "; the plan is damaged");
  }
  std::int64_t integer() {
    if (int_at >= in.ints.size()) fail("too few integers");
    return in.ints[int_at++];
  }
  std::int64_t between(std::int64_t low, std::int64_t high) {
    const std::int64_t v = integer();
    if (v < low || v > high) {
      fail(std::to_string(v) + " is not between " + std::to_string(low) + " and " + std::to_string(high));
    }
    return v;
  }
  void get(bool& v) { v = between(0, 1) == 1; }
  void get(std::int64_t& v) { v = integer(); }
  void get(double& v) {
    if (real_at >= in.reals.size()) fail("too few reals");
    v = in.reals[real_at++];
  }
  void get(std::string& v) {
    if (string_at >= in.strings.size()) fail("too few strings");
    v = in.strings[string_at++];
  }
  void get(Dim& v) {
    v.value = integer();
    v.expr = static_cast<std::int32_t>(between(-1, std::numeric_limits<std::int32_t>::max()));
    if (v.expr >= 0 && v.value != 0) fail("a dim is both a number and an expression");
  }
  void get(Real& v) {
    get(v.value);
    v.expr = static_cast<std::int32_t>(between(-1, std::numeric_limits<std::int32_t>::max()));
    if (v.expr >= 0 && v.value != 0) fail("a real is both a number and an expression");
  }
  template <class E>
  requires std::is_enum_v<E>
  void get(E& v) { v = static_cast<E>(between(0, last(E{}))); }
  template <class T>
  void get(std::vector<T>& v, std::size_t limit = kMaxEntries) {
    v.resize(length<T>(limit));
    for (T& x : v) get(x);
  }
  /// A length that what is left of the record can fill.
  template <class T>
  std::size_t length(std::size_t limit) {
    const std::int64_t n = between(0, static_cast<std::int64_t>(limit));
    const std::size_t left = std::is_same_v<T, double> ? in.reals.size() - real_at : in.ints.size() - int_at;
    if (static_cast<std::size_t>(n) > left) fail("length " + std::to_string(n) + " exceeds the record");
    return static_cast<std::size_t>(n);
  }
  void get(std::vector<Post>& v) {
    v.resize(length<Post>(kMaxPost));
    for (Post& p : v) {
      get(p.op);
      get(p.alpha);
      get(p.beta);
    }
  }
  void get(PwExpr& v) {
    const std::size_t n = length<PwInstr>(kMaxCode);
    if (n == 0) fail("the expression is empty");
    for (std::size_t i = 0; i < n; ++i) {
      PwInstr instr;
      get(instr.op);
      get(instr.dtype);
      std::int32_t* operands[] = {&instr.a, &instr.b, &instr.c};
      for (int k = 0; k < 3; ++k) {
        const bool loads = instr.op == PwOp::load && k == 0;
        const bool used = loads || k < arity(instr.op);
        // An operand is an earlier instruction; the index of a load is checked against the inputs by
        // infer_types.
        const std::int64_t most = loads ? kMaxEntries : static_cast<std::int64_t>(i) - 1;
        *operands[k] = static_cast<std::int32_t>(used ? between(0, most) : between(-1, -1));
      }
      get(instr.imm);
      get(instr.alpha);
      get(instr.beta);
      v.code.push_back(instr);
    }
  }
};

/// f(Op of index i)
template <std::size_t I = 0, class F>
bool with_op_named(std::string_view wanted, F&& f) {
  if constexpr (I == std::variant_size_v<Op>) {
    return false;
  } else {
    Op op{std::in_place_index<I>};
    if (name(op) != wanted) return with_op_named<I + 1>(wanted, f);
    f(op);
    return true;
  }
}

std::int64_t value_of(std::int32_t expr, std::span<const std::int64_t> values) {
  if (static_cast<std::size_t>(expr) >= values.size()) {
    throw Error(ErrorCode::invalid_plan, "operator refers to shape expression " + std::to_string(expr) +
                                             " of " + std::to_string(values.size()));
  }
  return values[static_cast<std::size_t>(expr)];
}
void resolve_field(Dim& d, std::span<const std::int64_t> values) {
  if (!d.is_constant()) d = value_of(d.expr, values);
}
void resolve_field(Real& r, std::span<const std::int64_t> values) {
  if (!r.is_constant()) r = from_bits(value_of(r.expr, values));
}
void resolve_field(Dims& dims, std::span<const std::int64_t> values) {
  for (Dim& d : dims) resolve_field(d, values);
}
void resolve_field(Reals& reals, std::span<const std::int64_t> values) {
  for (Real& r : reals) resolve_field(r, values);
}
template <class T>
void resolve_field(T&, std::span<const std::int64_t>) {}

}  // namespace

std::string_view name(const Op& op) {
  constexpr std::string_view names[] = {
#define X(Name) #Name,
      HEADRACE_OPS(X)
#undef X
  };
  return names[op.index()];
}

Op resolve(const Op& op, std::span<const std::int64_t> values) {
  Op out = op;
  std::visit(
      [&](auto& o) { fields(o, [&](std::string_view, auto& field) { resolve_field(field, values); }); }, out);
  return out;
}

OpRecord to_record(const Op& op) {
  OpRecord out;
  out.id = name(op);
  Writer writer{out};
  std::visit(
      [&](const auto& o) { fields(o, [&](std::string_view, const auto& field) { writer.put(field); }); }, op);
  return out;
}

Op from_record(const OpRecord& record) {
  Op out;
  Reader reader{record};
  const bool known = with_op_named(record.id, [&](Op& op) {
    const auto read = [&](std::string_view name, auto& field) {
      reader.field = name;
      reader.get(field);
    };
    std::visit([&](auto& o) { fields(o, read); }, op);
    out = std::move(op);
  });
  if (!known) {
    throw Error(ErrorCode::invalid_plan, "unknown operator '" + record.id.substr(0, 64) +
                                             "'; the plan may come from another version of headrace");
  }
  if (reader.int_at != record.ints.size() || reader.real_at != record.reals.size() ||
      reader.string_at != record.strings.size()) {
    reader.field = "(end)";
    reader.fail("values are left over");
  }
  return out;
}

}  // namespace headrace
