// cuda.scatter: ScatterElements and ScatterNd with every reduction, any dtype and strides. An index out of
// range is clamped.
//
// Data is copied, then updates are applied as if in their order: where several meet one element the last one
// wins, and sums are the same bits each time. Two ways:
//  - in order: a thread goes over the updates that may meet (those along the axis, or all tuples for one
//  element of
//    their slabs) and applies those whose place is its own share of the places;
//  - last wins, for many updates without a reduction: each update raises its place's mark in the workspace to
//  its
//    number, then those that find their own number there are written.
#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "backends/cuda/codegen_elementwise.h"
#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kBlock = 128, kBusyThreads = 132 * 256, kManyUpdates = 256;

/// Lines of updates that do not meet those of other lines, and how one of them is gone along.
struct Lines {
  Nest lines;               ///< operands: indices, updates, dst, marks
  std::int64_t length = 0;  ///< updates of a line
  std::int64_t index_step = 0, update_step = 0;
  std::int64_t places = 0;  ///< that the updates of a line may meet
  /// Statements: add to `place` and `mark` those of the update whose index begins at `at`.
  std::string place;
  std::int64_t marks = 0;  ///< places of all lines
};

Lines lines_of(const ScatterElements& op, const Problem& p) {
  const TensorDesc &indices = p.srcs[1], &updates = p.srcs[2], &dst = p.dsts[0];
  const auto axis = static_cast<std::size_t>(op.axis);
  Lines l;
  const Strides dense = dense_strides(dst.shape, Layout::plain);
  l.lines = make_nest_without(op.axis, indices.shape, {indices.strides, updates.strides, dst.strides, dense});
  l.marks = dst.elements();
  l.length = indices.shape[axis];
  l.index_step = indices.strides[axis];
  l.update_step = updates.strides[axis];
  l.places = dst.shape[axis];
  l.place =
      "{ " + index_text("at", dst.shape[axis]) +
      fmt::format(" place += (idx)j * (idx){}; mark += (idx)j * (idx){}; }}", dst.strides[axis], dense[axis]);
  return l;
}

Lines lines_of(const Problem& p) {
  const TensorDesc &indices = p.srcs[1], &updates = p.srcs[2], &dst = p.dsts[0];
  const std::size_t lead = indices.shape.size() - 1, tuple = static_cast<std::size_t>(indices.shape[lead]);
  const auto tail = static_cast<std::ptrdiff_t>(tuple), split = static_cast<std::ptrdiff_t>(lead);
  const Shape slab(dst.shape.begin() + tail, dst.shape.end());
  Lines l;
  l.lines = make_nest(
      slab, {Strides(slab.size(), 0), Strides(updates.strides.begin() + split, updates.strides.end()),
             Strides(dst.strides.begin() + tail, dst.strides.end())});
  l.lines.strides.emplace_back(l.lines.axes(), 0);
  l.length = 1;
  for (std::size_t i = 0; i < lead; ++i) l.length *= indices.shape[i];
  for (std::size_t k = 0; k < tuple; ++k) {
    l.place +=
        fmt::format("mark *= (idx){1}; {{ {0} place += (idx)j * (idx){2}; mark += (idx)j; }} ",
                    index_text(fmt::format("at + {}", static_cast<std::int64_t>(k) * indices.strides[lead]),
                               dst.shape[k]),
                    dst.shape[k], dst.strides[k]);
  }
  l.places = 1;
  for (std::size_t k = 0; k < tuple; ++k) l.places *= dst.shape[k];
  l.marks = l.places;
  return l;
}

/// dst[to] = dst[to] combined with updates[u].
std::string combined(ScatterReduce how, DType dtype) {
  const std::string T = type_name(dtype);
  const bool real = is_float(dtype);
  const char* u = dtype == DType::u64 ? "(u64)" : "";
  if (how == ScatterReduce::none) return "dst[to] = updates[u];";
  std::string value;
  switch (how) {
    case ScatterReduce::none: break;
    case ScatterReduce::add: value = real ? "a + b" : "(i64)((u64)a + (u64)b)"; break;
    case ScatterReduce::mul: value = real ? "a * b" : "(i64)((u64)a * (u64)b)"; break;
    case ScatterReduce::min:
      value = real ? "b != b ? b : m_min(a, b)" : fmt::format("{0}b < {0}a ? b : a", u);
      break;
    case ScatterReduce::max:
      value = real ? "b != b ? b : m_max(a, b)" : fmt::format("{0}b > {0}a ? b : a", u);
      break;
  }
  return fmt::format("const auto a = reg(dst[to]), b = reg(updates[u]); dst[to] = Store<{}>::of({});", T,
                     dtype == DType::boolean ? "(" + value + ") != 0" : value);
}

class ScatterTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.scatter"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<ScatterElements>(p) && !op_as<ScatterNd>(p)) return refuse("not a Scatter");
    if (p.srcs.size() != 3 || (p.srcs[1].dtype != DType::i32 && p.srcs[1].dtype != DType::i64))
      return refuse("indices are neither i32 nor i64");
    if (p.srcs[1].shape.empty()) return refuse("scalar indices");
    if (p.dsts[0].elements() == 0 && p.srcs[2].elements() > 0) return refuse("scatters into an empty tensor");
    return refuse_operands(p);
  }
  Program generate(const Problem& p, const Choice&) const override {
    const TensorDesc& dst = p.dsts[0];
    Program program{"cuda.scatter", {}};
    Elementwise copy;
    copy.shape = dst.shape;
    copy.srcs.push_back({0, raw_dtype(dst.dtype), p.srcs[0].strides});
    copy.dst = {3, raw_dtype(dst.dtype), dst.strides};
    program.launches = generate_elementwise(copy);
    if (p.srcs[2].elements() == 0 || dst.elements() == 0) return program;
    const auto* elements = op_as<ScatterElements>(p);
    const ScatterReduce how = elements ? elements->reduction : op_as<ScatterNd>(p)->reduction;
    const Lines l = elements ? lines_of(*elements, p) : lines_of(p);
    if (how == ScatterReduce::none && l.length >= kManyUpdates && l.length < INT32_MAX) {
      program.workspace_bytes = static_cast<std::size_t>(l.marks) * 4;
      for (KernelSource& k : last_wins(p, l)) program.launches.push_back(std::move(k));
    } else {
      program.launches.push_back(in_order(p, l, how));
    }
    return program;
  }

 private:
  /// Statements that set `at` and `u`: where index and value of the line's i-th update are.
  static std::string offsets(const Problem& p, const Lines& l) {
    if (op_as<ScatterElements>(p))
      return fmt::format("at = at_ + i * (idx){}; u = u_ + i * (idx){};", l.index_step, l.update_step);
    const TensorDesc &indices = p.srcs[1], &updates = p.srcs[2];
    const std::size_t lead = indices.shape.size() - 1;
    if (lead == 0) return "u = u_;";
    const auto split = static_cast<std::ptrdiff_t>(lead);
    const Nest tuples{Shape(indices.shape.begin(), indices.shape.end() - 1),
                      {Strides(indices.strides.begin(), indices.strides.end() - 1),
                       Strides(updates.strides.begin(), updates.strides.begin() + split)}};
    return "u = u_; " + decompose(tuples, "i", {"at", "u"});
  }
  static std::vector<KernelSource> last_wins(const Problem& p, const Lines& l) {
    const std::int64_t lines = l.lines.count();
    std::vector<KernelSource> launches(3);
    launches[0].source =
        fill(R"cuda($PRELUDE$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$(u32* marks) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i < $MARKS$LL) marks[i] = 0;
}
)cuda",
             {{"PRELUDE", std::string(kPrelude)}, {"ENTRY", kEntry}, {"MARKS", std::to_string(l.marks)}});
    launches[0].geometry = linear_geometry(l.marks, 256);
    launches[0].operands = {kWorkspace};
    for (const bool write : {false, true}) {
      KernelSource& k = launches[write ? 2 : 1];
      // All lines of tuples share their marks: one of them sets these.
      const std::int64_t count = write || op_as<ScatterElements>(p) ? lines : 1;
      k.source = fill(R"cuda($PRELUDE$$INDEX$
extern "C" __global__ void __launch_bounds__(128) $ENTRY$(const $I$* indices, const $T$* updates, $T$* dst, u32* marks) {
  const uidx thread = (uidx)blockIdx.x * 128u + threadIdx.x, line = thread % $LINES$u;
  const idx i = (idx)(thread / $LINES$u);
  if (i >= (idx)$LENGTH$) return;
  idx at_ = 0, u_ = 0, to_ = 0, mark = 0, mark_ = 0, at = 0, u = 0, place = 0;
  $LINE$  $AT$
  $PLACE$
  mark += mark_;
  $DO$
}
)cuda",
                      {{"PRELUDE", std::string(kPrelude)},
                       {"INDEX", index_types(is_wide({&p.srcs[1], &p.srcs[2], &p.dsts[0]}))},
                       {"ENTRY", kEntry},
                       {"I", type_name(p.srcs[1].dtype)},
                       {"T", type_name(raw_dtype(p.dsts[0].dtype))},
                       {"LINES", std::to_string(count)},
                       {"LENGTH", std::to_string(l.length)},
                       {"LINE", decompose(l.lines, "line", {"at_", "u_", "to_", "mark_"})},
                       {"AT", offsets(p, l)},
                       {"PLACE", l.place},
                       {"DO", write ? "if (marks[mark] == (u32)i + 1) dst[to_ + place] = updates[u];"
                                    : "atomicMax(&marks[mark], (u32)i + 1);"}});
      k.geometry = linear_geometry(count * l.length, static_cast<unsigned>(kBlock));
      k.operands = {1, 2, 3, kWorkspace};
    }
    return launches;
  }
  static KernelSource in_order(const Problem& p, const Lines& l, ScatterReduce how) {
    const TensorDesc &indices = p.srcs[1], &updates = p.srcs[2], &dst = p.dsts[0];
    const std::int64_t lines = l.lines.count(), most = std::min<std::int64_t>({l.places, l.length, 4096});
    const auto shares = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(
        std::clamp<std::int64_t>(kBusyThreads / lines, 1, std::max<std::int64_t>(1, most)))));
    KernelSource k;
    k.source = fill(R"cuda($PRELUDE$$INDEX$
extern "C" __global__ void __launch_bounds__(128) $ENTRY$(const $I$* indices, const $T$* updates, $T$* dst) {
  constexpr uidx SHARES = $SHARES$;  // of the places
  const uidx thread = (uidx)blockIdx.x * 128u + threadIdx.x, line = thread % $LINES$u, share = thread / $LINES$u;
  if (share >= SHARES) return;
  idx at_ = 0, u_ = 0, to_ = 0;
  $LINE$#pragma unroll 4
  for (idx i = 0; i < (idx)$LENGTH$; ++i) {
    idx at = 0, u = 0, place = 0, mark = 0;
    $AT$
    $PLACE$
    if (SHARES > 1 && ((u32)place * 2654435761u >> 16) % SHARES != share) continue;
    const idx to = to_ + place;
    $COMBINE$
  }
}
)cuda",
                    {{"PRELUDE", std::string(kPrelude)},
                     {"INDEX", index_types(is_wide({&indices, &updates, &dst}))},
                     {"ENTRY", kEntry},
                     {"I", type_name(indices.dtype)},
                     {"T", type_name(how == ScatterReduce::none ? raw_dtype(dst.dtype) : dst.dtype)},
                     {"SHARES", std::to_string(shares)},
                     {"LINES", std::to_string(lines)},
                     {"LINE", decompose(l.lines, "line", {"at_", "u_", "to_"})},
                     {"LENGTH", std::to_string(l.length)},
                     {"AT", offsets(p, l)},
                     {"PLACE", l.place},
                     {"COMBINE", combined(how, dst.dtype)}});
    k.geometry = linear_geometry(lines * shares, static_cast<unsigned>(kBlock));
    k.operands = {1, 2, 3};
    return k;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_scatter() { return std::make_unique<ScatterTactic>(); }

}  // namespace headrace::cuda
