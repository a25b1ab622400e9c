// Post steps that no kernel of the backend takes become a Pointwise of their own.
//
//   conv(x, w, post=[add r, silu])  ->  pointwise(conv(x, w, post=[add r]); silu)      if the backend fuses
//   only add
//
// The longest prefix that some tactic takes stays with the operator. In f16 graphs the Pointwise computes in
// f32.
#include <algorithm>

#include <headrace/error.h>

#include "compiler/draft.h"
#include "core/post.h"

namespace headrace::compiler {
namespace {

/// Whether a tactic of the backend takes this node, with its activations plain or channels_last.
bool is_taken(const Draft& draft, const Graph& graph, const Op& op, std::span<const ValueId> inputs,
              ValueId output) {
  for (const Layout layout : {Layout::channels_last, Layout::plain}) {
    const auto desc = [&](ValueId id) {
      const Value& v = graph.value(id);
      Shape shape = resolve(v.type.shape, draft.values);
      for (std::int64_t& extent : shape) extent = std::max<std::int64_t>(extent, 0);
      const bool plain = v.constant || shape.size() < 3;
      return TensorDesc::dense(v.type.dtype, std::move(shape), plain ? Layout::plain : layout);
    };
    std::vector<TensorDesc> srcs;
    for (ValueId id : inputs) srcs.push_back(desc(id));
    if (first_accepting(draft, make_problem(op, std::move(srcs), {desc(output)}, draft), true)) return true;
  }
  return false;
}

}  // namespace

void split_posts(const Draft& draft, Graph& graph) {
  for (NodeId n : graph.nodes()) {
    const Node node = graph.node(n);
    Op op = node.op;
    std::vector<Post>* posts = posts_of(op);
    if (!posts || posts->empty()) continue;
    const std::vector<Post> all = *posts;
    const std::size_t own = node.inputs.size() - post_operands(all);
    std::size_t keep = all.size() + 1;
    std::vector<ValueId> inputs;
    do {
      --keep;
      posts->resize(keep);
      inputs.assign(
          node.inputs.begin(),
          node.inputs.begin() + static_cast<std::ptrdiff_t>(own + post_operands(std::span(all).first(keep))));
    } while (keep > 0 && !is_taken(draft, graph, op, inputs, node.outputs[0]));
    if (keep == all.size() || !is_taken(draft, graph, op, inputs, node.outputs[0])) continue;
    const ValueId bare = graph.add1(op, inputs, node.origins, n);
    std::vector<ValueId> rest{bare};
    std::vector<DType> types{graph.value(bare).type.dtype};
    for (auto it = node.inputs.begin() + static_cast<std::ptrdiff_t>(inputs.size()); it != node.inputs.end();
         ++it) {
      rest.push_back(*it);
      types.push_back(graph.value(*it).type.dtype);
    }
    const ValueId result = graph.add1(Pointwise{post_expr(std::span(all).subspan(keep), types)},
                                      std::move(rest), node.origins, n);
    graph.replace_uses(node.outputs[0], result);
    graph.erase(n);
  }
}

}  // namespace headrace::compiler
