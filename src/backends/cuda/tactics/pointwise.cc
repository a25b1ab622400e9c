// cuda.pointwise: expressions over broadcast operands of any dtypes, layouts and strides.
#include "backends/cuda/codegen_elementwise.h"
#include "backends/cuda/codegen_expr.h"
#include "backends/cuda/codegen_tactic.h"

namespace headrace::cuda {
namespace {

class PointwiseTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.pointwise"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<Pointwise>(p)) return refuse("not a Pointwise");
    return refuse_operands(p);
  }
  bool in_place(const Problem& p, std::size_t src, std::size_t) const override {
    return p.srcs[src] == p.dsts[0];
  }
  Program generate(const Problem& p, const Choice&) const override {
    const PwExpr& expr = op_as<Pointwise>(p)->expr;
    const TensorDesc& dst = p.dsts[0];
    Elementwise e;
    e.shape = dst.shape;
    std::vector<DType> dtypes;
    for (std::size_t i = 0; i < p.srcs.size(); ++i) {
      e.srcs.push_back({i, p.srcs[i].dtype, broadcast_strides(p.srcs[i], dst.shape)});
      dtypes.push_back(p.srcs[i].dtype);
    }
    e.dst = {p.srcs.size(), dst.dtype, dst.strides};
    e.function = print_expr("f", expr, dtypes);
    e.integers = needs_integers(expr);
    return {"cuda.pointwise", generate_elementwise(e)};
  }
};

}  // namespace

std::unique_ptr<Tactic> make_pointwise() { return std::make_unique<PointwiseTactic>(); }

}  // namespace headrace::cuda
