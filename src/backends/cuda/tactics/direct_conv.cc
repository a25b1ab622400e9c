// cuda.direct_conv: Conv and ConvTranspose of any floats, groups, layouts, strides, one to three spatial
// axes.
//
// The tactic for what libraries refuse: one thread per result, no reuse but the caches'. Where channels are
// innermost the weights are packed [taps][channel of the group][map], so that neighbouring threads read
// neighbours; elsewhere they are used as they are.
#include <cstring>

#include <fmt/format.h>

#include "backends/cuda/codegen_expr.h"
#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/codegen_window.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

constexpr const char* kFormat = "direct";

/// Conv and ConvTranspose seen alike.
struct View {
  const Ints *strides, *dilations;
  const Dims* pads;
  const std::vector<Post>* post;
  std::int64_t groups;
  bool has_bias, transposed;
};
std::optional<View> view(const Problem& p) {
  if (const auto* c = op_as<Conv>(p))
    return View{&c->strides, &c->dilations, &c->pads_begin, &c->post, c->groups, c->has_bias, false};
  if (const auto* c = op_as<ConvTranspose>(p))
    return View{&c->strides, &c->dilations, &c->pads_begin, &c->post, c->groups, c->has_bias, true};
  return std::nullopt;
}

/// The loops over the taps down to the source positions j2, j3, ...
std::string open_loops(const View& v, const TensorDesc& src, const Shape& weights) {
  std::string out, tap = "0";
  for (std::size_t a = 2; a < src.shape.size(); ++a) {
    const std::size_t k = a - 2;
    out += fmt::format("  for (int k{0} = 0; k{0} < {1}; ++k{0}) {{\n", a, weights[a]);
    if (v.transposed)
      out += fmt::format(
          "    const idx s{0} = i{0} + {1} - k{0} * {2};\n    if (s{0} < 0 || s{0} % {3} != 0) continue;\n"
          "    const idx j{0} = s{0} / {3};\n    if (j{0} >= {4}) continue;\n",
          a, (*v.pads)[k].value, (*v.dilations)[k], (*v.strides)[k], src.shape[a]);
    else
      out += fmt::format(
          "    const idx j{0} = i{0} * {1} - {2} + k{0} * {3};\n    if (j{0} < 0 || j{0} >= {4}) continue;\n",
          a, (*v.strides)[k], (*v.pads)[k].value, (*v.dilations)[k], src.shape[a]);
    tap = fmt::format("({}) * {} + k{}", tap, weights[a], a);
  }
  return out + fmt::format("  const int tap = {};\n", tap);
}

class DirectConvTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.direct_conv"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const auto v = view(p);
    if (!v) return refuse("not a Conv or ConvTranspose");
    if (const auto* c = op_as<Conv>(p); c && !c->pool_kernel.empty())
      return refuse("a max-pool after the convolution");
    const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
    const std::size_t rank = src.shape.size();
    if (rank < 3 || rank > 5 || weights.shape.size() != rank || v->strides->size() != rank - 2)
      return refuse("one to three spatial axes only");
    for (const TensorDesc& d : p.srcs)
      if (!is_float(d.dtype)) return refuse("not floating-point");
    if (weights.dtype != src.dtype || dst.dtype != src.dtype) return refuse("mixed dtypes");
    if (weights.layout == Layout::packed && (weights.format != kFormat || dst.strides[1] != 1))
      return refuse("weights packed as " + weights.format);
    return refuse_operands(p, 1);
  }
  std::optional<Packed> pack(const Problem& p, const Choice&, std::size_t index,
                             const HostTensor& weights) const override {
    if (index != 1 || p.dsts[0].strides[1] != 1) return std::nullopt;
    const View v = *view(p);
    const auto size = static_cast<std::int64_t>(size_bytes(weights.dtype()));
    const Shape& shape = weights.shape();
    const std::int64_t maps = p.dsts[0].shape[1], channels = p.srcs[0].shape[1] / v.groups,
                       own = maps / v.groups;
    std::int64_t taps = 1;
    for (std::size_t a = 2; a < shape.size(); ++a) taps *= shape[a];
    Packed packed{kFormat, std::vector<std::byte>(weights.bytes().size())};
    for (std::int64_t m = 0; m < maps; ++m)
      for (std::int64_t c = 0; c < channels; ++c)
        for (std::int64_t t = 0; t < taps; ++t) {
          const std::int64_t from = v.transposed ? ((m / own * channels + c) * own + m % own) * taps + t
                                                 : (m * channels + c) * taps + t;
          std::memcpy(packed.bytes.data() + ((t * channels + c) * maps + m) * size,
                      weights.bytes().data() + from * size, static_cast<std::size_t>(size));
        }
    return packed;
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t) const override {
    return static_cast<std::size_t>(p.srcs[1].elements()) * size_bytes(p.srcs[1].dtype);
  }
  Program generate(const Problem& p, const Choice&) const override {
    const View v = *view(p);
    const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
    const std::size_t rank = dst.shape.size();
    Program program{"cuda.direct_conv", {}};
    if (dst.elements() == 0) return program;
    const std::int64_t maps = dst.shape[1], channels = src.shape[1] / v.groups, own = maps / v.groups;
    const std::string T = type_name(src.dtype), R = register_name(src.dtype);
    std::string parameters = fmt::format("const {0}* src, const {0}* weights", T), start = "0";
    std::vector<std::size_t> operands{0, 1};
    std::size_t next = 2;
    if (v.has_bias) {
      parameters += fmt::format(", const {}* bias", type_name(p.srcs[2].dtype));
      start = fmt::format("({})reg(bias[i1 * (idx){}])", R, p.srcs[2].strides[0]);
      operands.push_back(next++);
    }
    for (std::size_t q = 0; q < post_operands(*v.post); ++q) {
      parameters += fmt::format(", const {}* q{}", type_name(p.srcs[next + q].dtype), q);
      operands.push_back(next + q);
    }
    operands.push_back(p.srcs.size());
    const PostCode post = post_code(*v.post, p.srcs, next, dst, 1, "acc");
    std::string at = "i0 * (idx)" + std::to_string(src.strides[0]), close;
    std::string weight_at =
        v.transposed ? fmt::format("(group * {} + c) * (idx){} + i1 % {} * (idx){}", channels,
                                   weights.strides[0], own, weights.strides[1])
                     : fmt::format("i1 * (idx){} + c * (idx){}", weights.strides[0], weights.strides[1]);
    for (std::size_t a = 2; a < rank; ++a) {
      at += fmt::format(" + j{} * (idx){}", a, src.strides[a]);
      weight_at += fmt::format(" + k{} * (idx){}", a, weights.strides[a]);
      close += "  }\n";
    }
    if (weights.layout == Layout::packed)
      weight_at = fmt::format("((idx)tap * {} + c) * {} + i1", channels, maps);
    KernelSource k;
    k.source = fill(R"cuda($PRELUDE$$INDEX$$POST$
extern "C" __global__ void __launch_bounds__(128) $ENTRY$($PARAMETERS$, $T$* dst) {
  const uidx thread = (uidx)blockIdx.x * 128u + threadIdx.x;
  if (thread >= (uidx)$THREADS$ULL) return;
$POSITIONS$  const idx group = i1 / $OWN$;
  $R$ acc = $START$;
$OPEN$  const $T$* from = src + ($AT$ + group * (idx)$CHANNELS$ * (idx)$CSTRIDE$);
#pragma unroll 4
  for (idx c = 0; c < $CHANNELS$; ++c) acc += reg(from[c * (idx)$CSTRIDE$]) * reg(weights[$WEIGHT_AT$]);
$CLOSE$  constexpr int v = 0;
$LOADS$  dst[$TO$] = Store<$T$>::of($CALL$);
}
)cuda",
                    {{"PRELUDE", std::string(kPrelude)},
                     {"INDEX", index_types(is_wide({&src, &dst, &weights}))},
                     {"POST", v.post->empty() ? "" : print_post("post", *v.post, dst.dtype)},
                     {"ENTRY", kEntry},
                     {"PARAMETERS", parameters},
                     {"T", T},
                     {"R", R},
                     {"THREADS", std::to_string(dst.elements())},
                     {"POSITIONS", positions(dst, std::vector<std::int64_t>(rank, 1), "thread")},
                     {"OWN", std::to_string(own)},
                     {"START", start},
                     {"OPEN", open_loops(v, src, weights.shape)},
                     {"AT", at},
                     {"CHANNELS", std::to_string(channels)},
                     {"CSTRIDE", std::to_string(src.strides[1])},
                     {"WEIGHT_AT", weight_at},
                     {"CLOSE", close},
                     {"LOADS", post.loads},
                     {"CALL", post.call},
                     {"TO", offset_text(dst, 0, rank)}});
    k.geometry = linear_geometry(dst.elements(), 128);
    k.operands = std::move(operands);
    program.launches.push_back(std::move(k));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_direct_conv() { return std::make_unique<DirectConvTactic>(); }

}  // namespace headrace::cuda
