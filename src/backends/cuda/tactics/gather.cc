// cuda.gather: Gather, GatherElements and GatherNd of any dtype and strides. An index out of range is
// clamped.
//
// Each element of dst (16 bytes of them where all sides are contiguous) finds its source: the position along
// the gathered axes comes from the indices, the rest from its own.
#include <fmt/format.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

/// Statements that add to `from`; and how many inner axes of dst are copied as they are from inner axes of
/// data.
struct Addressing {
  std::string text;
  std::size_t slab = 0;
};

std::string clamped(const std::string& at, std::int64_t extent, std::int64_t stride) {
  return fmt::format("  {{ {} from += (idx)j * (idx){}; }}\n", index_text(at, extent), stride);
}
std::string step(std::size_t dst_axis, std::int64_t stride) {
  return fmt::format("  from += i{} * (idx){};\n", dst_axis, stride);
}

Addressing addressing(const Problem& p) {
  const TensorDesc &data = p.srcs[0], &indices = p.srcs[1];
  Addressing a;
  if (const auto* op = op_as<Gather>(p)) {
    const auto axis = static_cast<std::size_t>(op->axis), k = indices.shape.size();
    std::string at = "0";
    for (std::size_t i = 0; i < k; ++i) at += fmt::format(" + i{} * (idx){}", axis + i, indices.strides[i]);
    a.text = clamped(at, data.shape[axis], data.strides[axis]);
    for (std::size_t i = 0; i < data.shape.size(); ++i)
      if (i != axis) a.text += step(i < axis ? i : i + k - 1, data.strides[i]);
    a.slab = data.shape.size() - axis - 1;
  } else if (const auto* elements = op_as<GatherElements>(p)) {
    const auto axis = static_cast<std::size_t>(elements->axis);
    a.text = clamped(offset_text(indices, 0, indices.shape.size()), data.shape[axis], data.strides[axis]);
    for (std::size_t i = 0; i < data.shape.size(); ++i)
      if (i != axis) a.text += step(i, data.strides[i]);
  } else {
    const auto batch = static_cast<std::size_t>(std::get<GatherNd>(p.op).batch_dims);
    const std::size_t lead = indices.shape.size() - 1, tuple = static_cast<std::size_t>(indices.shape[lead]);
    for (std::size_t k = 0; k < tuple; ++k)
      a.text += clamped(offset_text(indices, 0, lead) +
                            fmt::format(" + (idx){}", static_cast<std::int64_t>(k) * indices.strides[lead]),
                        data.shape[batch + k], data.strides[batch + k]);
    for (std::size_t i = 0; i < batch; ++i) a.text += step(i, data.strides[i]);
    a.slab = data.shape.size() - batch - tuple;
    for (std::size_t i = 0; i < a.slab; ++i) a.text += step(lead + i, data.strides[batch + tuple + i]);
  }
  return a;
}

class GatherTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.gather"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<Gather>(p) && !op_as<GatherElements>(p) && !op_as<GatherNd>(p)) return refuse("not a Gather");
    if (p.srcs.size() != 2 || (p.srcs[1].dtype != DType::i32 && p.srcs[1].dtype != DType::i64))
      return refuse("indices are neither i32 nor i64");
    if (op_as<GatherNd>(p) && p.srcs[1].shape.empty()) return refuse("scalar indices");
    if (p.srcs[0].elements() == 0 && p.dsts[0].elements() > 0) return refuse("gathers from an empty tensor");
    return refuse_operands(p);
  }
  Program generate(const Problem& p, const Choice&) const override {
    const TensorDesc &data = p.srcs[0], &dst = p.dsts[0];
    const std::size_t rank = dst.shape.size();
    Program program{"cuda.gather", {}};
    if (dst.elements() == 0) return program;
    const Addressing a = addressing(p);
    const auto size = static_cast<std::int64_t>(size_bytes(dst.dtype));
    // The last axis, when it is contiguous on both sides, goes by vectors.
    std::vector<std::int64_t> steps(rank, 1);
    std::int64_t V = 1, src_chunk = size, dst_chunk = size;
    if (a.slab > 0 && dst.strides[rank - 1] == 1 && data.strides.back() == 1) {
      for (V = 16 / size; V > 1 && dst.shape[rank - 1] % V != 0;) V /= 2;
      steps[rank - 1] = V;
      if (V > 1) {
        src_chunk = access_bytes(V, size, Strides(data.strides.begin(), data.strides.end() - 1));
        dst_chunk = access_bytes(V, size, Strides(dst.strides.begin(), dst.strides.end() - 1));
      }
    }
    const std::int64_t threads = position_count(dst, steps);
    KernelSource k;
    k.source = fill(R"cuda($PRELUDE$$INDEX$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$(const $T$* data, const $I$* indices, $T$* dst) {
  constexpr int V = $V$;
  const uidx thread = (uidx)blockIdx.x * 256u + threadIdx.x;
  if (thread >= (uidx)$THREADS$ULL) return;
$POSITIONS$  idx from = 0;
$ADDRESS$  alignas(16) $T$ r[V];
  load<V, $SRC_CHUNK$>(r, data + from, is_aligned(data, $SRC_CHUNK$));
  store<V, $DST_CHUNK$>(dst + ($TO$), r, is_aligned(dst, $DST_CHUNK$));
}
)cuda",
                    {{"PRELUDE", std::string(kPrelude)},
                     {"INDEX", index_types(is_wide({&data, &dst, &p.srcs[1]}))},
                     {"ENTRY", kEntry},
                     {"T", type_name(raw_dtype(dst.dtype))},
                     {"I", type_name(p.srcs[1].dtype)},
                     {"V", std::to_string(V)},
                     {"THREADS", std::to_string(threads)},
                     {"POSITIONS", positions(dst, steps, "thread")},
                     {"ADDRESS", a.text},
                     {"SRC_CHUNK", std::to_string(src_chunk)},
                     {"DST_CHUNK", std::to_string(dst_chunk)},
                     {"TO", offset_text(dst, 0, rank)}});
    k.geometry = linear_geometry(threads, 256);
    k.operands = {0, 1, 2};
    program.launches.push_back(std::move(k));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_gather() { return std::make_unique<GatherTactic>(); }

}  // namespace headrace::cuda
