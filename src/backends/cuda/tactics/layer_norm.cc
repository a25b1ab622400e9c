// cuda.layer_norm: LayerNorm and RMS norm, floats, any strides, statistics if asked for.
//
// The mean first, then the deviation from it: exact also where the mean is far from zero.
#include <algorithm>

#include <fmt/format.h>

#include "backends/cuda/codegen_rows.h"
#include "backends/cuda/codegen_tactic.h"

namespace headrace::cuda {
namespace {

constexpr std::string_view kAccumulator = R"cuda(
struct Acc { $R$ a; };
HR Acc lane(Acc x, int mask) { x.a = from_lane(x.a, mask); return x; }
HR void merge(Acc& x, const Acc& y) { x.a += y.a; }
)cuda";

class LayerNormTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.layer_norm"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<LayerNorm>(p)) return refuse("not a LayerNorm");
    for (const TensorDesc& d : p.srcs)
      if (!is_float(d.dtype)) return refuse("not floating-point");
    return refuse_operands(p);
  }
  bool in_place(const Problem& p, std::size_t src, std::size_t dst) const override {
    return src == 0 && dst == 0 && p.srcs[0] == p.dsts[0];
  }
  Program generate(const Problem& p, const Choice&) const override {
    const LayerNorm& op = *op_as<LayerNorm>(p);
    const Shape& shape = p.srcs[0].shape;
    const auto axis = static_cast<std::ptrdiff_t>(op.axis);
    std::vector<RowOperand> operands;
    const auto add = [&](std::size_t index, DType dtype, const std::string& name, const Strides& strides) {
      operands.push_back({index, dtype, name, Strides(strides.begin(), strides.begin() + axis),
                          Strides(strides.begin() + axis, strides.end())});
    };
    add(0, p.srcs[0].dtype, "p0", p.srcs[0].strides);
    add(p.srcs.size(), p.dsts[0].dtype, "p1", p.dsts[0].strides);
    std::vector<std::size_t> read;
    const std::string R = register_name(p.srcs[0].dtype);
    std::string value = op.rms ? "x * inverse" : "(x - mean) * inverse";
    std::size_t next = 1;
    for (const bool scale : {true, false}) {
      if (!(scale ? op.has_scale : op.has_bias)) continue;
      read.push_back(operands.size());
      add(next, p.srcs[next].dtype, scale ? "scale" : "bias", broadcast_strides(p.srcs[next], shape));
      value += scale ? " * scale__" : " + bias__";
      ++next;
    }
    std::string statistics;
    for (std::size_t i = 1; i < p.dsts.size(); ++i) {
      const std::string name = i == 1 ? "out_mean" : "out_inverse";
      statistics += fmt::format("  if (active && lane_ == 0) {}[at{}] = Store<{}>::of({});\n", name,
                                operands.size(), type_name(p.dsts[i].dtype), i == 1 ? "mean" : "inverse");
      add(p.srcs.size() + i, p.dsts[i].dtype, name, p.dsts[i].strides);
      std::fill(operands.back().inner.begin(), operands.back().inner.end(), 0);
    }
    Program program{"cuda.layer_norm", {}};
    if (p.srcs[0].elements() == 0) return program;
    const RowKernel rows(Shape(shape.begin(), shape.begin() + axis), Shape(shape.begin() + axis, shape.end()),
                         operands);
    const std::string length = fmt::format("({}){}", R, rows.length());
    std::string body = "  Acc acc; acc.a = 0;\n";
    body += rows.pass(true, op.rms ? "" : "acc.a += x;");
    if (op.rms)
      body += fmt::format("  const {0} mean = 0;\n", R);
    else
      body += fmt::format("  group_merge<{2}>(acc);\n  const {0} mean = acc.a / {1};\n  acc.a = 0;\n", R,
                          length, rows.group());
    body += rows.pass(false, "acc.a += (x - mean) * (x - mean);");
    body +=
        fmt::format("  group_merge<{2}>(acc);\n  const {0} inverse = ({0})1 / m_sqrt(acc.a / {1} + {3});\n",
                    R, length, rows.group(), literal(op.epsilon, p.srcs[0].dtype));
    body += rows.store_pass(value, read) + statistics;
    program.launches.push_back(rows.source(fill(kAccumulator, {{"R", R}}), body));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_layer_norm() { return std::make_unique<LayerNormTactic>(); }

}  // namespace headrace::cuda
