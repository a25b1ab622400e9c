// f32 -> f16, bf16 or tf32 over a whole graph, between the last pass and selection.
//
// Inputs and outputs of the model keep their types: they are cast at the border. Everything in between is
// held in 16 bits while arithmetic inside a step stays f32: a Pointwise loads 16 bits, casts, computes as
// before and rounds once at its end; kernels of the other operators accumulate in f32. Constants are
// converted here, but for those of the conversion of an input; a finite number that the type cannot hold
// becomes its largest. A node that has no such form keeps f32 operands. tf32 changes no type: it is a
// permission on the operators that multiply.
#include "compiler/precision.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/log.h"

namespace headrace::compiler {
namespace {

HostTensor to_half(const HostTensor& tensor, DType dtype, std::size_t& clamped) {
  const double largest = dtype == DType::f16 ? 65504 : 0x1.fep127;
  HostTensor result(dtype, tensor.shape());
  for (std::int64_t i = 0, n = tensor.elements(); i < n; ++i) {
    double v = tensor.at_double(i);
    if (std::isfinite(v) && std::abs(v) > largest) v = std::copysign(largest, v), ++clamped;
    result.set_double(i, v);
  }
  return result;
}

class Converter {
 public:
  Converter(const Graph& from, Precision precision, const std::set<NodeId>& keep_f32)
      : from_(from),
        narrow_(precision == Precision::fp16   ? DType::f16
                : precision == Precision::bf16 ? DType::bf16
                                               : DType::f32),
        tf32_(precision == Precision::tf32),
        keep_f32_(keep_f32) {
    to_.shapes() = from.shapes();
    to_.metadata = from.metadata;
    to_.input_formats = from.input_formats;
    for (ValueId id : from.inputs()) {
      const Value& v = from.value(id);
      forms_[{id, v.type.dtype}] = to_.add_input(v.names.empty() ? std::string() : v.names.front(), v.type);
      to_.value(forms_[{id, v.type.dtype}]).names = v.names;
    }
  }

  Graph run() {
    for (NodeId n : from_.nodes()) {
      const Node& node = from_.node(n);
      if (keep_f32_.contains(n) || narrow_ == DType::f32) {
        add(node, tf32_ && !keep_f32_.contains(n) ? permitted(node.op) : node.op, DType::f32);
        continue;
      }
      if (is_widening(node)) {
        forms_[{node.outputs[0], narrow_}] = form(node.inputs[0], narrow_);
        continue;
      }
      try {
        add(node, std::holds_alternative<Pointwise>(node.op) ? narrowed(node) : node.op, narrow_);
      } catch (const Error&) {  // its types do not fit: for f32 alone
        add(node, node.op, DType::f32);
      }
    }
    for (const GraphOutput& o : from_.outputs())
      to_.add_output(o.name, form(o.value, from_.value(o.value).type.dtype));
    if (clamped_ > 0)
      log(LogSeverity::warning, clamped_, " constants exceed the range of ", to_string(narrow_),
          " and were set to its largest number");
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
                                   : to_.add_constant(to_half(*v.constant, dtype, clamped_));
      to_.value(made).names = v.names;
    } else {
      const DType other = dtype == DType::f32 ? narrow_ : DType::f32;
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
      inputs.push_back(form(id, own != DType::f32 || stays_f32(node, id) ? own : dtype));
    }
    const NodeId made = to_.add(op, std::move(inputs), node.origins);
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      Value& v = to_.value(to_.node(made).outputs[i]);
      v.names = from_.value(node.outputs[i]).names;
      forms_[{node.outputs[i], v.type.dtype}] = v.id;
    }
  }

  static Op permitted(Op op) {
    if (auto* conv = std::get_if<Conv>(&op)) conv->tf32 = true;
    if (auto* deconv = std::get_if<ConvTranspose>(&op)) deconv->tf32 = true;
    if (auto* matmul = std::get_if<MatMul>(&op)) matmul->tf32 = true;
    return op;
  }

  /// f32(x) of an x that is narrow already.
  bool is_widening(const Node& node) const {
    const auto* pointwise = std::get_if<Pointwise>(&node.op);
    if (!pointwise || node.inputs.size() != 1) return false;
    PwExpr widening;
    widening.op(PwOp::cast, DType::f32, widening.load(0, narrow_));
    return pointwise->expr == widening;
  }
  /// The mean and deviation of an image of bytes, say: rounded they would shift all of it.
  bool stays_f32(const Node& node, ValueId operand) const {
    return std::holds_alternative<Pointwise>(node.op) && from_.value(operand).constant &&
           std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId id) {
             const Value& v = from_.value(id);
             return !v.constant && v.type.dtype != DType::f32 && v.type.dtype != DType::boolean;
           });
  }

  /// The expression on narrow operands: each load of f32 becomes a load and a cast, the result is cast back.
  Op narrowed(const Node& node) const {
    const PwExpr& expr = std::get<Pointwise>(node.op).expr;
    Pointwise result;
    std::vector<std::int32_t> moved;
    const auto at = [&](std::int32_t i) { return i < 0 ? i : moved[static_cast<std::size_t>(i)]; };
    for (const PwInstr& instr : expr.code) {
      if (instr.op == PwOp::load && instr.dtype == DType::f32 &&
          !stays_f32(node, node.inputs[static_cast<std::size_t>(instr.a)])) {
        moved.push_back(result.expr.op(PwOp::cast, DType::f32, result.expr.load(instr.a, narrow_)));
        continue;
      }
      PwInstr copy = instr;
      if (instr.op != PwOp::load) copy.a = at(instr.a), copy.b = at(instr.b), copy.c = at(instr.c);
      result.expr.code.push_back(copy);
      moved.push_back(static_cast<std::int32_t>(result.expr.code.size() - 1));
    }
    if (expr.code.back().dtype == DType::f32)
      result.expr.op(PwOp::cast, narrow_, static_cast<std::int32_t>(result.expr.code.size() - 1));
    return result;
  }

  const Graph& from_;
  DType narrow_;  ///< f32 for tf32
  bool tf32_;
  const std::set<NodeId>& keep_f32_;
  Graph to_;
  std::map<std::pair<ValueId, DType>, ValueId> forms_;
  std::size_t clamped_ = 0;
};

}  // namespace

Graph lower_precision(const Graph& graph, Precision precision, const std::set<NodeId>& keep_f32) {
  return Converter(graph, precision, keep_f32).run();
}

}  // namespace headrace::compiler
