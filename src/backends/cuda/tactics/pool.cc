// cuda.pool: max, average and Lp pooling over one to three spatial axes, any strides; channels_last 16 bytes
// of channels per thread.
#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

// Elements of a window that are loaded together: many where there are few threads to hide what a load takes.
constexpr std::int64_t kAtOnce[] = {16, 4, 1};
constexpr std::int64_t kEnoughThreads = 132 * 2048 * 4;

/// Loops over the window. The inner ones (all axes of a small window, the last axis of others) run twice:
/// over `load`, and over `join`, so that loads are under way together. Both may use `tap`, the number of the
/// element within the inner loops; `in`, whether it is inside; `at`, its offset in src; and `flat`, its place
/// in the plane. `counts`: how many elements an average is over, per axis.
struct WindowLoops {
  std::string outer, inner, close_outer, close_inner, counts;
  std::int64_t at_once = 1;
  std::string join(const std::string& load, const std::string& join) const {
    return outer + "  {\n" + inner + load + close_inner + "  }\n  {\n" + inner + join + close_inner +
           "  }\n" + close_outer;
  }
};
WindowLoops window_loops(const Pool& op, const TensorDesc& src, std::int64_t most) {
  WindowLoops w;
  const std::size_t spatial = op.kernel.size();
  std::size_t first_inner = spatial;  // of the axes
  while (first_inner > 0 && w.at_once * op.kernel[first_inner - 1] <= most)
    w.at_once *= op.kernel[--first_inner];
  std::string at = "base", flat = "0", tap = "0", inside = "true";
  for (std::size_t k = 0; k < spatial; ++k) {
    const std::size_t axis = 2 + k;
    const std::int64_t in = src.shape[axis], begin = op.pads_begin[k].value, end = op.pads_end[k].value;
    const bool is_inner = k >= first_inner;
    const char* unroll = is_inner ? "#pragma unroll\n" : "#pragma unroll 1\n";
    (is_inner ? w.inner : w.outer) += fmt::format(
        "{0}  for (int k{1} = 0; k{1} < {2}; ++k{1}) {{\n    const idx j{1} = i{1} * {3} - {4} + k{1} * "
        "{5};\n",
        unroll, axis, op.kernel[k], op.strides[k], begin, op.dilations[k]);
    (is_inner ? w.close_inner : w.close_outer) += "  }\n";
    at += fmt::format(" + j{} * (idx){}", axis, src.strides[axis]);
    if (is_inner) tap = fmt::format("({}) * {} + k{}", tap, op.kernel[k], axis);
    inside += fmt::format(" && j{0} >= 0 && j{0} < {1}", axis, in);
    if (!op.column_major) flat = fmt::format("({}) * {} + j{}", flat, in, axis);
    w.counts += fmt::format(
        "  {{ int n = 0;\n{0}  for (int k = 0; k < {1}; ++k) {{ const idx j = i{2} * {3} - {4} + k * {5}; n "
        "+= {6}; }}\n"
        "  count *= n; }}\n",
        unroll, op.kernel[k], axis, op.strides[k], begin, op.dilations[k],
        op.count_include_pad ? fmt::format("j < {}", in + end) : fmt::format("j >= 0 && j < {}", in));
  }
  if (op.column_major)
    for (std::size_t k = spatial; k-- > 0;)
      flat = fmt::format("({}) * {} + j{}", flat, src.shape[2 + k], 2 + k);
  w.inner +=
      fmt::format("  const int tap = {}; const bool in = {};\n  const idx at = {};\n  const i64 flat = {};\n",
                  tap, inside, at, flat);
  return w;
}

class PoolTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.pool"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Pool* op = op_as<Pool>(p);
    if (!op) return refuse("not a Pool");
    const std::size_t rank = p.srcs[0].shape.size();
    if (rank < 3 || rank > 5 || op->kernel.size() != rank - 2)
      return refuse("one to three spatial axes only");
    if (op->kind != PoolKind::max && !is_float(p.srcs[0].dtype)) return refuse("an average of integers");
    if (op->pads_begin.size() != rank - 2 || op->strides.size() != rank - 2 ||
        op->dilations.size() != rank - 2)
      return refuse("incomplete window");
    return refuse_operands(p);
  }
  Layout preferred_layout(const Problem&) const override { return Layout::channels_last; }
  std::vector<Choice> candidates(const Problem& p) const override {
    const bool enough = p.dsts[0].elements() / channel_vector(p.srcs[0], p.dsts[0], 16).V >= kEnoughThreads;
    std::vector<Choice> choices;
    std::int64_t before = 0;
    for (const std::int64_t most : kAtOnce) {
      const std::int64_t at_once = window_loops(*op_as<Pool>(p), p.srcs[0], most).at_once;
      if (at_once != before) choices.push_back(fmt::format("loads={}", most));
      before = at_once;
    }
    if (enough && choices.size() > 1) std::rotate(choices.begin(), choices.begin() + 1, choices.end());
    return choices;
  }
  Program generate(const Problem& p, const Choice& choice) const override {
    std::int64_t most = kAtOnce[0];
    if (!choice.empty()) {
      const auto is_choice = [&](std::int64_t n) { return choice == fmt::format("loads={}", n); };
      const auto* found = std::find_if(std::begin(kAtOnce), std::end(kAtOnce), is_choice);
      if (found == std::end(kAtOnce))
        throw Error(ErrorCode::invalid_plan, "cuda.pool has no choice '" + choice + "'");
      most = *found;
    }
    const Pool& op = *op_as<Pool>(p);
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    const bool indices = p.dsts.size() > 1, real = is_float(src.dtype), is_max = op.kind == PoolKind::max;
    const std::size_t rank = dst.shape.size();
    Program program{"cuda.pool", {}};
    if (dst.elements() == 0) return program;
    const ChannelVector c = indices ? ChannelVector{1, static_cast<std::int64_t>(size_bytes(src.dtype)),
                                                    static_cast<std::int64_t>(size_bytes(dst.dtype))}
                                    : channel_vector(src, dst, 16);
    std::vector<std::int64_t> steps(rank, 1);
    steps[1] = c.V;
    const std::int64_t threads = position_count(dst, steps);
    const unsigned block = threads < 132 * 256 ? 128 : 256;
    const WindowLoops w = window_loops(op, src, most);

    const std::string R = register_name(src.dtype), D = type_name(dst.dtype);

    const char* u = src.dtype == DType::u64 ? "(u64)" : "";
    std::string start = "0", add, finish = "acc[v]";
    if (is_max && indices) {
      add = fmt::format("if (best < 0 || {0}x > {0}acc[v]{1}) {{ acc[v] = x; best = flat; }}", u,
                        real ? " || (x != x && acc[v] == acc[v])" : "");
    } else if (is_max) {
      add = real ? "acc[v] = m_max(x, acc[v]);" : fmt::format("acc[v] = {0}x > {0}acc[v] ? x : acc[v];", u);
    } else if (op.kind == PoolKind::average) {
      add = "acc[v] += x;";
      finish = fmt::format("acc[v] / ({})count", R);
    } else if (op.p == 2) {
      add = "acc[v] += x * x;";
      finish = "m_sqrt(acc[v])";
    } else {
      add = fmt::format("acc[v] += m_pow(m_fabs(x), ({}){});", R, op.p);
      finish = fmt::format("m_pow(acc[v], {})", literal(1.0 / static_cast<double>(op.p), src.dtype));
    }
    if (is_max) {
      start = real ? fmt::format("({})-HR_INF", R) : src.dtype == DType::u64 ? "0" : literal(INT64_MIN);
      if (!real) finish = "found ? acc[v] : 0";
    }
    // Maxima of halves: two at a time, as they are.
    const bool halves = is_max && !indices && src.dtype == DType::f16 && c.V % 2 == 0;
    std::string index_store;
    if (indices) {
      std::int64_t plane = 1;
      for (std::size_t a = 2; a < rank; ++a) plane *= src.shape[a];
      index_store = fmt::format("  indices[{}] = best < 0 ? 0 : best + ((i64)i0 * {} + i1) * {}LL;\n",
                                offset_text(p.dsts[1], 0, rank), src.shape[1], plane);
    }
    const std::string load =
        fmt::format("  if (in) load<V, {}>(all[tap], src + at, aligned);\n", c.src_chunk);
    const std::string join = fmt::format(
        "  if (in) {{\n  found = true;\n#pragma unroll\n  for (int v = 0; v < W; ++v) {{ {} }}\n  }}\n",
        halves ? "acc[v] = max_half2(((const u32*)all[tap])[v], acc[v]);"
               : fmt::format("const {} x = reg(all[tap][v]); {}", R, add));
    KernelSource k;
    k.source =
        fill(R"cuda($PRELUDE$$INDEX$
template <bool aligned>
HR void pool_one(const $SRC$* src, $DST$* dst$INDICES$, uidx thread) {
  constexpr int V = $V$, W = $W$;
$POSITIONS$  const idx base = $BASE$;
  $R$ acc[W];
#pragma unroll
  for (int v = 0; v < W; ++v) acc[v] = $START$;
  bool found = false; i64 best = -1;
  alignas(16) $SRC$ all[$HELD$][V];
$JOIN$  i64 count = 1;
$COUNTS$  alignas(16) $DST$ out[V];
#pragma unroll
  for (int v = 0; v < W; ++v) { $FINISH$; }
  store<V, $DST_CHUNK$>(dst + ($TO$), out, is_aligned(dst, $DST_CHUNK$));
$INDEX_STORE$}
extern "C" __global__ void __launch_bounds__($BLOCK$) $ENTRY$(const $SRC$* src, $DST$* dst$INDICES$) {
  const uidx thread = (uidx)blockIdx.x * $BLOCK$u + threadIdx.x;
  if (thread >= (uidx)$THREADS$ULL) return;
  if (is_aligned(src, $SRC_CHUNK$))
    pool_one<true>(src, dst$INDICES_ARGUMENT$, thread);
  else
    pool_one<false>(src, dst$INDICES_ARGUMENT$, thread);
}
)cuda",
             {{"PRELUDE", std::string(kPrelude)},
              {"INDEX", index_types(indices ? is_wide({&src, &dst, &p.dsts[1]}) : is_wide({&src, &dst}))},
              {"BLOCK", std::to_string(block)},
              {"ENTRY", kEntry},
              {"SRC", type_name(src.dtype)},
              {"DST", D},
              {"INDICES", indices ? ", i64* indices" : ""},
              {"INDICES_ARGUMENT", indices ? ", indices" : ""},
              {"V", std::to_string(c.V)},
              {"THREADS", std::to_string(threads)},
              {"POSITIONS", positions(dst, steps, "thread")},
              {"BASE", offset_text(src, 0, 2)},
              {"SRC_CHUNK", std::to_string(c.src_chunk)},
              {"DST_CHUNK", std::to_string(c.dst_chunk)},
              {"W", std::to_string(halves ? c.V / 2 : c.V)},
              {"R", halves ? "u32" : R},
              {"START", halves ? "0xfc00fc00u" : start},
              {"HELD", std::to_string(w.at_once)},
              {"JOIN", w.join(load, join)},
              {"COUNTS", op.kind == PoolKind::average ? w.counts : ""},
              {"FINISH",
               halves ? "((u32*)out)[v] = acc[v]" : fmt::format("out[v] = Store<{}>::of({})", D, finish)},
              {"TO", offset_text(dst, 0, rank)},
              {"INDEX_STORE", index_store}});
    k.geometry = linear_geometry(threads, block);
    k.operands = indices ? std::vector<std::size_t>{0, 1, 2} : std::vector<std::size_t>{0, 1};
    program.launches.push_back(std::move(k));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_pool() { return std::make_unique<PoolTactic>(); }

}  // namespace headrace::cuda
