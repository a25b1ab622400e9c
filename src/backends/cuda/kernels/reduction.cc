#include "backends/cuda/kernels/reduction.h"

#include <fmt/format.h>

#include "backends/cuda/codegen.h"

namespace headrace::cuda {
namespace {

constexpr std::string_view kSimple = R"cuda(
struct Acc { $R$ a; };
HR Acc make_acc() { Acc r; r.a = $START$; return r; }
HR void add(Acc& acc, $IN$ x_) { const $R$ x = ($R$)x_; $ADD$ }
HR void merge(Acc& acc, const Acc& other) { const $R$ x = other.a; $MERGE$ }
HR Acc lane(Acc acc, int mask) { acc.a = from_lane(acc.a, mask); return acc; }
HR $R$ finish(const Acc& acc) { return $FINISH$; }
)cuda";

constexpr std::string_view kLogSumExp = R"cuda(
struct Acc { $R$ m, s; };
HR Acc make_acc() { Acc r; r.m = ($R$)-HR_INF; r.s = 0; return r; }
HR void merge(Acc& acc, const Acc& o) {
  if (acc.m != acc.m || o.m == ($R$)-HR_INF) return;
  if (o.m != o.m) { acc.m = o.m; return; }
  if (o.m == acc.m) { acc.s += o.s; }
  else if (o.m < acc.m) { acc.s += o.s * m_exp(o.m - acc.m); }
  else { acc.s = acc.s * m_exp(acc.m - o.m) + o.s; acc.m = o.m; }
}
HR void add(Acc& acc, $IN$ x) { Acc o; o.m = ($R$)x; o.s = 1; merge(acc, o); }
HR Acc lane(Acc acc, int mask) { acc.m = from_lane(acc.m, mask); acc.s = from_lane(acc.s, mask); return acc; }
HR $R$ finish(const Acc& acc) { return acc.m - acc.m == 0 ? acc.m + m_log(acc.s) : acc.m; }
)cuda";

std::string start_value(ReduceKind kind, DType dtype, bool real) {
  if (kind == ReduceKind::prod) return "1";
  if (kind != ReduceKind::max && kind != ReduceKind::min) return "0";
  const bool is_max = kind == ReduceKind::max;
  if (real) return is_max ? "-HR_INF" : "HR_INF";
  if (dtype == DType::boolean) return is_max ? "0" : "1";
  const std::int64_t bits = 8 * static_cast<std::int64_t>(size_bytes(dtype));
  if (is_unsigned_int(dtype)) return is_max ? "0" : literal(bits == 64 ? -1 : (std::int64_t{1} << bits) - 1);
  return literal((is_max ? INT64_MIN : INT64_MAX) >> (64 - bits));
}

}  // namespace

Reduction make_reduction(ReduceKind kind, DType src, DType dst, std::int64_t count) {
  const bool real = is_float(src) || kind == ReduceKind::l2 || kind == ReduceKind::log_sum ||
                    kind == ReduceKind::log_sum_exp;
  const std::string R = !real ? "i64" : src == DType::f32 || is_half(src) ? "float" : "double";
  const char* u = src == DType::u64 ? "(u64)" : "";
  std::string sum = real ? "acc.a += x;" : "acc.a = (i64)((u64)acc.a + (u64)x);", take = sum;
  std::string finish = "acc.a";
  switch (kind) {
    case ReduceKind::sum: break;
    case ReduceKind::mean:
      if (real)
        finish = fmt::format("acc.a / ({}){}", R, count);
      else
        finish = count == 0 ? "0" : fmt::format("(i64)({0}acc.a / {0}{1}LL)", u, count);
      break;
    case ReduceKind::max:
    case ReduceKind::min:
      take = sum = real ? fmt::format("acc.a = {}(x, acc.a);", kind == ReduceKind::max ? "m_max" : "m_min")
                        : fmt::format("acc.a = {0}x {1} {0}acc.a ? x : acc.a;", u,
                                      kind == ReduceKind::max ? ">" : "<");
      break;
    case ReduceKind::prod: take = sum = real ? "acc.a *= x;" : "acc.a = (i64)((u64)acc.a * (u64)x);"; break;
    case ReduceKind::l1:
      take = real                 ? "acc.a += m_fabs(x);"
             : is_signed_int(src) ? "acc.a = (i64)((u64)acc.a + (x < 0 ? 0 - (u64)x : (u64)x));"
                                  : sum;
      break;
    case ReduceKind::l2: finish = "m_sqrt(acc.a)"; [[fallthrough]];
    case ReduceKind::sum_square:
      take = real ? "acc.a += x * x;" : "acc.a = (i64)((u64)acc.a + (u64)x * (u64)x);";
      break;
    case ReduceKind::log_sum: finish = "m_log(acc.a)"; break;
    case ReduceKind::log_sum_exp: break;
  }
  const bool lse = kind == ReduceKind::log_sum_exp;
  Reduction r;
  std::string in = register_name(src);
  r.text = fill(lse ? kLogSumExp : kSimple, {{"R", R},
                                             {"IN", in},
                                             {"START", start_value(kind, src, real)},
                                             {"ADD", take},
                                             {"MERGE", sum},
                                             {"FINISH", finish}});
  const std::string T = type_name(dst);
  if (dst == DType::boolean)
    r.result = "(u8)(finish(acc) != 0)";
  else if (real && !is_float(dst))
    r.result = fmt::format("({})int_of(finish(acc))", T);
  else
    r.result = fmt::format("Store<{}>::of(finish(acc))", T);
  r.acc_bytes = (R == "float" ? 4 : 8) * (lse ? 2 : 1);
  return r;
}

}  // namespace headrace::cuda
