// f32 -> f16 over a whole graph, between the last pass and selection.
//
// Inputs and outputs of the model keep their types: they are cast at the border. Everything in between is
// held in f16 while arithmetic inside a step stays f32: a Pointwise loads f16, casts, computes as before and
// rounds once at its end; kernels of the other operators accumulate in f32. Constants are converted here; a
// finite number that f16 cannot hold becomes its largest. A node that has no f16 form keeps f32 operands.
#include "compiler/precision.h"

#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/log.h"

namespace headrace::compiler {
namespace {

HostTensor to_f16(const HostTensor& tensor, std::size_t& clamped) {
  constexpr double kLargest = 65504;
  HostTensor result(DType::f16, tensor.shape());
  for (std::int64_t i = 0, n = tensor.elements(); i < n; ++i) {
    double v = tensor.at_double(i);
    if (std::isfinite(v) && std::abs(v) > kLargest) v = std::copysign(kLargest, v), ++clamped;
    result.set_double(i, v);
  }
  return result;
}

class Converter {
 public:
  explicit Converter(const Graph& from) : from_(from) {
    to_.shapes() = from.shapes();
    to_.metadata = from.metadata;
    for (ValueId id : from.inputs()) {
      const Value& v = from.value(id);
      forms_[{id, v.type.dtype}] = to_.add_input(v.names.empty() ? std::string() : v.names.front(), v.type);
      to_.value(forms_[{id, v.type.dtype}]).names = v.names;
    }
  }

  Graph run() {
    for (NodeId n : from_.nodes()) {
      const Node& node = from_.node(n);
      const Op op = std::holds_alternative<Pointwise>(node.op) ? narrowed(node) : node.op;
      try {
        add(node, op, DType::f16);
      } catch (const Error&) {  // its types do not fit: for f32 alone
        add(node, node.op, DType::f32);
      }
    }
    for (const GraphOutput& o : from_.outputs())
      to_.add_output(o.name, form(o.value, from_.value(o.value).type.dtype));
    if (clamped_ > 0)
      log(LogSeverity::warning, clamped_, " constants exceed f16's range and were set to its largest number");
    to_.erase_dead();  // optional results that nobody reads came back with their nodes
    return std::move(to_);
  }

 private:
  /// The value in this type: as it was made, converted, or cast.
  ValueId form(ValueId id, DType dtype) {
    if (const auto it = forms_.find({id, dtype}); it != forms_.end()) return it->second;
    const Value& v = from_.value(id);
    ValueId made;
    if (v.constant) {
      made = dtype == v.type.dtype ? to_.add_constant(v.constant)
                                   : to_.add_constant(to_f16(*v.constant, clamped_));
      to_.value(made).names = v.names;
    } else {
      const DType other = dtype == DType::f16 ? DType::f32 : DType::f16;
      Pointwise cast;
      cast.expr.op(PwOp::cast, dtype, cast.expr.load(0, other));
      made = to_.add1(std::move(cast), {forms_.at({id, other})}, {"precision (Cast)"});
    }
    return forms_[{id, dtype}] = made;
  }

  void add(const Node& node, const Op& op, DType dtype) {
    std::vector<ValueId> inputs;
    for (ValueId id : node.inputs) {
      const DType own = from_.value(id).type.dtype;
      inputs.push_back(form(id, own == DType::f32 ? dtype : own));
    }
    const NodeId made = to_.add(op, std::move(inputs), node.origins);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      Value& v = to_.value(to_.node(made).outputs[i]);
      v.names = from_.value(node.outputs[i]).names;
      forms_[{node.outputs[i], v.type.dtype}] = v.id;
    }
  }

  /// The expression on f16 operands: each load of f32 becomes a load and a cast, the result is cast back.
  Op narrowed(const Node& node) const {
    const PwExpr& expr = std::get<Pointwise>(node.op).expr;
    Pointwise result;
    std::vector<std::int32_t> moved;
    const auto at = [&](std::int32_t i) { return i < 0 ? i : moved[static_cast<std::size_t>(i)]; };
    for (const PwInstr& instr : expr.code) {
      if (instr.op == PwOp::load && instr.dtype == DType::f32) {
        moved.push_back(result.expr.op(PwOp::cast, DType::f32, result.expr.load(instr.a, DType::f16)));
        continue;
      }
      PwInstr copy = instr;
      if (instr.op != PwOp::load) copy.a = at(instr.a), copy.b = at(instr.b), copy.c = at(instr.c);
      result.expr.code.push_back(copy);
      moved.push_back(static_cast<std::int32_t>(result.expr.code.size() - 1));
    }
    if (expr.code.back().dtype == DType::f32)
      result.expr.op(PwOp::cast, DType::f16, static_cast<std::int32_t>(result.expr.code.size() - 1));
    return result;
  }

  const Graph& from_;
  Graph to_;
  std::map<std::pair<ValueId, DType>, ValueId> forms_;
  std::size_t clamped_ = 0;
};

}  // namespace

Graph to_f16(const Graph& graph) { return Converter(graph).run(); }

}  // namespace headrace::compiler
