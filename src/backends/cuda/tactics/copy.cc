// cuda.copy: Reorder, Transpose, Slice, Concat, Broadcast, Reshape and Pad as strided copies of any dtype.
//
// Each source becomes a box of dst; a box is one elementwise launch. A constant Pad fills dst first. Padding
// by reflection, edge or wrapping reads through index arithmetic, one element per thread.
#include <algorithm>

#include <fmt/format.h>

#include "backends/cuda/codegen_elementwise.h"
#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

struct Boxes {
  const Problem& p;
  std::vector<KernelSource> launches = {};

  void add(std::size_t src, const Shape& shape, Strides strides, std::int64_t from, std::int64_t to) {
    Elementwise e;
    e.shape = shape;
    const TensorDesc& dst = p.dsts[0];
    Strides dst_strides = dst.strides;
    if (shape.size() != dst.shape.size()) dst_strides = {1};  // Reshape: one run
    e.srcs.push_back({src, raw_dtype(dst.dtype), std::move(strides), from});
    e.dst = {p.srcs.size(), raw_dtype(dst.dtype), dst_strides, to};
    for (KernelSource& k : generate_elementwise(e)) launches.push_back(std::move(k));
  }
  /// dst = a single element, or zero.
  void fill_dst() {
    const TensorDesc& dst = p.dsts[0];
    Elementwise e;
    e.shape = dst.shape;
    e.dst = {p.srcs.size(), raw_dtype(dst.dtype), dst.strides};
    if (p.srcs.size() > 1)
      e.srcs.push_back({1, raw_dtype(dst.dtype), Strides(dst.shape.size(), 0)});
    else
      e.function = "HR i64 f() { return 0; }\n";
    for (KernelSource& k : generate_elementwise(e)) launches.push_back(std::move(k));
  }
};

std::int64_t dot(const Shape& a, const Strides& b) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

void add_constant_pad(Boxes& boxes, const Pad& pad) {
  const TensorDesc &src = boxes.p.srcs[0], &dst = boxes.p.dsts[0];
  boxes.fill_dst();
  Shape shape = src.shape;
  std::int64_t from = 0, to = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t before = pad.before[i].value, after = pad.after[i].value;
    if (before < 0)
      from -= before * src.strides[i];
    else
      to += before * dst.strides[i];
    shape[i] = std::max<std::int64_t>(
        0, shape[i] + std::min<std::int64_t>(before, 0) + std::min<std::int64_t>(after, 0));
  }
  boxes.add(0, shape, src.strides, from, to);
}

/// The statement that folds index i of an axis back into [0, extent).
std::string folded(PadMode mode, std::int64_t extent) {
  if (mode == PadMode::edge) return fmt::format("i = i < 0 ? 0 : i >= {0} ? {0} - 1 : i;", extent);
  if (mode == PadMode::wrap) return fmt::format("i = ((i % {0}) + {0}) % {0};", extent);
  if (extent == 1) return "i = 0;";
  return fmt::format("i = ((i % {0}) + {0}) % {0}; i = i < {1} ? i : {0} - i;", 2 * (extent - 1), extent);
}

KernelSource fold_pad(const Problem& p, const Pad& pad) {
  const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
  const std::int64_t total = dst.elements();
  std::string body;
  for (std::size_t a = dst.shape.size(); a-- > 0;) {
    body += fmt::format(
        "  {{ i64 i = r % {0}; r /= {0}; to += i * {1}LL; i -= {2}LL; {3} from += i * {4}LL; }}\n",
        dst.shape[a], dst.strides[a], pad.before[a].value, folded(pad.mode, src.shape[a]), src.strides[a]);
  }
  const std::string T = type_name(raw_dtype(dst.dtype));
  KernelSource k;
  k.source = fill(R"cuda($PRELUDE$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$(const $T$* src, $T$* dst) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= $TOTAL$LL) return;
  i64 r = i, from = 0, to = 0;
$BODY$  dst[to] = src[from];
}
)cuda",
                  {{"PRELUDE", std::string(kPrelude)},
                   {"ENTRY", kEntry},
                   {"T", T},
                   {"TOTAL", std::to_string(total)},
                   {"BODY", body}});
  k.geometry = linear_geometry(total, 256);
  k.operands = {0, p.srcs.size()};
  return k;
}

class CopyTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.copy"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (p.srcs.empty()) return refuse("not a copy: no source");
    const bool reshape = op_as<Reshape>(p) != nullptr;
    const Pad* pad = op_as<Pad>(p);
    if (!op_as<Transpose>(p) && !op_as<Slice>(p) && !op_as<Concat>(p) && !op_as<Broadcast>(p) &&
        !op_as<Reorder>(p) && !reshape && !pad)
      return refuse("not a copy");
    if (pad && pad->mode != PadMode::constant)
      for (const std::int64_t extent : p.srcs[0].shape)
        if (extent == 0) return refuse("padding of an empty tensor by its own elements");
    const auto plain = [](const TensorDesc& d) { return d.layout == Layout::plain && d.is_dense(); };
    if (reshape && (!plain(p.srcs[0]) || !plain(p.dsts[0])))
      return refuse("Reshape of a tensor that is not dense and plain");
    return refuse_operands(p);
  }
  Program generate(const Problem& p, const Choice&) const override {
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    Boxes boxes{p};
    if (const auto* transpose = op_as<Transpose>(p)) {
      Strides strides;
      for (const std::int64_t axis : transpose->perm)
        strides.push_back(src.strides[static_cast<std::size_t>(axis)]);
      boxes.add(0, dst.shape, strides, 0, 0);
    } else if (const auto* slice = op_as<Slice>(p)) {
      Strides strides = src.strides;
      for (std::size_t i = 0; i < strides.size(); ++i) strides[i] *= slice->steps[i].value;
      boxes.add(0, dst.shape, strides, dot(to_shape(slice->starts), src.strides), 0);
    } else if (const auto* concat = op_as<Concat>(p)) {
      const auto axis = static_cast<std::size_t>(concat->axis);
      std::int64_t at = 0;
      for (std::size_t i = 0; i < p.srcs.size(); ++i) {
        boxes.add(i, p.srcs[i].shape, p.srcs[i].strides, 0, at * dst.strides[axis]);
        at += p.srcs[i].shape[axis];
      }
    } else if (const auto* pad = op_as<Pad>(p)) {
      if (pad->mode == PadMode::constant)
        add_constant_pad(boxes, *pad);
      else if (dst.elements() > 0)
        boxes.launches.push_back(fold_pad(p, *pad));
    } else if (op_as<Reshape>(p)) {
      boxes.add(0, {dst.elements()}, {1}, 0, 0);
    } else {  // Reorder, Broadcast
      boxes.add(0, dst.shape, broadcast_strides(src, dst.shape), 0, 0);
    }
    return {"cuda.copy " + std::string(name(p.op)), std::move(boxes.launches)};
  }
};

}  // namespace

std::unique_ptr<Tactic> make_copy() { return std::make_unique<CopyTactic>(); }

}  // namespace headrace::cuda
