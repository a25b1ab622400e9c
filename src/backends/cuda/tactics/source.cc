// cuda.source: Iota and HostValue. The few integers of a HostValue are constants of the kernel.
#include <fmt/format.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

class SourceTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.source"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const HostValue* value = op_as<HostValue>(p);
    if (!op_as<Iota>(p) && !value) return refuse("not a source");
    if (value && (value->values.size() > 4096 ||
                  static_cast<std::int64_t>(value->values.size()) != p.dsts[0].elements()))
      return refuse("more than 4096 values, or not as many as elements");
    return refuse_operands(p);
  }
  Program generate(const Problem& p, const Choice&) const override {
    const TensorDesc& dst = p.dsts[0];
    Program program{"cuda.source", {}};
    const std::int64_t n = dst.elements();
    if (n == 0) return program;
    std::string table, value, offset = "const i64 to = i;";
    if (const Iota* iota = op_as<Iota>(p)) {
      value = fmt::format("(i64)((u64){} + (u64)i * (u64){})", literal(iota->start.value),
                          literal(iota->step.value));
      offset = fmt::format("const i64 to = i * {}LL;", dst.strides[0]);
    } else {
      table = "__device__ const i64 values[] = {";
      for (const Dim& d : op_as<HostValue>(p)->values) table += literal(d.value) + ", ";
      table += "};\n";
      value = "values[i]";
      offset = "i64 to = 0, r = i;";
      for (std::size_t a = dst.shape.size(); a-- > 0;)
        offset += fmt::format(" to += r % {0} * {1}LL; r /= {0};", dst.shape[a], dst.strides[a]);
    }
    if (dst.dtype == DType::boolean) value += " != 0";
    KernelSource k;
    k.source = fill(R"cuda($PRELUDE$$TABLE$
extern "C" __global__ void __launch_bounds__(256) $ENTRY$($T$* dst) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i >= $N$LL) return;
  $OFFSET$
  dst[to] = Store<$T$>::of($VALUE$);
}
)cuda",
                    {{"PRELUDE", std::string(kPrelude)},
                     {"TABLE", table},
                     {"ENTRY", kEntry},
                     {"T", type_name(dst.dtype)},
                     {"N", std::to_string(n)},
                     {"OFFSET", offset},
                     {"VALUE", value}});
    k.geometry = linear_geometry(n, 256);
    k.operands = {0};
    program.launches.push_back(std::move(k));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_source() { return std::make_unique<SourceTactic>(); }

}  // namespace headrace::cuda
