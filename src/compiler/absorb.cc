// A convolution takes its neighbours in, where a kernel of the backend does both at once:
//
//   conv(f16(x), w)     ->  conv(x, w)                          x f32, an input of the model
//   max_pool(conv(x))   ->  conv(x, pool_kernel=[...], ...)     nobody else reads the convolution
//
// By rule where such a kernel asks for channels_last, the layout of convolutions; when tuning only where it
// is faster than the steps apart.
#include <cmath>

#include <headrace/error.h>

#include "compiler/draft.h"
#include "core/post.h"

namespace headrace::compiler {
namespace {

class Absorber {
 public:
  Absorber(Draft& draft, Graph& graph) : draft_(draft), graph_(graph) {}

  void run() {
    for (NodeId n : graph_.nodes()) {
      if (!graph_.alive(n) || !std::holds_alternative<Conv>(graph_.node(n).op)) continue;
      n = absorb_rounding(n);
      absorb_pool(n);
    }
  }

 private:
  /// Images as they come lie plain; in between activations are channels_last.
  TensorDesc desc(ValueId id) const {
    const Value& v = graph_.value(id);
    Shape shape = resolve(v.type.shape, draft_.values);
    for (std::int64_t& extent : shape) extent = std::max<std::int64_t>(extent, 0);
    const bool plain = v.producer == kNoNode || shape.size() < 3;
    return TensorDesc::dense(v.type.dtype, std::move(shape), plain ? Layout::plain : Layout::channels_last);
  }
  Problem problem(const Op& op, const std::vector<ValueId>& inputs, ValueId output) const {
    std::vector<TensorDesc> srcs;
    for (ValueId id : inputs) srcs.push_back(desc(id));
    return make_problem(op, std::move(srcs), {desc(output)}, draft_);
  }
  double fastest(const Op& op, const std::vector<ValueId>& inputs, ValueId output) const {
    std::vector<Constant> constants;
    for (ValueId id : inputs) constants.push_back(graph_.value(id).constant);
    return fastest_us(draft_, problem(op, inputs, output), constants);
  }
  bool is_only_reader(ValueId id, NodeId reader) const {
    return !graph_.is_output(id) && graph_.users(id) == std::vector<NodeId>{reader};
  }
  /// Whether `op` on `inputs`, with `output`'s type, may stand for the steps `first` and `second`.
  bool pays(const Op& op, const std::vector<ValueId>& inputs, ValueId output, const Node& first,
            const Node& second) const {
    const Problem whole = problem(op, inputs, output);
    const Tactic* tactic = first_accepting(draft_, whole, true);
    if (!tactic || tactic->preferred_layout(whole) != Layout::channels_last) return false;
    if (!draft_.tuner) return true;
    const double apart = fastest(first.op, first.inputs, first.outputs[0]) +
                         fastest(second.op, second.inputs, second.outputs[0]);
    return fastest(op, inputs, output) < apart;
  }
  NodeId put(const Op& op, const std::vector<ValueId>& inputs, const Node& first, const Node& second) {
    std::vector<std::string> origins = first.origins;
    origins.insert(origins.end(), second.origins.begin(), second.origins.end());
    const NodeId made = graph_.add(op, inputs, std::move(origins), second.id);
    graph_.replace_uses(second.outputs[0], graph_.node(made).outputs[0]);
    graph_.erase(second.id);
    graph_.erase(first.id);
    return made;
  }

  NodeId absorb_rounding(NodeId n) {
    const Node conv = graph_.node(n);
    const NodeId producer = graph_.value(conv.inputs[0]).producer;
    if (producer == kNoNode || !is_only_reader(conv.inputs[0], n)) return n;
    const Node cast = graph_.node(producer);
    const auto* pointwise = std::get_if<Pointwise>(&cast.op);
    if (!pointwise || cast.inputs.size() != 1 || graph_.value(cast.inputs[0]).input_index < 0) return n;
    PwExpr rounding;
    rounding.op(PwOp::cast, DType::f16, rounding.load(0, DType::f32));
    if (!(pointwise->expr == rounding)) return n;
    std::vector<ValueId> inputs = conv.inputs;
    inputs[0] = cast.inputs[0];
    return pays(conv.op, inputs, conv.outputs[0], cast, conv) ? put(conv.op, inputs, cast, conv) : n;
  }

  void absorb_pool(NodeId n) {
    const Node conv = graph_.node(n);
    Conv op = std::get<Conv>(conv.op);
    const std::vector<NodeId> readers = graph_.users(conv.outputs[0]);
    if (!op.pool_kernel.empty() || readers.size() != 1 || !is_only_reader(conv.outputs[0], readers[0]))
      return;
    const Node node = graph_.node(readers[0]);
    const auto* pool = std::get_if<Pool>(&node.op);
    if (!pool || pool->kind != PoolKind::max || pool->ceil_mode) return;
    for (std::size_t i = 1; i < node.outputs.size(); ++i)
      if (graph_.use_count(node.outputs[i]) > 0) return;  // places of the maxima
    op.pool_kernel = pool->kernel;
    op.pool_strides = pool->strides;
    op.pool_begin = pool->pads_begin;
    op.pool_end = pool->pads_end;
    if (!(pool_of(op).dilations == pool->dilations)) return;
    if (pays(op, conv.inputs, node.outputs[0], conv, node)) put(op, conv.inputs, conv, node);
  }

  Draft& draft_;
  Graph& graph_;
};

}  // namespace

void absorb(Draft& draft, Graph& graph) { Absorber(draft, graph).run(); }

}  // namespace headrace::compiler
