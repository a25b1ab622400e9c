// cuda.scan: CumSum along any axis, any dtype and strides. Reals are summed up in double.
//
// G neighbouring threads share a row: they scan G elements at a time and carry the sum on. Where rows are
// many and not contiguous each thread has its own, so that neighbours read neighbours.
#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kBlock = 256, kManyRows = 132 * kBlock;

class ScanTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.scan"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<CumSum>(p)) return refuse("not a CumSum");
    return refuse_operands(p);
  }
  Program generate(const Problem& p, const Choice&) const override {
    const CumSum& op = *op_as<CumSum>(p);
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    const auto axis = static_cast<std::size_t>(op.axis);
    const Nest nest = make_nest_without(op.axis, src.shape, {src.strides, dst.strides});
    const std::int64_t rows = nest.count(), length = src.shape[axis];
    Program program{"cuda.scan", {}};
    if (rows == 0 || length == 0) return program;
    std::int64_t G = 1;
    if (rows < kManyRows || src.strides[axis] == 1)
      G = std::clamp<std::int64_t>(
          static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(length))), 1,
          rows * 32 >= kManyRows ? 32 : kBlock);
    const bool real = is_float(src.dtype);
    const std::string T = type_name(src.dtype);
    KernelSource k;
    k.source = fill(
        R"cuda($PRELUDE$$INDEX$
typedef $A$ Sum;
// The sum of the group's x up to this thread's, which is in it or not; `total`: of all.
template <int G, bool EXCLUSIVE> HR Sum group_scan(Sum x, Sum& total) {
  const int lane = threadIdx.x % 32, width = G < 32 ? G : 32;
#pragma unroll
  for (int d = 1; d < width; d *= 2) {
    const Sum below = __shfl_up_sync(0xffffffffu, x, d);
    if (lane % width >= d) x += below;
  }
  total = __shfl_sync(0xffffffffu, x, lane / width * width + width - 1);
  if (EXCLUSIVE) {
    x = __shfl_up_sync(0xffffffffu, x, 1);
    if (lane % width == 0) x = 0;
  }
  if (G > 32) {
    __shared__ Sum warps[8];
    const int warp = threadIdx.x / 32, first = warp / (G / 32) * (G / 32);
    __syncthreads();
    if (lane == 31) warps[warp] = total;
    __syncthreads();
    total = 0;
#pragma unroll
    for (int w = 0; w < G / 32; ++w) {
      if (first + w == warp) x += total;
      total += warps[first + w];
    }
  }
  return x;
}
extern "C" __global__ void __launch_bounds__(256) $ENTRY$(const $T$* src, $T$* dst) {
  constexpr int G = $G$;
  constexpr idx LENGTH = $LENGTH$;
  const int lane = threadIdx.x % G;
  const uidx row_ = (uidx)blockIdx.x * (256 / G) + threadIdx.x / G;
  const bool active = row_ < (uidx)$ROWS$ULL;
  const uidx row = active ? row_ : 0;
  idx from = 0, to = 0;
  $ROW$  Sum carry = 0;
  for (idx first = 0; first < LENGTH; first += G) {
    const idx i = first + lane, at = $AT$;
    const bool in = active && i < LENGTH;
    const Sum x = in ? (Sum)reg(src[from + at * (idx)$FROM$]) : (Sum)0;
    Sum total;
    const Sum sum = group_scan<G, $EXCLUSIVE$>(x, total);
    if (in) dst[to + at * (idx)$TO$] = Store<$T$>::of($RESULT$);
    carry += total;
  }
}
)cuda",
        {{"PRELUDE", std::string(kPrelude)},
         {"INDEX", index_types(is_wide(make_nest(src.shape, {src.strides, dst.strides})))},
         {"A", real ? "double" : "u64"},
         {"ENTRY", kEntry},
         {"T", T},
         {"G", std::to_string(G)},
         {"LENGTH", std::to_string(length)},
         {"ROWS", std::to_string(rows)},
         {"ROW", decompose(nest, "row", {"from", "to"})},
         {"AT", op.reverse ? "LENGTH - 1 - i" : "i"},
         {"FROM", std::to_string(src.strides[axis])},
         {"TO", std::to_string(dst.strides[axis])},
         {"EXCLUSIVE", op.exclusive ? "true" : "false"},
         {"RESULT", real ? "carry + sum" : "(i64)(carry + sum)"}});
    k.geometry = linear_geometry(divide_up(rows, kBlock / G), 1);
    k.geometry.block[0] = kBlock;
    k.operands = {0, 1};
    program.launches.push_back(std::move(k));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_scan() { return std::make_unique<ScanTactic>(); }

}  // namespace headrace::cuda
