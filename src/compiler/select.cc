// Graph -> draft steps: which layout each value has, which tactic does each step, and where a Reorder stands
// between.
//
// A node asks for channels_last when its tactic prefers it (Conv); element-wise and window operators follow
// their inputs. A node that gets neither keeps plain results, and reads what is there if its tactic can.
#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/checked.h"
#include "compiler/draft.h"

namespace headrace::compiler {
namespace {

bool is_follower(const Op& op) {
  return std::holds_alternative<Pointwise>(op) || std::holds_alternative<Concat>(op) ||
         std::holds_alternative<Pool>(op) || std::holds_alternative<Resize>(op) ||
         std::holds_alternative<Reduce>(op) || std::holds_alternative<Pad>(op) ||
         std::holds_alternative<Slice>(op);
}

bool is_convolution(const Op& op) {
  return std::holds_alternative<Conv>(op) || std::holds_alternative<ConvTranspose>(op);
}

/// Inputs of heavy operators that are weights, not activations.
bool is_parameter(const Op& op, std::size_t index) {
  const auto* conv = std::get_if<Conv>(&op);
  const auto* deconv = std::get_if<ConvTranspose>(&op);
  return (conv || deconv) && (index == 1 || (index == 2 && (conv ? conv->has_bias : deconv->has_bias)));
}

/// The same bytes whether plain or channels_last, for every shape key.
bool is_layout_neutral(const Dims& shape) {
  const bool one_channel = shape[1] == Dim(1);
  const bool one_pixel =
      std::all_of(shape.begin() + 2, shape.end(), [](const Dim& d) { return d == Dim(1); });
  return one_channel || one_pixel;
}

}  // namespace

bool is_to_channels_first(const Transpose& transpose) {
  const auto rank = static_cast<std::int64_t>(transpose.perm.size());
  if (rank < 3 || transpose.perm[0] != 0 || transpose.perm[1] != rank - 1) return false;
  for (std::int64_t a = 2; a < rank; ++a)
    if (transpose.perm[static_cast<std::size_t>(a)] != a - 1) return false;
  return true;
}

namespace {

Constant to_layout(const Constant& constant, Layout layout) {
  const Shape& shape = constant->shape();
  auto result = std::make_shared<HostTensor>(constant->dtype(), shape);
  const std::size_t size = size_bytes(constant->dtype());
  const auto from = dense_strides(shape, Layout::plain), to = dense_strides(shape, layout);
  std::byte* out = result->mutable_bytes().data();
  Shape at(shape.size(), 0);
  for (std::int64_t i = 0, n = constant->elements(); i < n; ++i) {
    std::int64_t target = 0;
    for (std::size_t a = 0; a < at.size(); ++a) target += at[a] * to[a];
    std::copy_n(constant->bytes().data() + static_cast<std::size_t>(i) * size, size,
                out + static_cast<std::size_t>(target) * size);
    for (std::size_t a = at.size(); a-- > 0;) {
      if (++at[a] < shape[a]) break;
      at[a] = 0;
    }
  }
  return result;
}

class Selector {
 public:
  Selector(Draft& draft, const Graph& graph) : draft_(draft), graph_(graph) {
    layouts_.assign(graph.value_count(), Layout::plain);
    plain_.assign(graph.value_count(), -1);
    last_.assign(graph.value_count(), -1);
  }

  void run() {
    add_inputs();
    std::set<ValueId> taken;
    for (const GraphOutput& o :
         graph_.outputs()) {  // a value that can be written straight into the caller's memory
      const Value& v = graph_.value(o.value);
      if (v.producer != kNoNode && taken.insert(o.value).second) direct_[o.value] = o.name;
    }
    const std::vector<NodeId> nodes = graph_.nodes();
    for (NodeId n : nodes) add_node(graph_.node(n));
    add_outputs();
    choose_tactics(draft_, undecided_);
  }

 private:
  bool can_last(const Value& v) const {
    return v.type.shape.size() >= 3 && (v.type.dtype == DType::f32 || is_half(v.type.dtype) ||
                                        layouts_[static_cast<std::size_t>(v.id)] == Layout::channels_last);
  }
  TensorDesc desc(ValueId id, Layout layout) const {
    const Value& v = graph_.value(id);
    Shape shape = resolve(v.type.shape, draft_.values);
    for (std::int64_t& extent : shape) extent = std::max<std::int64_t>(extent, 0);  // guessed extents
    return TensorDesc::dense(v.type.dtype, std::move(shape), layout);
  }

  std::int32_t add_tensor(PlanTensor t, Constant constant = nullptr) {
    draft_.plan.tensors.push_back(std::move(t));
    draft_.constants.push_back(std::move(constant));
    return static_cast<std::int32_t>(draft_.plan.tensors.size() - 1);
  }
  PlanTensor tensor_of(ValueId id, TensorRole role, Layout layout) const {
    const Value& v = graph_.value(id);
    PlanTensor t;
    t.name = v.names.empty() ? std::string() : v.names.front();
    t.role = role;
    t.dtype = v.type.dtype;
    t.shape = v.type.shape;
    t.layout = layout;
    return t;
  }
  std::int32_t& slot(ValueId id, Layout layout) {
    return (layout == Layout::plain ? plain_ : last_)[static_cast<std::size_t>(id)];
  }

  void add_inputs() {
    for (ValueId id : graph_.inputs()) {
      PlanTensor t = tensor_of(id, TensorRole::input, Layout::plain);
      t.name = draft_.plan.profiles.front()[draft_.plan.inputs.size()].input;
      slot(id, Layout::plain) = add_tensor(std::move(t));
      draft_.plan.inputs.push_back(slot(id, Layout::plain));
    }
  }

  /// The value's tensor in this layout; a Reorder, an alias or a rearranged constant where there is none yet.
  std::int32_t tensor(ValueId id, Layout layout) {
    std::int32_t& have = slot(id, layout);
    if (have >= 0) return have;
    const Value& v = graph_.value(id);
    if (v.constant) {
      PlanTensor t = tensor_of(id, TensorRole::weight, layout);
      have = add_tensor(std::move(t), layout == Layout::plain ? v.constant : to_layout(v.constant, layout));
      return have;
    }
    const Layout other = layout == Layout::plain ? Layout::channels_last : Layout::plain;
    const std::int32_t from = slot(id, other);
    PlanTensor t = tensor_of(id, TensorRole::activation, layout);
    if (is_layout_neutral(v.type.shape)) {
      t.view = ViewKind::alias;
      t.parent = from;
      return have = add_tensor(std::move(t));
    }
    have = add_tensor(std::move(t));
    add_reorder(from, have, desc(id, other), desc(id, layout));
    return have;
  }

  void add_reorder(std::int32_t from, std::int32_t to, TensorDesc src, TensorDesc dst) {
    DraftStep step{.op = Reorder{},
                   .inputs = {from},
                   .outputs = {to},
                   .origins = {},
                   .refused = {},
                   .tried = {},
                   .variants = {}};
    undecided_.push_back(
        {draft_.steps.size(), make_problem(step.op, {std::move(src)}, {std::move(dst)}, draft_), {nullptr}});
    draft_.steps.push_back(std::move(step));
  }

  /// Layouts of a node's operands if it works in `mode`.
  std::vector<Layout> src_layouts(const Node& node, Layout mode) const {
    std::vector<Layout> result;
    const std::size_t rank = graph_.value(node.outputs[0]).type.shape.size();
    const bool one_rank = is_follower(node.op) && !std::holds_alternative<Reduce>(node.op);
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const Value& v = graph_.value(node.inputs[i]);
      bool last = mode == Layout::channels_last && can_last(v) && !is_parameter(node.op, i) &&
                  (!one_rank || v.type.shape.size() == rank);
      if (v.constant) last = last && !is_layout_neutral(v.type.shape);
      result.push_back(last ? Layout::channels_last : Layout::plain);
    }
    return result;
  }
  std::vector<Layout> dst_layouts(const Node& node, Layout mode) const {
    std::vector<Layout> result;
    const auto* reduce = std::get_if<Reduce>(&node.op);
    for (ValueId o : node.outputs) {
      const bool last =
          mode == Layout::channels_last && can_last(graph_.value(o)) && !(reduce && !reduce->keep_dims);
      result.push_back(last ? Layout::channels_last : Layout::plain);
    }
    return result;
  }
  Problem problem(const Node& node, const std::vector<Layout>& srcs, const std::vector<Layout>& dsts) const {
    std::vector<TensorDesc> src, dst;
    for (std::size_t i = 0; i < srcs.size(); ++i) src.push_back(desc(node.inputs[i], srcs[i]));
    for (std::size_t i = 0; i < dsts.size(); ++i) dst.push_back(desc(node.outputs[i], dsts[i]));
    return make_problem(node.op, std::move(src), std::move(dst), draft_);
  }

  bool any_last_input(const Node& node) const {
    return std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId i) {
      return layouts_[static_cast<std::size_t>(i)] == Layout::channels_last &&
             !is_layout_neutral(graph_.value(i).type.shape);
    });
  }

  /// A cast at the border of a network writes the layout of its readers at once: plain -> channels_last for
  /// convolutions, channels_last -> plain for an output of the model.
  bool try_mixed(const Node& node, std::vector<Layout>& srcs, std::vector<Layout>& dsts) const {
    if (!std::holds_alternative<Pointwise>(node.op) || node.inputs.size() != 1) return false;
    const Value &from = graph_.value(node.inputs[0]), &to = graph_.value(node.outputs[0]);
    if (from.type.dtype == to.type.dtype || !can_last(to) || !can_last(from) ||
        is_layout_neutral(to.type.shape))
      return false;
    const bool is_last = layouts_[static_cast<std::size_t>(from.id)] == Layout::channels_last;
    const std::vector<NodeId> users = graph_.users(to.id);
    const bool for_convolutions = !users.empty() && std::all_of(users.begin(), users.end(), [&](NodeId u) {
      return is_convolution(graph_.node(u).op);
    });
    if (is_last ? !graph_.is_output(to.id) || !users.empty() : !for_convolutions || graph_.is_output(to.id))
      return false;
    const std::vector<Layout> src{is_last ? Layout::channels_last : Layout::plain};
    const std::vector<Layout> dst{is_last ? Layout::plain : Layout::channels_last};
    if (!first_accepting(draft_, problem(node, src, dst), true)) return false;
    srcs = src;
    dsts = dst;
    return true;
  }

  /// A convolution reads an image as it lies and writes channels_last, where a kernel that wants that can.
  bool try_direct(const Node& node, std::vector<Layout>& srcs, std::vector<Layout>& dsts) const {
    if (!std::holds_alternative<Conv>(node.op) || graph_.value(node.inputs[0]).constant ||
        layouts_[static_cast<std::size_t>(node.inputs[0])] != Layout::plain)
      return false;
    auto src = src_layouts(node, Layout::channels_last), dst = dst_layouts(node, Layout::channels_last);
    src[0] = Layout::plain;
    const Problem direct = problem(node, src, dst);
    const Tactic* tactic = first_accepting(draft_, direct, true);
    if (!tactic || tactic->preferred_layout(direct) != Layout::channels_last) return false;
    srcs = std::move(src);
    dsts = std::move(dst);
    return true;
  }

  /// An image that lies NHWC is one in channels_last already, where those who read it can take that.
  bool try_renamed(const Node& node, std::vector<Layout>& dsts) const {
    const auto* transpose = std::get_if<Transpose>(&node.op);
    if (!transpose || !is_to_channels_first(*transpose) || graph_.is_output(node.outputs[0]) ||
        graph_.value(node.inputs[0]).input_index < 0)
      return false;
    const std::vector<NodeId> users = graph_.users(node.outputs[0]);
    const bool welcome = std::all_of(users.begin(), users.end(), [&](NodeId u) {
      const Op& op = graph_.node(u).op;
      return is_follower(op) || is_convolution(op);
    });
    const std::vector<Layout> dst{Layout::channels_last};
    if (!welcome || !first_accepting(draft_, problem(node, {Layout::plain}, dst), true)) return false;
    dsts = dst;
    return true;
  }

  void add_node(const Node& node) {
    const auto plain_srcs = src_layouts(node, Layout::plain), plain_dsts = dst_layouts(node, Layout::plain);
    auto srcs = plain_srcs, dsts = plain_dsts;
    const Problem plain = problem(node, plain_srcs, plain_dsts);
    const Tactic* by_rule = first_accepting(draft_, plain);
    const bool wants = !by_rule || by_rule->preferred_layout(plain) == Layout::channels_last;
    const bool backend_can = first_accepting(draft_, plain, true) != nullptr;
    bool last = try_renamed(node, dsts) || try_mixed(node, srcs, dsts) || try_direct(node, srcs, dsts);
    if (!last && (wants || (is_follower(node.op) && any_last_input(node)))) {
      srcs = src_layouts(node, Layout::channels_last);
      dsts = dst_layouts(node, Layout::channels_last);
      last = first_accepting(draft_, problem(node, srcs, dsts), backend_can) != nullptr;
    }
    if (!last) {  // plain results, from the inputs as they are if some tactic can read them so
      dsts = plain_dsts;
      srcs = plain_srcs;
      bool mixed = false;
      for (std::size_t i = 0; i < srcs.size(); ++i) {
        const auto v = static_cast<std::size_t>(node.inputs[i]);
        if (layouts_[v] != Layout::channels_last ||
            is_layout_neutral(graph_.value(node.inputs[i]).type.shape))
          continue;
        if (std::holds_alternative<Reshape>(node.op)) continue;  // becomes a view of the reordered tensor
        srcs[i] = Layout::channels_last;
        mixed = true;
      }
      if (mixed && !first_accepting(draft_, problem(node, srcs, dsts), backend_can)) srcs = plain_srcs;
    }
    DraftStep step{.op = node.op,
                   .inputs = {},
                   .outputs = {},
                   .origins = node.origins,
                   .refused = {},
                   .tried = {},
                   .variants = {}};
    std::vector<Constant> constants;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      step.inputs.push_back(tensor(node.inputs[i], srcs[i]));
      constants.push_back(draft_.constants[static_cast<std::size_t>(step.inputs.back())]);
    }
    undecided_.push_back({draft_.steps.size(), problem(node, srcs, dsts), std::move(constants)});
    for (std::size_t i = 0; i < node.outputs.size(); ++i) {
      const ValueId o = node.outputs[i];
      const auto direct = direct_.find(o);
      const bool is_direct = direct != direct_.end() && dsts[i] == Layout::plain;
      PlanTensor t = tensor_of(o, is_direct ? TensorRole::output : TensorRole::activation, dsts[i]);
      if (is_direct) t.name = direct->second;
      layouts_[static_cast<std::size_t>(o)] = dsts[i];
      slot(o, dsts[i]) = add_tensor(std::move(t));
      step.outputs.push_back(slot(o, dsts[i]));
    }
    draft_.steps.push_back(std::move(step));
  }

  void add_outputs() {
    std::set<std::int32_t> used;
    for (const GraphOutput& o : graph_.outputs()) {
      const Value& v = graph_.value(o.value);
      std::int32_t have = slot(o.value, Layout::plain);
      if (have >= 0 && draft_.plan.tensors[static_cast<std::size_t>(have)].role == TensorRole::output &&
          draft_.plan.tensors[static_cast<std::size_t>(have)].name == o.name && used.insert(have).second) {
        draft_.plan.outputs.push_back(have);
        continue;
      }
      // An input, a constant, a value in another layout, or one that is an output already: a copy.
      Layout from = Layout::plain;
      if (have < 0) {
        from = v.constant ? Layout::plain : layouts_[static_cast<std::size_t>(o.value)];
        have = tensor(o.value, from);
      }
      PlanTensor t = tensor_of(o.value, TensorRole::output, Layout::plain);
      t.name = o.name;
      const std::int32_t out = add_tensor(std::move(t));
      add_reorder(have, out, desc(o.value, from), desc(o.value, Layout::plain));
      used.insert(out);
      draft_.plan.outputs.push_back(out);
    }
  }

  Draft& draft_;
  const Graph& graph_;
  std::vector<Layout> layouts_;             ///< by value: what its producer makes
  std::vector<std::int32_t> plain_, last_;  ///< by value: its tensor in that layout, -1: none
  std::map<ValueId, std::string> direct_;
  std::vector<Undecided> undecided_;
};

}  // namespace

void select(Draft& draft, const Graph& graph) { Selector(draft, graph).run(); }

}  // namespace headrace::compiler
