// cuda.softmax: (log-)softmax along any axis, floats, any strides.
#include <fmt/format.h>

#include "backends/cuda/codegen_rows.h"
#include "backends/cuda/codegen_tactic.h"

namespace headrace::cuda {
namespace {

// The running maximum and the sum of exp(x - maximum). NaN stays.
constexpr std::string_view kAccumulator = R"cuda(
struct Acc { $R$ m, s; };
HR Acc lane(Acc a, int mask) { a.m = from_lane(a.m, mask); a.s = from_lane(a.s, mask); return a; }
HR void merge(Acc& a, const Acc& b) {
  const $R$ m = m_max(a.m, b.m);
  a.s = (a.s == 0 ? ($R$)0 : a.s * m_exp(a.m - m)) + (b.s == 0 ? ($R$)0 : b.s * m_exp(b.m - m));
  a.m = m;
}
)cuda";

class SoftmaxTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.softmax"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<Softmax>(p)) return refuse("not a Softmax");
    if (!is_float(p.srcs[0].dtype)) return refuse("not floating-point");
    if (p.srcs[0].shape.empty()) return refuse("scalar");
    return refuse_operands(p);
  }
  bool in_place(const Problem& p, std::size_t, std::size_t) const override { return p.srcs[0] == p.dsts[0]; }
  Program generate(const Problem& p, const Choice&) const override {
    const Softmax& op = *op_as<Softmax>(p);
    const auto axis = static_cast<std::size_t>(op.axis);
    Shape outer = p.srcs[0].shape;
    const Shape inner{outer[axis]};
    outer.erase(outer.begin() + op.axis);
    const auto operand = [&](std::size_t index, const TensorDesc& d) {
      RowOperand o{index, d.dtype, "p" + std::to_string(index), d.strides, {d.strides[axis]}};
      o.outer.erase(o.outer.begin() + op.axis);
      return o;
    };
    Program program{"cuda.softmax", {}};
    if (p.srcs[0].elements() == 0) return program;
    const RowKernel rows(outer, inner, {operand(0, p.srcs[0]), operand(1, p.dsts[0])});
    const std::string R = rows.register_type();
    const std::string exp = is_half(p.srcs[0].dtype) ? "m_exp_fast" : "m_exp";
    // The maximum of the thread's own elements first, then one exponential each; a row in registers keeps
    // them.
    const bool keep = rows.cached() && !op.log;
    std::string body = fmt::format("  Acc acc; acc.m = ({0})-HR_INF; acc.s = 0;\n", R);
    body += rows.pass(true, "acc.m = m_max(x, acc.m);");
    body += fmt::format("  const {0} own = acc.m, base = own == ({0})-HR_INF ? 0 : own;\n", R);
    body += rows.pass(false, (keep ? "cache[k][v] = " : "const auto e = ") + exp +
                                 (keep ? "(x - base); acc.s += cache[k][v];" : "(x - base); acc.s += e;"));
    body += fmt::format("  group_merge<{}>(acc);\n", rows.group());
    // A row of -inf alone has no softmax: NaN, as 0/0.
    body += fmt::format("  if (acc.s == 0) acc.m = ({0})HR_NAN;\n", R);
    if (op.log) {
      body += fmt::format("  const {} rest = m_log(acc.s);\n", R);
      body += rows.store_pass("(x - acc.m) - rest", {});
    } else if (keep) {
      body += fmt::format("  const {} rest = {}(own - acc.m) / acc.s;\n", R, exp);
      body += rows.store_pass("x * rest", {});
    } else {
      body += fmt::format("  const {0} rest = ({0})1 / acc.s;\n", R);
      body += rows.store_pass(exp + "(x - acc.m) * rest", {});
    }
    program.launches.push_back(rows.source(fill(kAccumulator, {{"R", R}}), body));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_softmax() { return std::make_unique<SoftmaxTactic>(); }

}  // namespace headrace::cuda
