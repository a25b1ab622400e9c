// The caller's data instead of the model's, for an input x (InputFormat):
//
//   x f32[N,C,H,W]  ->  x u8[N,C,H,W],  (cast(x) * a + b)                      a = scale / std, b = -mean /
//   std x f32[N,C,H,W]  ->  x u8[N,H,W,C],  cast(transpose(x)) * a + b             nhwc
//
// a and b are numbers in the expression, or constants [C,1,1] where channels differ. What does nothing is
// left out. The transposition becomes a view (select.cc, views.cc): the same bytes are channels_last.
#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>

#include "compiler/compiler.h"

namespace headrace::compiler {
namespace {

class Rewriter {
 public:
  Rewriter(Graph& graph, ValueId input, const InputFormat& format)
      : graph_(graph),
        input_(input),
        name_(graph.value(input).names.front()),
        format_(format),
        type_(graph.value(input).type),
        rank_(type_.shape.size()) {}

  void run() {
    refuse();
    const std::vector<NodeId> nodes = graph_.nodes();
    before_ = nodes.empty() ? kNoNode : nodes.front();
    graph_.value(input_).type = {format_.dtype, type_.shape};
    if (format_.channels_last) move_channels();
    // Readers of the input read what is made of it; only the first of the new nodes reads the input itself.
    ValueId made = input_;
    if (format_.channels_last) made = add(Transpose{to_channels_first()}, {made});
    made = convert(made);
    if (made == input_) return;
    graph_.replace_uses(input_, made);
    graph_.set_input(first_, 0, input_);
    graph_.input_formats[name_] = format_;
  }

 private:
  [[noreturn]] void bad(const std::string& why) const {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the input format of '{}' ({}) {}", name_, to_string(format_), why));
  }

  void refuse() const {
    if (!is_float(type_.dtype))
      bad(fmt::format(
          "does not fit: the model takes {} there, and only floats are converted; leave it as it is",
          to_string(type_.dtype)));
    for (const Symbol& symbol : graph_.shapes().symbols())
      for (const SymbolSource& source : symbol.sources)
        if (source.reads_data() && source.input == graph_.value(input_).input_index)
          bad("does not fit: the shapes of tensors depend on this input's values; leave it as it is");
    if (format_.channels_last && rank_ < 3)
      bad(fmt::format("asks for nhwc, but the input has {} axes and no pixels; leave nhwc out", rank_));
    for (const auto& [what, count] :
         {std::pair{"mean", format_.mean.size()}, std::pair{"std", format_.std.size()}}) {
      if (count <= 1) continue;
      if (rank_ < 2 || !type_.shape[1].is_constant())
        bad(
            fmt::format("has {} numbers of {}, but the input ({}) has no fixed number of channels; give one "
                        "for all",
                        count, what, graph_.shapes().to_string(type_.shape)));
      if (static_cast<std::int64_t>(count) != type_.shape[1].value)
        bad(
            fmt::format("has {} numbers of {}, but the input has {} channels ({}); give one each, or one for "
                        "all",
                        count, what, type_.shape[1].value, graph_.shapes().to_string(type_.shape)));
    }
  }

  Ints to_channels_first() const {
    Ints perm{0, static_cast<std::int64_t>(rank_) - 1};
    for (std::size_t a = 1; a + 1 < rank_; ++a) perm.push_back(static_cast<std::int64_t>(a));
    return perm;
  }

  /// The channels' axis of the input's own shape goes to the end, and symbols find their extents there.
  void move_channels() {
    Dims& shape = graph_.value(input_).type.shape;
    std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
    const ShapeProgram& program = graph_.shapes();
    std::vector<Symbol> symbols = program.symbols();
    for (Symbol& symbol : symbols)
      for (SymbolSource& source : symbol.sources)
        if (source.input == graph_.value(input_).input_index && source.index > 0)
          source.index = source.index == 1 ? static_cast<std::int32_t>(rank_) - 1 : source.index - 1;
    graph_.shapes() = ShapeProgram::from_data(std::move(symbols), program.exprs(), program.conditions());
  }

  ValueId add(Op op, std::vector<ValueId> inputs) {
    const NodeId node = graph_.add(std::move(op), std::move(inputs), {name_ + " (InputFormat)"}, before_);
    if (first_ == kNoNode) first_ = node;
    return graph_.node(node).outputs[0];
  }

  static double at(const std::vector<double>& values, std::size_t channel, double otherwise) {
    return values.empty() ? otherwise : values[values.size() == 1 ? 0 : channel];
  }

  ValueId convert(ValueId x) {
    const std::size_t channels = std::max({format_.mean.size(), format_.std.size(), std::size_t{1}});
    std::vector<double> factor, shift;
    for (std::size_t c = 0; c < channels; ++c) {
      factor.push_back(format_.scale / at(format_.std, c, 1));
      shift.push_back(-at(format_.mean, c, 0) / at(format_.std, c, 1));
    }
    Pointwise op;
    std::vector<ValueId> inputs{x};
    std::int32_t value = op.expr.load(0, format_.dtype);
    const auto cast = [&](DType to) {
      if (op.expr.code.back().dtype != to) value = op.expr.op(PwOp::cast, to, value);
    };
    const auto apply = [&](PwOp how, const std::vector<double>& values, double nothing) {
      const bool same = std::all_of(values.begin(), values.end(), [&](double v) { return v == values[0]; });
      if (same && values[0] == nothing) return;
      cast(DType::f32);
      std::int32_t other;
      if (same) {
        other = op.expr.constant(static_cast<float>(values[0]), DType::f32);
      } else {
        inputs.push_back(graph_.add_constant(per_channel(values)));
        other = op.expr.load(static_cast<std::int32_t>(inputs.size()) - 1, DType::f32);
      }
      value = op.expr.op(how, DType::f32, value, other);
    };
    apply(PwOp::mul, factor, 1);
    apply(PwOp::add, shift, 0);
    cast(type_.dtype);
    return op.expr.code.size() == 1 ? x : add(std::move(op), std::move(inputs));
  }

  HostTensor per_channel(const std::vector<double>& values) const {
    Shape shape(rank_ - 1, 1);
    shape[0] = static_cast<std::int64_t>(values.size());
    HostTensor tensor(DType::f32, std::move(shape));
    for (std::size_t c = 0; c < values.size(); ++c)
      tensor.set_double(static_cast<std::int64_t>(c), values[c]);
    return tensor;
  }

  Graph& graph_;
  ValueId input_;
  std::string name_;
  const InputFormat& format_;
  ValueType type_;  ///< what the model wants
  std::size_t rank_;
  NodeId before_ = kNoNode, first_ = kNoNode;
};

}  // namespace

void apply_input_formats(Graph& graph, const std::map<std::string, InputFormat>& formats) {
  std::map<std::string, ValueId> inputs;
  std::string names;
  for (const ValueId id : graph.inputs()) {
    const std::string& name = graph.value(id).names.front();
    inputs[name] = id;
    names += (names.empty() ? "'" : ", '") + name + "'";
  }
  for (const auto& [name, format] : formats) {
    check(format);
    if (name == "*" || inputs.contains(name)) continue;
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("an input format is given for '{}', but there is no such input; the inputs are {}", name,
                    names));
  }
  bool any = false;
  for (const auto& [name, id] : inputs) {
    const ValueType& type = graph.value(id).type;
    if (const auto it = formats.find(name); it != formats.end()) {
      Rewriter(graph, id, it->second).run();
    } else if (const auto all = formats.find("*");
               all != formats.end() && is_float(type.dtype) && type.shape.size() == 4) {
      Rewriter(graph, id, all->second).run();
      any = true;
    }
  }
  if (formats.contains("*") && !any)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("the input format of '*' is for every float input with 4 axes that is not named, but "
                    "there is none; the inputs are {}",
                    names));
}

}  // namespace headrace::compiler
