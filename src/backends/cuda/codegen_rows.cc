#include "backends/cuda/codegen_rows.h"

#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kBlock = 256, kCached = 64;  // elements of a thread that stay in registers
constexpr std::int64_t kManyRows = 132 * 8;

}  // namespace

RowKernel::RowKernel(const Shape& outer, const Shape& inner, std::vector<RowOperand> operands)
    : operands_(std::move(operands)) {
  std::vector<Strides> outers, inners;
  for (const RowOperand& o : operands_) {
    outers.push_back(o.outer);
    inners.push_back(o.inner);
  }
  outer_ = make_nest(outer, outers);
  inner_ = make_nest(inner, inners);
  const std::int64_t E = inner_.extents.back();
  const bool contiguous = inner_.strides[0].back() == 1 && inner_.strides[1].back() == 1;
  if (contiguous) {
    const auto size =
        static_cast<std::int64_t>(std::max(size_bytes(operands_[0].dtype), size_bytes(operands_[1].dtype)));
    for (V_ = 16 / size; V_ > 1 && (E % V_ != 0 || E < 32 * V_); V_ /= 2) {
    }
  }
  vectors_ = inner_.count() / V_;
  // Lanes side by side read along the row where it is contiguous, else along the outer positions.
  if (contiguous || outer_.count() < kBlock || inner_.count() > 4096) {
    // A warp per row where there are many; up to a block where they are few or long.
    const std::int64_t most = outer_.count() >= kManyRows && vectors_ * V_ <= 32 * 48 ? 32 : kBlock;
    const auto lanes = static_cast<std::uint64_t>(std::max<std::int64_t>(1, divide_up(vectors_, 2)));
    G_ = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::bit_ceil(lanes)), 1, most);
  }
  K_ = divide_up(vectors_, G_);
  cached_ = K_ * V_ <= kCached;
}

std::int64_t RowKernel::chunk(std::size_t operand) const {
  const auto size = static_cast<std::int64_t>(size_bytes(operands_[operand].dtype));
  if (V_ == 1 || inner_.strides[operand].back() != 1) return size;
  Strides steps(inner_.strides[operand].begin(), inner_.strides[operand].end() - 1);
  steps.insert(steps.end(), outer_.strides[operand].begin(), outer_.strides[operand].end());
  return access_bytes(V_, size, steps);
}

std::string RowKernel::offset(std::size_t operand) const {
  Nest vectors = inner_;
  vectors.strides = {inner_.strides[operand]};
  vectors.extents.back() /= V_;
  vectors.strides[0].back() *= V_;
  return fmt::format("idx o = at{}; {}", operand, decompose(vectors, "i", {"o"}));
}

std::string RowKernel::pass(bool first, const std::string& body) const {
  const std::string R = register_type(), T = type_name(operands_[0].dtype);
  const std::string read = fmt::format(
      "      {}      alignas(16) {} r_[V]; load<V, {}>(r_, p0 + o, aligned);\n", offset(0), T, chunk(0));
  const std::string each = "#pragma unroll\n      for (int v = 0; v < V; ++v) { ";
  std::string out = cached_ ? "#pragma unroll\n" : "";
  out += "  for (int k = 0; k < K; ++k) {\n    const uidx i = (uidx)k * G + lane_;\n    if (i < VECTORS) {\n";
  if (cached_) {
    if (first) out += read + each + "cache[k][v] = reg(r_[v]); }\n";
    if (!body.empty()) out += each + fmt::format("const {} x = cache[k][v]; {} }}\n", R, body);
  } else if (!body.empty()) {
    out += read + each + fmt::format("const {} x = reg(r_[v]); {} }}\n", R, body);
  } else {
    return "";
  }
  return out + "    }\n  }\n";
}

std::string RowKernel::store_pass(const std::string& value, const std::vector<std::size_t>& read) const {
  const std::string R = register_type(), T = type_name(operands_[0].dtype), D = type_name(operands_[1].dtype);
  std::string out = cached_ ? "#pragma unroll\n" : "";
  out +=
      "  for (int k = 0; k < K; ++k) {\n    const uidx i = (uidx)k * G + lane_;\n    if (i < VECTORS && "
      "active) {\n";
  std::string names;
  if (!cached_)
    out += fmt::format("      alignas(16) {} r_[V]; {{ {} load<V, {}>(r_, p0 + o, aligned); }}\n", T,
                       offset(0), chunk(0));
  for (const std::size_t o : read) {
    const RowOperand& operand = operands_[o];
    const std::int64_t stride = inner_.strides[o].back();
    const std::string type = type_name(operand.dtype);
    out += fmt::format("      alignas(16) {} {}_[V]; {{ {}", type, operand.name, offset(o));
    if (stride == 1)
      out += fmt::format("load<V, {}>({}_, {} + o, aligned); }}\n", chunk(o), operand.name, operand.name);
    else
      out += fmt::format("for (int v = 0; v < V; ++v) {}_[v] = {}[o + v * (idx){}]; }}\n", operand.name,
                         operand.name, stride);
    names += fmt::format("const {} {}__ = ({})reg({}_[v]); ", R, operand.name, R, operand.name);
  }
  out += fmt::format(
      "      alignas(16) {} out_[V];\n#pragma unroll\n      for (int v = 0; v < V; ++v) {{ const {} x = {}; "
      "{}out_[v] = Store<{}>::of({}); }}\n",
      D, R, cached_ ? "cache[k][v]" : "reg(r_[v])", names, D, value);
  out += fmt::format("      {}      store<V, {}>(p1 + o, out_, aligned);\n", offset(1), chunk(1));
  return out + "    }\n  }\n";
}

KernelSource RowKernel::source(const std::string& device_code, const std::string& body) const {
  std::string parameters, offsets, aligned = "true";
  std::vector<std::string> names;
  bool wide = is_wide(outer_) || is_wide(inner_);
  for (std::size_t o = 0; o < operands_.size(); ++o) {
    const RowOperand& operand = operands_[o];
    const bool constant = operand.name != "p1" && operand.name.rfind("out", 0) != 0;
    parameters += fmt::format("{}{}{}* {}", o ? ", " : "", constant ? "const " : "", type_name(operand.dtype),
                              operand.name);
    names.push_back("at" + std::to_string(o));
    offsets += "  idx " + names.back() + " = 0;\n";
    wide |= outer_.span(o) + inner_.span(o) >= INT32_MAX / 2;
    const std::int64_t bytes = chunk(o);
    if (bytes > static_cast<std::int64_t>(size_bytes(operand.dtype)))
      aligned += fmt::format(" && is_aligned({}, {})", operand.name, bytes);
  }
  KernelSource k;
  k.source = fill(R"cuda($PRELUDE$$INDEX$$DEVICE$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$($PARAMETERS$) {
  constexpr int G = $G$, V = $V$, K = $K$;
  constexpr uidx VECTORS = $VECTORS$ULL;
  const uidx lane_ = threadIdx.x % G, row_ = (uidx)blockIdx.x * (256 / G) + threadIdx.x / G;
  const bool active = row_ < (uidx)$ROWS$ULL, aligned = $ALIGNED$;
  const uidx row = active ? row_ : 0;
$OFFSETS$  $DECOMPOSE$$CACHE$$BODY$}
)cuda",
                  {{"PRELUDE", std::string(kPrelude)},
                   {"INDEX", index_types(wide)},
                   {"DEVICE", device_code + std::string(kGroupPrelude)},
                   {"ENTRY", kEntry},
                   {"PARAMETERS", parameters},
                   {"G", std::to_string(G_)},
                   {"V", std::to_string(V_)},
                   {"K", std::to_string(K_)},
                   {"VECTORS", std::to_string(vectors_)},
                   {"ROWS", std::to_string(outer_.count())},
                   {"ALIGNED", aligned},
                   {"OFFSETS", offsets},
                   {"DECOMPOSE", decompose(outer_, "row", names)},
                   {"CACHE", cached_ ? fmt::format("  {} cache[K][V];\n", register_type()) : ""},
                   {"BODY", body}});
  k.geometry = linear_geometry(divide_up(outer_.count(), kBlock / G_), 1);
  k.geometry.block[0] = kBlock;
  for (const RowOperand& o : operands_) k.operands.push_back(o.index);
  return k;
}

}  // namespace headrace::cuda
