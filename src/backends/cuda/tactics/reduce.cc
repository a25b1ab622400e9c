// cuda.reduce: every Reduce, any dtype, axes and strides.
//
// When the axis that is contiguous in memory is reduced, G neighbouring threads make one result ("rows").
// When it is kept (global average pooling of channels_last), each thread makes up to 8 results from the rows
// of its lane and the block joins its lanes ("columns"). Few results of many elements are split over blocks:
// partial accumulators go to the workspace, a second launch joins them.
#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/kernels/prelude.h"
#include "backends/cuda/kernels/reduction.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kBlock = 256, kBusyThreads = 132 * 1024;

std::int64_t power_of_two(std::int64_t v) {  // the largest one up to v
  return static_cast<std::int64_t>(std::bit_floor(static_cast<std::uint64_t>(std::max<std::int64_t>(1, v))));
}

struct Reducer {
  const Problem& p;
  Nest kept, reduced;  ///< kept: src, dst; reduced: src
  Reduction reduction;
  std::int64_t count = 1, results = 1, V = 1, chunk = 1, split = 1;
  bool columns = false;

  Reducer(const Problem& problem, const Reduce& op) : p(problem) {
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    Shape kept_shape, reduced_shape;
    Strides kept_src, kept_dst, reduced_src;
    std::size_t at = 0;
    for (std::size_t i = 0; i < src.shape.size(); ++i) {
      if (std::find(op.axes.begin(), op.axes.end(), static_cast<std::int64_t>(i)) != op.axes.end()) {
        reduced_shape.push_back(src.shape[i]);
        reduced_src.push_back(src.strides[i]);
        at += op.keep_dims;
      } else {
        kept_shape.push_back(src.shape[i]);
        kept_src.push_back(src.strides[i]);
        kept_dst.push_back(dst.strides[at++]);
      }
    }
    kept = make_nest(kept_shape, {kept_src, kept_dst});
    reduced = make_nest(reduced_shape, {reduced_src});
    count = reduced.count();
    results = kept.count();
    reduction = make_reduction(op.kind, src.dtype, dst.dtype, count);
    columns = reduced.strides[0].back() != 1 && kept.strides[0].back() == 1 && kept.extents.back() > 4;
    choose_vector();
    const std::int64_t threads = columns ? results / V : results * std::min<std::int64_t>(kBlock, count / V);
    if (count >= 1024 && threads < kBusyThreads / 4)
      split = std::clamp<std::int64_t>(
          std::min(kBusyThreads / std::max<std::int64_t>(1, threads), count / V / 256), 1, 512);
  }
  /// V elements of the contiguous axis at once; rows only where they stay whole.
  void choose_vector() {
    const Nest& inner = columns ? kept : reduced;
    const std::int64_t size = static_cast<std::int64_t>(size_bytes(p.srcs[0].dtype)),
                       E = inner.extents.back();
    chunk = size;
    if (inner.strides[0].back() != 1) return;
    for (V = std::min<std::int64_t>(8, 16 / size); V > 1 && E % V != 0;) V /= 2;
    Strides steps(kept.strides[0]);
    steps.insert(steps.end(), reduced.strides[0].begin(), reduced.strides[0].end());
    for (std::int64_t& s : steps)
      if (s == 1) s = V;
    chunk = V > 1 ? access_bytes(V, size, steps) : size;
  }

  std::string head(bool wide) const {
    return std::string(kPrelude) + std::string(kIntegerPrelude) + reduction.text +
           std::string(kGroupPrelude) + index_types(wide);
  }
  std::string src_type() const { return type_name(p.srcs[0].dtype); }
  std::string dst_type() const { return type_name(p.dsts[0].dtype); }
  bool wide() const {
    Nest src = kept;
    return is_wide(kept) || is_wide(reduced) || kept.span(0) + reduced.span(0) >= INT32_MAX / 2 ||
           results * split >= INT32_MAX / 2;
  }
  /// Where a result goes: into dst, or its accumulator into the workspace.
  std::string finish() const {
    return split > 1 ? fmt::format("work[(idx)blockIdx.y * (idx){} + result] = acc;", results)
                     : fmt::format("dst[to] = {};", reduction.result);
  }
  std::vector<Field> fields() const {
    const std::int64_t items = columns ? count : count / V;
    return {{"HEAD", head(wide())},
            {"ENTRY", kEntry},
            {"SRC", src_type()},
            {"DST", split > 1 ? "Acc" : dst_type()},
            {"OUT", split > 1 ? "work" : "dst"},
            {"V", std::to_string(V)},
            {"CHUNK", std::to_string(chunk)},
            {"ITEMS", std::to_string(items)},
            {"PART", std::to_string(divide_up(items, split))},
            {"RESULTS", std::to_string(results)},
            {"FINISH", finish()}};
  }
  KernelSource launch(std::string text, std::int64_t blocks) const {
    KernelSource k{std::move(text), linear_geometry(blocks, 1), {0, split > 1 ? kWorkspace : 1}, {}};
    k.geometry.block[0] = kBlock;
    k.geometry.grid[1] = static_cast<unsigned>(split);
    return k;
  }

  KernelSource rows() const {
    const std::int64_t items = divide_up(count / V, split);
    std::int64_t G = std::clamp<std::int64_t>(power_of_two(items / 2), 1, kBlock);
    while (G > 32 && results * split * G / 2 > 2 * kBusyThreads && items / G < 8) G /= 2;
    Nest vectors = reduced;
    vectors.extents.back() /= V;
    vectors.strides[0].back() *= V;
    std::vector<Field> f = fields();
    f.push_back({"G", std::to_string(G)});
    f.push_back({"KEPT", decompose(kept, "result", {"from", "to"})});
    f.push_back({"REDUCED", decompose(vectors, "i", {"o"})});
    return launch(fill(R"cuda($HEAD$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$(const $SRC$* src, $DST$* $OUT$) {
  constexpr int G = $G$, V = $V$;
  const uidx result_ = (uidx)blockIdx.x * (256 / G) + threadIdx.x / G;
  const bool active = result_ < (uidx)$RESULTS$ULL;
  const uidx result = active ? result_ : 0;
  idx from = 0, to = 0;
  $KEPT$  const bool aligned = is_aligned(src, $CHUNK$);
  Acc acc = make_acc();
  const uidx end = min((uidx)$ITEMS$ULL, (uidx)(blockIdx.y + 1) * (uidx)$PART$ULL);
#pragma unroll 4
  for (uidx i = (uidx)blockIdx.y * (uidx)$PART$ULL + threadIdx.x % G; i < end; i += G) {
    idx o = from;
    $REDUCED$    alignas(16) $SRC$ r[V];
    load<V, $CHUNK$>(r, src + o, aligned);
#pragma unroll
    for (int v = 0; v < V; ++v) add(acc, reg(r[v]));
  }
  group_merge<G>(acc);
  if (active && threadIdx.x % G == 0) $FINISH$
}
)cuda",
                       f),
                  divide_up(results, kBlock / G));
  }
  KernelSource columns_kernel() const {
    const std::int64_t E = kept.extents.back() / V, items = divide_up(count, split);
    std::int64_t X = std::min<std::int64_t>(32, std::bit_ceil(static_cast<std::uint64_t>(E)));
    while (X < kBlock && 2 * X <= E && items * X < 4 * kBlock) X *= 2;  // short columns: fewer lanes each
    const std::int64_t Y = kBlock / X, bx = divide_up(E, X);
    Nest outer = kept.without(kept.axes() - 1);
    std::vector<Field> f = fields();
    f.push_back({"X", std::to_string(X)});
    f.push_back({"Y", std::to_string(Y)});
    f.push_back({"E", std::to_string(E)});
    f.push_back({"BX", std::to_string(bx)});
    f.push_back({"TOSTRIDE", std::to_string(kept.strides[1].back())});
    f.push_back({"KEPT", outer.axes() ? decompose(outer, "outer", {"from", "to_"}) : "\n"});
    f.push_back({"REDUCED", decompose(reduced, "i", {"o"})});
    return launch(fill(R"cuda($HEAD$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$(const $SRC$* src, $DST$* $OUT$) {
  constexpr int X = $X$, Y = $Y$, V = $V$;
  __shared__ Acc parts[Y][X * V];
  const int x = threadIdx.x % X, y = threadIdx.x / X;
  const uidx outer = blockIdx.x / $BX$u, column = (blockIdx.x % $BX$u) * X + x;
  idx from = 0, to_ = 0;
  $KEPT$  const bool active = column < $E$u, aligned = is_aligned(src, $CHUNK$);
  from += (idx)column * V;
  Acc accs[V];
#pragma unroll
  for (int v = 0; v < V; ++v) accs[v] = make_acc();
  if (active) {
    const uidx end = min((uidx)$ITEMS$ULL, (uidx)(blockIdx.y + 1) * (uidx)$PART$ULL);
#pragma unroll 4
    for (uidx i = (uidx)blockIdx.y * (uidx)$PART$ULL + y; i < end; i += Y) {
      idx o = from;
      $REDUCED$      alignas(16) $SRC$ r[V];
      load<V, $CHUNK$>(r, src + o, aligned);
#pragma unroll
      for (int v = 0; v < V; ++v) add(accs[v], reg(r[v]));
    }
  }
#pragma unroll
  for (int v = 0; v < V; ++v) parts[y][v * X + x] = accs[v];
  __syncthreads();
  for (int c = threadIdx.x; c < X * V; c += 256) {
    const uidx at = ((blockIdx.x % $BX$u) * X + c / V) * V + c % V;
    if (at >= (uidx)$E$u * V) continue;
    const int slot = c % V * X + c / V;
    Acc acc = parts[0][slot];
    for (int j = 1; j < Y; ++j) merge(acc, parts[j][slot]);
    const idx to = to_ + (idx)at * (idx)$TOSTRIDE$;
    const idx result = (idx)outer * (idx)($E$ * V) + (idx)at;
    $FINISH$
  }
}
)cuda",
                       f),
                  bx * outer.count());
  }
  /// The second launch of a split one.
  KernelSource join() const {
    KernelSource k;
    k.source = fill(R"cuda($HEAD$
extern "C" __global__ void __launch_bounds__(128) $ENTRY$(const Acc* work, $DST$* dst) {
  const uidx result = (uidx)blockIdx.x * 4 + threadIdx.x / 32;
  if (result >= (uidx)$RESULTS$ULL) return;
  Acc acc = make_acc();
  for (int s = threadIdx.x % 32; s < $SPLIT$; s += 32) merge(acc, work[(idx)s * (idx)$RESULTS$ + result]);
  group_merge<32>(acc);
  idx from = 0, to = 0;
  $KEPT$  if (threadIdx.x % 32 == 0) dst[to] = $RESULT$;
}
)cuda",
                    {{"HEAD", head(wide())},
                     {"ENTRY", kEntry},
                     {"DST", dst_type()},
                     {"RESULTS", std::to_string(results)},
                     {"SPLIT", std::to_string(split)},
                     {"KEPT", decompose(kept, "result", {"from", "to"})},
                     {"RESULT", reduction.result}});
    k.geometry = linear_geometry(divide_up(results, 4), 1);
    k.geometry.block[0] = 128;
    k.operands = {kWorkspace, 1};
    return k;
  }
};

class ReduceTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.reduce"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<Reduce>(p)) return refuse("not a Reduce");
    return refuse_operands(p);
  }
  Layout preferred_layout(const Problem& p) const override {
    const bool image = p.srcs[0].shape.size() >= 3 && op_as<Reduce>(p)->keep_dims;
    return image ? Layout::channels_last : Layout::plain;
  }
  Program generate(const Problem& p, const Choice&) const override {
    Program program{"cuda.reduce", {}};
    const Reducer r(p, *op_as<Reduce>(p));
    if (r.results == 0) return program;
    program.launches.push_back(r.columns ? r.columns_kernel() : r.rows());
    if (r.split > 1) {
      program.launches.push_back(r.join());
      program.workspace_bytes =
          static_cast<std::size_t>(r.split) * static_cast<std::size_t>(r.results) * r.reduction.acc_bytes;
    }
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_reduce() { return std::make_unique<ReduceTactic>(); }

}  // namespace headrace::cuda
