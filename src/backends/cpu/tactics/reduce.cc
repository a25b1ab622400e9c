// cpu.reduce: sum, mean, max and min of f32 over any axes.
//
// When the contiguous axis is reduced, each result is made of whole rows. When it is kept (the global average
// pool of channels_last), rows of results are accumulated. Sums are made in two levels: short partial sums,
// then their sum.
#include <algorithm>
#include <limits>

#include "backends/cpu/parallel.h"
#include "backends/cpu/tactics.h"
#include "backends/cpu/vec.h"
#include "backends/nest.h"

namespace headrace::cpu {
namespace {

constexpr std::int64_t kChunk = 256, kGroup = 32;

struct ReduceLoop {
  Nest kept;     ///< operand 0: src, 1: dst
  Nest reduced;  ///< operand 0: src
  ReduceKind kind = ReduceKind::sum;
  float factor = 1;
  std::int64_t chunks = 1;

  bool adds() const { return kind == ReduceKind::sum || kind == ReduceKind::mean; }
  float identity() const {
    const float infinity = std::numeric_limits<float>::infinity();
    return adds() ? 0.0f : kind == ReduceKind::max ? -infinity : infinity;
  }
  void accumulate(float* acc, const float* src, std::int64_t n) const {
    const VecTable& v = vec();
    (adds() ? v.accumulate_add : kind == ReduceKind::max ? v.accumulate_max : v.accumulate_min)(acc, src, n);
  }

  /// Rows of results: task = (outer kept position, chunk of the contiguous kept axis).
  void rows(float* dst, const float* src, std::int64_t begin, std::int64_t end) const {
    const std::size_t last = kept.extents.size() - 1, axes = reduced.extents.size();
    const std::int64_t n = kept.extents[last], count = reduced.count();
    alignas(64) float total[kChunk], part[kChunk];
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t outer = task / chunks, c0 = n * (task % chunks) / chunks,
                         nc = n * (task % chunks + 1) / chunks - c0;
      const float* from = src + kept.offset(0, outer, last) + c0;
      std::fill_n(total, nc, identity());
      for (std::int64_t r0 = 0; r0 < count; r0 += kGroup) {
        std::fill_n(part, nc, identity());
        for (std::int64_t r = r0; r < std::min(count, r0 + kGroup); ++r)
          accumulate(part, from + reduced.offset(0, r, axes), nc);
        accumulate(total, part, nc);
      }
      float* to = dst + kept.offset(1, outer, last) + c0 * kept.strides[1][last];
      for (std::int64_t c = 0; c < nc; ++c) to[c * kept.strides[1][last]] = total[c] * factor;
    }
  }
  /// Single results, each from rows of the contiguous reduced axis.
  void results(float* dst, const float* src, std::int64_t begin, std::int64_t end) const {
    const VecTable& v = vec();
    const std::size_t last = reduced.extents.size() - 1, axes = kept.extents.size();
    const std::int64_t n = reduced.extents[last], count = reduced.count() / std::max<std::int64_t>(1, n);
    const std::int64_t stride = reduced.strides[0][last];
    for (std::int64_t i = begin; i < end; ++i) {
      const float* from = src + kept.offset(0, i, axes);
      double sum = 0;
      float best = identity();
      for (std::int64_t r = 0; r < count; ++r) {
        const float* row = from + reduced.offset(0, r, last);
        if (stride == 1 && adds()) {
          for (std::int64_t at = 0; at < n; at += 4096)
            sum += v.sum(row + at, std::min<std::int64_t>(4096, n - at));
        } else if (stride == 1 && kind == ReduceKind::max) {
          const float m = v.max(row, n);
          if (m > best || m != m) best = m;
        } else {
          for (std::int64_t k = 0; k < n; ++k) {
            const float x = row[k * stride];
            if (adds())
              sum += x;
            else if (x != x || (kind == ReduceKind::max ? x > best : x < best))
              best = x;
          }
        }
        if (best != best) break;
      }
      dst[kept.offset(1, i, axes)] = adds() ? static_cast<float>(sum * factor) : best;
    }
  }
};

class ReduceTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.reduce"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Reduce* op = op_as<Reduce>(p);
    if (!op) return refuse("not a Reduce");
    if (op->kind != ReduceKind::sum && op->kind != ReduceKind::mean && op->kind != ReduceKind::max &&
        op->kind != ReduceKind::min) {
      return refuse("kind of reduction");
    }
    if (p.srcs[0].dtype != DType::f32 || p.dsts[0].dtype != DType::f32) return refuse("dtype is not f32");
    return std::nullopt;
  }
  Layout preferred_layout(const Problem& p) const override {
    // The spatial axes of an image: as its convolutions have it.
    const Reduce* op = op_as<Reduce>(p);
    const bool spatial = op && p.srcs[0].shape.size() >= 3 && op->keep_dims && !op->axes.empty() &&
                         op->axes[0] == 2 && op->axes.size() == p.srcs[0].shape.size() - 2;
    return spatial ? Layout::channels_last : Layout::plain;
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const Reduce& op = *op_as<Reduce>(p);
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    Shape kept_shape, reduced_shape;
    Strides kept_src, kept_dst, reduced_src;
    std::size_t at = 0;  // axis of dst
    for (std::size_t i = 0; i < src.shape.size(); ++i) {
      const bool reduced =
          std::find(op.axes.begin(), op.axes.end(), static_cast<std::int64_t>(i)) != op.axes.end();
      if (reduced) {
        reduced_shape.push_back(src.shape[i]);
        reduced_src.push_back(src.strides[i]);
        at += op.keep_dims ? 1 : 0;
      } else {
        kept_shape.push_back(src.shape[i]);
        kept_src.push_back(src.strides[i]);
        kept_dst.push_back(dst.strides[at++]);
      }
    }
    ReduceLoop loop;
    loop.kind = op.kind;
    loop.kept = make_nest(kept_shape, {kept_src, kept_dst});
    loop.reduced = make_nest(reduced_shape, {reduced_src});
    const std::int64_t count = element_count(reduced_shape), elements = src.elements(),
                       results = dst.elements();
    if (op.kind == ReduceKind::mean) loop.factor = 1.0f / static_cast<float>(count);
    const bool rows = loop.kept.strides[0].back() == 1 && loop.kept.extents.back() > 1;
    std::int64_t tasks = results;
    if (rows) {
      const std::int64_t n = loop.kept.extents.back(), outer = loop.kept.count() / n;
      loop.chunks = (n + kChunk - 1) / kChunk;
      if (outer * loop.chunks < p.threads)
        loop.chunks = std::max<std::int64_t>(loop.chunks, std::min<std::int64_t>(p.threads, n / 16));
      tasks = outer * loop.chunks;
    }
    return make_kernel("cpu.reduce",
                       [=, loop = std::move(loop)](std::span<std::byte* const> data, std::byte*) {
                         if (results == 0) return;
                         const auto* from = reinterpret_cast<const float*>(data[0]);
                         auto* to = reinterpret_cast<float*>(data[1]);
                         parallel_for(tasks, elements, [&](std::int64_t begin, std::int64_t end) {
                           if (rows)
                             loop.rows(to, from, begin, end);
                           else
                             loop.results(to, from, begin, end);
                         });
                       });
  }
};

}  // namespace

std::unique_ptr<Tactic> make_reduce() { return std::make_unique<ReduceTactic>(); }

}  // namespace headrace::cpu
