// Per-channel scale and shift after a convolution or matrix product goes into its constant weights and bias:
//   a * conv(x, w) + b            -> conv(x, a*w) + b          (BatchNormalization is imported as such a
//   Pointwise) a * conv_transpose(x, w) + b  -> conv_transpose(x, a*w) + b, where w is [C, M/groups, ...] a *
//   matmul(x, w) + b          -> matmul(x, w*a) + b
#include <algorithm>
#include <optional>

#include "passes/pass.h"

namespace headrace::passes {
namespace {

/// scale * x + shift per channel; for constants, scale is empty.
struct Affine {
  std::vector<double> scale, shift;
};

/// Values of a constant that varies along `axis` only, `count` of them; nothing when it varies elsewhere.
std::optional<std::vector<double>> per_channel(const HostTensor& c, std::size_t rank, std::size_t axis,
                                               std::int64_t count) {
  const Shape& shape = c.shape();
  if (shape.size() > rank) return std::nullopt;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1 && (i + rank - shape.size() != axis || shape[i] != count)) return std::nullopt;
  std::vector<double> values;
  const bool scalar = c.elements() == 1;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(c.at_double(scalar ? 0 : i));
  return values;
}

template <class F>
std::vector<double> zip(const std::vector<double>& a, const std::vector<double>& b, F f) {
  std::vector<double> result;
  for (std::size_t i = 0; i < a.size(); ++i) result.push_back(f(a[i], b[i]));
  return result;
}

/// The expression of `node` as scale*x + shift in its input `x`.
std::optional<Affine> as_affine(const Graph& graph, const Node& node, ValueId x, std::size_t rank,
                                std::size_t axis, std::int64_t count) {
  std::vector<Affine> values;
  for (const PwInstr& in : std::get<Pointwise>(node.op).expr.code) {
    const auto operand = [&](std::int32_t i) -> const Affine& { return values[static_cast<std::size_t>(i)]; };
    const auto times = [](double p, double q) { return p * q; };
    const auto plus = [](double p, double q) { return p + q; };
    Affine v;
    if (in.dtype != DType::f32) return std::nullopt;
    if (in.op == PwOp::load) {
      const ValueId id = node.inputs[static_cast<std::size_t>(in.a)];
      if (id == x) {
        v = {std::vector<double>(static_cast<std::size_t>(count), 1),
             std::vector<double>(static_cast<std::size_t>(count), 0)};
      } else {
        const Constant& c = graph.value(id).constant;
        auto channel = c ? per_channel(*c, rank, axis, count) : std::nullopt;
        if (!channel) return std::nullopt;
        v.shift = std::move(*channel);
      }
    } else if (in.op == PwOp::constant) {
      v.shift.assign(static_cast<std::size_t>(count), in.alpha);
    } else if (in.op == PwOp::mul) {
      const bool left = !operand(in.a).scale.empty(), right = !operand(in.b).scale.empty();
      if (left && right) return std::nullopt;
      const Affine& p = left ? operand(in.a) : operand(in.b);
      const Affine& q = left ? operand(in.b) : operand(in.a);
      v = {zip(p.scale, q.shift, times), zip(p.shift, q.shift, times)};
    } else if (in.op == PwOp::div) {
      if (!operand(in.b).scale.empty()) return std::nullopt;
      const auto over = [](double p, double q) { return p / q; };
      v = {zip(operand(in.a).scale, operand(in.b).shift, over),
           zip(operand(in.a).shift, operand(in.b).shift, over)};
    } else if (in.op == PwOp::add || in.op == PwOp::sub) {
      const double sign = in.op == PwOp::add ? 1 : -1;
      const Affine &p = operand(in.a), &q = operand(in.b);
      if (!p.scale.empty() && !q.scale.empty()) return std::nullopt;
      v.scale = p.scale;
      if (p.scale.empty())
        for (double s : q.scale) v.scale.push_back(sign * s);
      v.shift = zip(p.shift, q.shift, [&](double s, double t) { return plus(s, sign * t); });
    } else {
      return std::nullopt;
    }
    values.push_back(std::move(v));
  }
  if (values.back().scale.empty()) return std::nullopt;
  return values.back();
}

/// w scaled by `scale[channel(i)]`.
template <class Channel>
HostTensor scaled(const HostTensor& weights, const std::vector<double>& scale, Channel channel) {
  HostTensor result(DType::f32, weights.shape());
  const auto src = weights.as<float>();
  const auto dst = result.as_mutable<float>();
  for (std::size_t i = 0; i < src.size(); ++i)
    dst[i] = static_cast<float>(static_cast<double>(src[i]) * scale[channel(i)]);
  return result;
}

struct Heavy {
  std::size_t channel_axis = 0;
  std::int64_t channels = 0;
  bool has_bias = false;
};

std::optional<Heavy> heavy(const Graph& graph, const Node& node) {
  const ValueType& out = graph.value(node.outputs[0]).type;
  const auto usable = [&](bool has_bias, bool plain) {
    return plain && out.dtype == DType::f32 && graph.value(node.inputs[1]).constant &&
           (!has_bias || graph.value(node.inputs[2]).constant);
  };
  const auto found = [&](std::size_t axis, bool has_bias) -> std::optional<Heavy> {
    if (!out.shape[axis].is_constant()) return std::nullopt;
    return Heavy{axis, out.shape[axis].value, has_bias};
  };
  if (const auto* c = std::get_if<Conv>(&node.op); c && usable(c->has_bias, c->post.empty()))
    return found(1, c->has_bias);
  if (const auto* c = std::get_if<ConvTranspose>(&node.op); c && usable(c->has_bias, c->post.empty()))
    return found(1, c->has_bias);
  if (const auto* m = std::get_if<MatMul>(&node.op); m && usable(m->has_bias, m->post.empty())) {
    if (graph.value(node.inputs[1]).constant->shape().size() != 2) return std::nullopt;
    if (m->has_bias && graph.value(node.inputs[2]).constant->shape().size() > 1) return std::nullopt;
    return found(out.shape.size() - 1, m->has_bias);
  }
  return std::nullopt;
}

HostTensor scaled_weights(const Node& node, const HostTensor& weights, const std::vector<double>& scale) {
  const Shape& shape = weights.shape();
  const auto extent = [&](std::size_t i) { return static_cast<std::size_t>(shape[i]); };
  std::size_t inner = 1;
  for (std::size_t i = 2; i < shape.size(); ++i) inner *= extent(i);
  if (std::holds_alternative<Conv>(node.op))
    return scaled(weights, scale, [&](std::size_t i) { return i / (inner * extent(1)); });
  if (const auto* c = std::get_if<ConvTranspose>(&node.op)) {
    const std::size_t per_group = extent(0) / static_cast<std::size_t>(c->groups);
    return scaled(weights, scale, [&, per_group](std::size_t i) {
      const std::size_t in = i / (inner * extent(1)), out = i / inner % extent(1);
      return in / per_group * extent(1) + out;
    });
  }
  if (std::get<MatMul>(node.op).transpose_b)
    return scaled(weights, scale, [&](std::size_t i) { return i / extent(1); });
  return scaled(weights, scale, [&](std::size_t i) { return i % extent(1); });
}

}  // namespace

bool fold_affine(Graph& graph, const PassContext&) {
  bool changed = false;
  for (NodeId id : graph.nodes()) {
    const Node affine_node = graph.node(id);
    if (!std::holds_alternative<Pointwise>(affine_node.op)) continue;
    for (ValueId x : affine_node.inputs) {
      const NodeId producer = graph.value(x).producer;
      if (producer == kNoNode || graph.users(x).size() != 1 || graph.is_output(x)) continue;
      const Node node = graph.node(producer);
      const auto shape = heavy(graph, node);
      if (!shape || graph.value(affine_node.outputs[0]).type != graph.value(x).type) continue;
      const auto affine = as_affine(graph, affine_node, x, graph.value(x).type.shape.size(),
                                    shape->channel_axis, shape->channels);
      if (!affine) continue;
      std::vector<double> bias(static_cast<std::size_t>(shape->channels), 0);
      if (shape->has_bias) {
        const HostTensor& old = *graph.value(node.inputs[2]).constant;
        for (std::size_t i = 0; i < bias.size(); ++i)
          bias[i] = old.at_double(old.elements() == 1 ? 0 : static_cast<std::int64_t>(i));
      }
      HostTensor new_bias(DType::f32, {shape->channels});
      for (std::size_t i = 0; i < bias.size(); ++i)
        new_bias.set_double(static_cast<std::int64_t>(i), bias[i] * affine->scale[i] + affine->shift[i]);
      const bool scales =
          std::any_of(affine->scale.begin(), affine->scale.end(), [](double s) { return s != 1; });
      std::vector<ValueId> inputs = {node.inputs[0], node.inputs[1], graph.add_constant(std::move(new_bias))};
      if (scales)
        inputs[1] =
            graph.add_constant(scaled_weights(node, *graph.value(node.inputs[1]).constant, affine->scale));
      Op op = node.op;
      std::visit(
          [](auto& o) {
            if constexpr (requires {
                            o.has_bias;
                            o.post;
                          })
              o.has_bias = true;
          },
          op);
      std::vector<std::string> origins = node.origins;
      origins.insert(origins.end(), affine_node.origins.begin(), affine_node.origins.end());
      graph.replace_uses(affine_node.outputs[0], graph.add1(std::move(op), inputs, origins, id));
      graph.erase(id);
      graph.erase(producer);
      changed = true;
      break;
    }
  }
  return changed;
}

}  // namespace headrace::passes
