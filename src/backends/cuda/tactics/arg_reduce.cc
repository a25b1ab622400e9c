// cuda.arg_reduce: ArgMax and ArgMin along any axis, any dtype and strides. NaN wins.
#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

class ArgReduceTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.arg_reduce"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<ArgReduce>(p)) return refuse("not an ArgReduce");
    return refuse_operands(p);
  }
  Program generate(const Problem& p, const Choice&) const override {
    const ArgReduce& op = *op_as<ArgReduce>(p);
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    const auto axis = static_cast<std::size_t>(op.axis);
    Strides to = dst.strides;
    if (!op.keep_dims) to.insert(to.begin() + op.axis, 0);
    const Nest nest = make_nest_without(op.axis, src.shape, {src.strides, to});
    const std::int64_t rows = nest.count(), n = src.shape[axis];
    Program program{"cuda.arg_reduce", {}};
    if (rows == 0) return program;
    // Threads side by side share a row that is contiguous or long, else each has its own.
    std::int64_t G = 1;
    if (src.strides[axis] == 1 || rows < 4096)
      G = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::bit_floor(
                                       static_cast<std::uint64_t>(std::max<std::int64_t>(1, n / 2)))),
                                   1, rows >= 132 * 8 ? 32 : 256);
    const bool real = is_float(src.dtype);
    const char* u = src.dtype == DType::u64 ? "(u64)" : "";
    const std::string compare = fmt::format("{0}b.x {1} {0}a.x", u, op.is_max ? ">" : "<");
    const std::string better = real ? fmt::format("a.x == a.x && (b.x != b.x || {})", compare) : compare;
    const std::string equal = real ? "(b.x == a.x || (b.x != b.x && a.x != a.x))" : "b.x == a.x";
    KernelSource k;
    k.source = fill(R"cuda($PRELUDE$$INDEX$
struct Acc { $R$ x; idx i; };
HR Acc lane(Acc a, int mask) { a.x = from_lane(a.x, mask); a.i = from_lane(a.i, mask); return a; }
HR void merge(Acc& a, const Acc& b) {
  if (b.i < 0) return;
  if (a.i < 0 || ($BETTER$) || ($EQUAL$ && $ORDER$)) a = b;
}
$GROUP$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$(const $SRC$* src, $DST$* dst) {
  constexpr int G = $G$;
  const uidx row_ = (uidx)blockIdx.x * (256 / G) + threadIdx.x / G;
  const bool active = row_ < (uidx)$ROWS$ULL;
  const uidx row = active ? row_ : 0;
  idx from = 0, to = 0;
  $DECOMPOSE$  Acc acc; acc.x = 0; acc.i = -1;
#pragma unroll 8
  for (idx i = threadIdx.x % G; i < (idx)$N$LL; i += G) {
    Acc next; next.x = reg(src[from + (idx)i * (idx)$STRIDE$]); next.i = i;
    merge(acc, next);
  }
  group_merge<G>(acc);
  if (active && threadIdx.x % G == 0) dst[to] = ($DST$)(acc.i < 0 ? 0 : acc.i);
}
)cuda",
                    {{"PRELUDE", std::string(kPrelude)},
                     {"INDEX", index_types(is_wide(nest) ||
                                           nest.span(0) + n * std::abs(src.strides[axis]) >= INT32_MAX / 2)},
                     {"R", register_name(src.dtype)},
                     {"BETTER", better},
                     {"EQUAL", equal},
                     {"ORDER", op.select_last ? "b.i > a.i" : "b.i < a.i"},
                     {"GROUP", std::string(kGroupPrelude)},
                     {"ENTRY", kEntry},
                     {"SRC", type_name(src.dtype)},
                     {"DST", type_name(dst.dtype)},
                     {"G", std::to_string(G)},
                     {"ROWS", std::to_string(rows)},
                     {"DECOMPOSE", decompose(nest, "row", {"from", "to"})},
                     {"N", std::to_string(n)},
                     {"STRIDE", std::to_string(src.strides[axis])}});
    k.geometry = linear_geometry(divide_up(rows, 256 / G), 1);
    k.geometry.block[0] = 256;
    k.operands = {0, 1};
    program.launches.push_back(std::move(k));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_arg_reduce() { return std::make_unique<ArgReduceTactic>(); }

}  // namespace headrace::cuda
