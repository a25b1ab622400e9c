// cuda.resize: every Resize (nearest, linear, cubic, antialiased) over any axes and strides, any dtype for
// nearest.
//
// The taps of each resized axis are tables in the kernel's module, computed in double on the host. A thread
// makes one position, of 16 bytes of channels where these are contiguous. Enlarging by whole numbers needs no
// table.
#include <fmt/format.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/prelude.h"
#include "backends/cuda/kernels/resize_taps.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kMaxEntries = 1 << 16;

std::string table(const std::string& type, const std::string& name, std::size_t n, auto&& entry) {
  std::string out = fmt::format("__device__ const {} {}[] = {{", type, name);
  for (std::size_t i = 0; i < n; ++i) out += (i % 16 ? "" : "\n") + entry(i) + ",";
  return out + "};\n";
}

/// The k for which the table is i / k, or 0.
std::int64_t whole_factor(const ResizeAxis& t, std::int64_t in, std::int64_t out) {
  if (t.taps != 1 || in == 0 || out % in != 0) return 0;
  const std::int64_t k = out / in;
  for (std::size_t i = 0; i < t.index.size(); ++i)
    if (t.outside[i] || t.index[i] != static_cast<std::int64_t>(i) / k) return 0;
  return k;
}

class ResizeTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.resize"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Resize* op = op_as<Resize>(p);
    if (!op) return refuse("not a Resize");
    const std::size_t rank = p.srcs[0].shape.size();
    if (rank == 0 || p.dsts[0].shape.size() != rank) return refuse("scalar");
    if (op->mode != ResizeMode::nearest && !is_float(p.srcs[0].dtype))
      return refuse("interpolation of integers");
    if ((!op->scales.empty() && op->scales.size() != rank) ||
        (!op->roi.empty() && op->roi.size() != 2 * rank))
      return refuse("incomplete scales or roi");
    if (p.srcs[0].elements() == 0 && p.dsts[0].elements() > 0) return refuse("of an empty tensor");
    std::int64_t entries = 0;
    for (std::size_t a = 0; a < rank; ++a) {
      const std::int64_t in = p.srcs[0].shape[a], out = p.dsts[0].shape[a];
      const double shrink =
          op->antialias && out < in ? static_cast<double>(in) / static_cast<double>(out) : 1;
      if (in != out) entries += static_cast<std::int64_t>(static_cast<double>(out) * 4 * shrink);
    }
    if (entries > kMaxEntries) return refuse("extents beyond the tables");
    return refuse_operands(p);
  }
  Layout preferred_layout(const Problem& p) const override {
    return p.srcs[0].shape.size() >= 3 ? Layout::channels_last : Layout::plain;
  }
  Program generate(const Problem& p, const Choice&) const override {
    const Resize& op = *op_as<Resize>(p);
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    const std::size_t rank = dst.shape.size();
    const bool nearest = op.mode == ResizeMode::nearest;
    Program program{"cuda.resize", {}};
    if (dst.elements() == 0) return program;
    const DType dtype = src.dtype;
    const std::string R = register_name(dtype);
    std::string tables, setup, open, close, at = "0", weight, outside = "false";
    std::vector<bool> copied(rank);
    for (std::size_t a = 0; a < rank; ++a) {
      const ResizeAxis t = make_resize_axis(op, a, src.shape[a], dst.shape[a]);
      copied[a] = t.identity;
      const std::string A = std::to_string(a);
      if (t.identity) {
        at += fmt::format(" + i{} * (idx){}", a, src.strides[a]);
        continue;
      }
      if (const std::int64_t k = whole_factor(t, src.shape[a], dst.shape[a])) {
        at += fmt::format(" + i{} / {} * (idx){}", a, k, src.strides[a]);
        continue;
      }
      tables += table("int", "index" + A, t.index.size(),
                      [&](std::size_t i) { return std::to_string(t.index[i]); });
      at += fmt::format(" + index{0}[i{0} * {1} + t{0}] * (idx){2}", a, t.taps, src.strides[a]);
      open += fmt::format("{}  for (int t{} = 0; t{} < {}; ++t{}) {{\n",
                          t.taps <= 4 ? "#pragma unroll\n" : "", a, a, t.taps, a);
      close += "  }\n";
      if (!nearest) {
        tables += table(R, "weight" + A, t.weight.size(),
                        [&](std::size_t i) { return literal(t.weight[i], dtype); });
        weight += fmt::format(" * weight{0}[i{0} * {1} + t{0}]", a, t.taps);
      }
      for (std::size_t i = 0; i < t.outside.size(); ++i) {
        if (!t.outside[i]) continue;
        tables += table("bool", "outside" + A, t.outside.size(),
                        [&](std::size_t j) { return std::string(t.outside[j] ? "1" : "0"); });
        outside += fmt::format(" || outside{0}[i{0}]", a);
        break;
      }
    }
    ChannelVector c{1, static_cast<std::int64_t>(size_bytes(dtype)),
                    static_cast<std::int64_t>(size_bytes(dtype))};
    if (rank >= 3 && copied[1]) c = channel_vector(src, dst, 16);
    std::vector<std::int64_t> steps(rank, 1);
    if (rank >= 2) steps[1] = c.V;
    const std::int64_t threads = position_count(dst, steps);
    const std::string T = type_name(dtype);
    KernelSource k;
    k.source =
        fill(R"cuda($PRELUDE$$INTEGERS$$INDEX$$TABLES$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$(const $T$* src, $T$* dst) {
  constexpr int V = $V$;
  const uidx thread = (uidx)blockIdx.x * 256u + threadIdx.x;
  if (thread >= (uidx)$THREADS$ULL) return;
$POSITIONS$  const bool aligned = is_aligned(src, $SRC_CHUNK$), outside = $OUTSIDE$;
  alignas(16) $T$ out[V];
  if (outside) {
#pragma unroll
    for (int v = 0; v < V; ++v) out[v] = $EXTRAPOLATION$;
  } else {
$BODY$  }
  store<V, $DST_CHUNK$>(dst + ($TO$), out, is_aligned(dst, $DST_CHUNK$));
}
)cuda",
             {{"PRELUDE", std::string(kPrelude)},
              {"INTEGERS", is_float(dtype) ? "" : std::string(kIntegerPrelude)},
              {"INDEX", index_types(is_wide({&src, &dst}))},
              {"TABLES", tables},
              {"ENTRY", kEntry},
              {"T", T},
              {"V", std::to_string(c.V)},
              {"THREADS", std::to_string(threads)},
              {"POSITIONS", positions(dst, steps, "thread")},
              {"SRC_CHUNK", std::to_string(c.src_chunk)},
              {"DST_CHUNK", std::to_string(c.dst_chunk)},
              {"OUTSIDE", outside},
              {"EXTRAPOLATION",
               is_float(dtype) ? fmt::format("Store<{}>::of({})", T, literal(op.extrapolation, dtype))
                               : fmt::format("({})int_of({})", T, literal(op.extrapolation, DType::f64))},
              {"BODY",
               nearest ? nearest_body(open, close, at, T, c) : taps_body(open, close, at, weight, R, T, c)},
              {"TO", offset_text(dst, 0, rank)}});
    k.geometry = linear_geometry(threads, 256);
    k.operands = {0, 1};
    program.launches.push_back(std::move(k));
    return program;
  }

 private:
  /// One tap: elements move as they are.
  static std::string nearest_body(const std::string& open, const std::string& close, const std::string& at,
                                  const std::string&, const ChannelVector& c) {
    return open + fmt::format("    load<V, {}>(out, src + ({}), aligned);\n", c.src_chunk, at) + close;
  }
  static std::string taps_body(const std::string& open, const std::string& close, const std::string& at,
                               const std::string& weight, const std::string& R, const std::string& T,
                               const ChannelVector& c) {
    return fmt::format("    {0} acc[V];\n#pragma unroll\n    for (int v = 0; v < V; ++v) acc[v] = 0;\n", R) +
           open +
           fmt::format(
               "    const {0} weight = ({0})1{1};\n    if (weight != 0) {{\n    alignas(16) {2} r[V]; "
               "load<V, "
               "{3}>(r, src + ({4}), aligned);\n#pragma unroll\n    for (int v = 0; v < V; ++v) acc[v] += "
               "weight * "
               "reg(r[v]);\n    }}\n",
               R, weight, T, c.src_chunk, at) +
           close +
           fmt::format("#pragma unroll\n    for (int v = 0; v < V; ++v) out[v] = Store<{}>::of(acc[v]);\n",
                       T);
  }
};

}  // namespace

std::unique_ptr<Tactic> make_resize() { return std::make_unique<ResizeTactic>(); }

}  // namespace headrace::cuda
