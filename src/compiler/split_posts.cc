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

namespace headrace::compiler {
namespace {

std::vector<Post>* posts_of(Op& op) {
  if (auto* conv = std::get_if<Conv>(&op)) return &conv->post;
  if (auto* deconv = std::get_if<ConvTranspose>(&op)) return &deconv->post;
  if (auto* matmul = std::get_if<MatMul>(&op)) return &matmul->post;
  return nullptr;
}

std::size_t operands_of(const std::vector<Post>& posts, std::size_t count) {
  return static_cast<std::size_t>(std::count_if(posts.begin(),
                                                posts.begin() + static_cast<std::ptrdiff_t>(count),
                                                [](const Post& p) { return arity(p.op) == 2; }));
}

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

Pointwise to_pointwise(std::span<const Post> posts, DType dtype, std::span<const DType> operands) {
  Pointwise result;
  const DType inside = dtype == DType::f16 ? DType::f32 : dtype;
  const auto load = [&](std::int32_t index, DType type) {
    const std::int32_t loaded = result.expr.load(index, type);
    return type == inside ? loaded : result.expr.op(PwOp::cast, inside, loaded);
  };
  std::int32_t value = load(0, dtype), next = 0;
  for (const Post& post : posts) {
    std::int32_t other = -1;
    if (arity(post.op) == 2) {
      other = load(next + 1, operands[static_cast<std::size_t>(next)]);
      ++next;
    }
    value = result.expr.op(post.op, inside, value, other, -1, post.alpha, post.beta);
  }
  if (inside != dtype) result.expr.op(PwOp::cast, dtype, value);
  return result;
}

}  // namespace

void split_posts(const Draft& draft, Graph& graph) {
  for (NodeId n : graph.nodes()) {
    const Node node = graph.node(n);
    Op op = node.op;
    std::vector<Post>* posts = posts_of(op);
    if (!posts || posts->empty()) continue;
    const std::vector<Post> all = *posts;
    const std::size_t own = node.inputs.size() - operands_of(all, all.size());
    std::size_t keep = all.size() + 1;
    std::vector<ValueId> inputs;
    do {
      --keep;
      posts->resize(keep);
      inputs.assign(node.inputs.begin(),
                    node.inputs.begin() + static_cast<std::ptrdiff_t>(own + operands_of(all, keep)));
    } while (keep > 0 && !is_taken(draft, graph, op, inputs, node.outputs[0]));
    if (keep == all.size() || !is_taken(draft, graph, op, inputs, node.outputs[0])) continue;
    const ValueId bare = graph.add1(op, inputs, node.origins, n);
    std::vector<ValueId> rest{bare};
    std::vector<DType> types;
    for (auto it = node.inputs.begin() + static_cast<std::ptrdiff_t>(inputs.size()); it != node.inputs.end();
         ++it) {
      rest.push_back(*it);
      types.push_back(graph.value(*it).type.dtype);
    }
    const std::span<const Post> dropped = std::span(all).subspan(keep);
    const ValueId result = graph.add1(to_pointwise(dropped, graph.value(bare).type.dtype, types),
                                      std::move(rest), node.origins, n);
    graph.replace_uses(node.outputs[0], result);
    graph.erase(n);
  }
}

}  // namespace headrace::compiler
