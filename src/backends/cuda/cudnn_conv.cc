#ifdef HEADRACE_CUDNN
#include "backends/cuda/cudnn_conv.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/posts.h"

namespace headrace::cuda {
namespace {

/// cuDNN wants two spatial axes at least: [N,C,L] is [N,C,1,L].
struct Extents {
  std::vector<std::int64_t> dims, strides;
};
Extents extents(const TensorDesc& desc) {
  Extents e{desc.shape, desc.strides};
  if (e.dims.size() == 3) {
    e.dims.insert(e.dims.begin() + 2, 1);
    e.strides.insert(e.strides.begin() + 2, e.strides[2] * std::max<std::int64_t>(1, e.dims[3]));
  }
  return e;
}
/// The same for an operand that broadcasts: leading ones up to dst's rank.
Extents operand_extents(const TensorDesc& desc, std::size_t rank) {
  TensorDesc d = desc;
  while (d.shape.size() < rank) {
    d.shape.insert(d.shape.begin(), 1);
    d.strides.insert(d.strides.begin(),
                     std::max<std::int64_t>(1, d.shape.size() > 1 ? d.shape[1] * d.strides[0] : 1));
  }
  return extents(d);
}

/// Alignment that addresses of a window of a larger tensor have, whatever multiple of its extent it starts
/// at.
std::int64_t alignment(const TensorDesc& desc) {
  const auto element = static_cast<std::int64_t>(size_bytes(desc.dtype));
  if (desc.is_dense()) return 16;
  std::int64_t bytes = 16;
  const auto bound = [&](std::int64_t elements) {
    while (bytes > element && elements * element % bytes != 0) bytes /= 2;
  };
  for (std::size_t i = 0; i < desc.shape.size(); ++i)
    if (desc.strides[i] != 1) bound(desc.strides[i]);
  if (desc.layout == Layout::channels_last) bound(desc.shape[1]);
  return bytes;
}

struct Geometry {
  ConvWindow window;
  bool transposed = false, has_bias = false;
  const std::vector<Post>* posts = nullptr;
};
Geometry geometry(const Problem& problem) {
  Geometry g;
  const auto read = [&](const auto& op) {
    g.window = {op.strides, op.dilations, to_shape(op.pads_begin), to_shape(op.pads_end)};
    g.has_bias = op.has_bias;
    g.posts = &op.post;
  };
  if (const auto* conv = std::get_if<Conv>(&problem.op)) {
    read(*conv);
  } else {
    read(std::get<ConvTranspose>(problem.op));
    g.transposed = true;
  }
  if (problem.srcs[0].shape.size() == 3) {
    for (auto* list : {&g.window.strides, &g.window.dilations}) list->insert(list->begin(), 1);
    for (auto* list : {&g.window.pads_begin, &g.window.pads_end}) list->insert(list->begin(), 0);
  }
  return g;
}

/// A post as cuDNN operations that make `dst` of `x`; false where there are none.
class PostLowering {
 public:
  PostLowering(OpGraph& graph, const Extents& dst) : graph_(graph), dst_(dst) {}

  static bool can(PwOp op) {
    switch (op) {
      case PwOp::relu:
      case PwOp::leaky_relu:
      case PwOp::clip:
      case PwOp::elu:
      case PwOp::sigmoid:
      case PwOp::tanh:
      case PwOp::silu:
      case PwOp::hard_sigmoid:
      case PwOp::hard_swish:
      case PwOp::gelu_erf:
      case PwOp::gelu_tanh:
      case PwOp::abs:
      case PwOp::sqrt:
      case PwOp::exp:
      case PwOp::add:
      case PwOp::sub:
      case PwOp::mul:
      case PwOp::div:
      case PwOp::min:
      case PwOp::max: return true;
      default: return false;
    }
  }

  void lower(const Post& post, std::int64_t x, std::int64_t b, std::int64_t dst) {
    const auto alpha = static_cast<float>(post.alpha), beta = static_cast<float>(post.beta);
    const auto plain = [&](cudnnPointwiseMode_t mode) { graph_.pointwise({.mode = mode}, x, b, dst); };
    switch (post.op) {
      case PwOp::relu: return plain(CUDNN_POINTWISE_RELU_FWD);
      case PwOp::leaky_relu:
        return graph_.pointwise({.mode = CUDNN_POINTWISE_RELU_FWD, .slope = alpha}, x, -1, dst);
      case PwOp::clip: return clip(x, alpha, beta, dst);
      case PwOp::elu:
        return graph_.pointwise({.mode = CUDNN_POINTWISE_ELU_FWD, .parameter = alpha}, x, -1, dst);
      case PwOp::sigmoid: return plain(CUDNN_POINTWISE_SIGMOID_FWD);
      case PwOp::tanh: return plain(CUDNN_POINTWISE_TANH_FWD);
      case PwOp::silu:
        return graph_.pointwise({.mode = CUDNN_POINTWISE_SWISH_FWD, .parameter = alpha}, x, -1, dst);
      case PwOp::hard_sigmoid: return clip(affine(x, alpha, beta), 0, 1, dst);
      case PwOp::hard_swish: {
        const std::int64_t gate = between();
        clip(affine(x, 1.0f / 6, 0.5f), 0, 1, gate);
        return graph_.pointwise({.mode = CUDNN_POINTWISE_MUL}, x, gate, dst);
      }
      case PwOp::gelu_erf: return plain(CUDNN_POINTWISE_GELU_FWD);
      case PwOp::gelu_tanh: return plain(CUDNN_POINTWISE_GELU_APPROX_TANH_FWD);
      case PwOp::abs: return plain(CUDNN_POINTWISE_ABS);
      case PwOp::sqrt: return plain(CUDNN_POINTWISE_SQRT);
      case PwOp::exp: return plain(CUDNN_POINTWISE_EXP);
      case PwOp::add: return plain(CUDNN_POINTWISE_ADD);
      case PwOp::sub: return plain(CUDNN_POINTWISE_SUB);
      case PwOp::mul: return plain(CUDNN_POINTWISE_MUL);
      case PwOp::div: return plain(CUDNN_POINTWISE_DIV);
      case PwOp::min: return plain(CUDNN_POINTWISE_MIN);
      case PwOp::max: return plain(CUDNN_POINTWISE_MAX);
      default: throw Error(ErrorCode::internal, "cuda.cudnn.conv: no cuDNN operation for a post step");
    }
  }

 private:
  std::int64_t between() { return graph_.virtual_tensor(dst_.dims, dst_.strides); }
  void clip(std::int64_t x, float low, float high, std::int64_t dst) {
    if (std::isfinite(low))
      graph_.pointwise(
          {.mode = CUDNN_POINTWISE_RELU_FWD, .lower = low, .upper = high, .has_upper = std::isfinite(high)},
          x, -1, dst);
    else  // no lower clip: it would be multiplied by a slope of 0
      graph_.pointwise({.mode = CUDNN_POINTWISE_MIN}, x, graph_.scalar(high, dst_.dims.size()), dst);
  }
  std::int64_t affine(std::int64_t x, float scale, float shift) {
    const std::int64_t scaled = between(), shifted = between();
    graph_.pointwise({.mode = CUDNN_POINTWISE_MUL}, x, graph_.scalar(scale, dst_.dims.size()), scaled);
    graph_.pointwise({.mode = CUDNN_POINTWISE_ADD}, scaled, graph_.scalar(shift, dst_.dims.size()), shifted);
    return shifted;
  }
  OpGraph& graph_;
  const Extents& dst_;
};

bool is_residual(const TensorDesc& operand, const TensorDesc& dst) {
  return operand.shape == dst.shape && operand.dtype == dst.dtype && operand.layout == dst.layout;
}

/// How many posts the canonical pattern takes: [add z] [relu or elu].
std::size_t canonical_prefix(const Problem& problem, const Geometry& g) {
  const std::vector<Post>& posts = *g.posts;
  const TensorDesc& dst = problem.dsts[0];
  std::size_t taken = 0;
  if (posts.size() > taken && posts[taken].op == PwOp::add &&
      is_residual(problem.srcs[g.has_bias ? 3 : 2], dst))
    ++taken;
  if (posts.size() > taken && (posts[taken].op == PwOp::relu || posts[taken].op == PwOp::elu)) ++taken;
  // Without a bias the pattern needs one of zeros.
  if (!g.has_bias && static_cast<std::size_t>(dst.shape[1]) * size_bytes(dst.dtype) > kZeroBytes) return 0;
  return taken;
}

}  // namespace

TensorDesc conv_weights(const Problem& problem) {
  return TensorDesc::dense(problem.srcs[0].dtype, problem.srcs[1].shape, problem.srcs[0].layout);
}

std::string to_string(const ConvChoice& choice) {
  return fmt::format("{}:{}:{}", choice.form, choice.version, to_string(choice.config));
}

std::optional<ConvChoice> parse_conv_choice(std::string_view text) {
  ConvChoice choice;
  if (text.size() < 3 || text[1] != ':') return std::nullopt;
  choice.form = text[0];
  const std::size_t colon = text.find(':', 2);
  if (colon == std::string_view::npos) return std::nullopt;
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + colon, choice.version);
  if (error != std::errc() || end != text.data() + colon) return std::nullopt;
  auto config = parse_engine_config(text.substr(colon + 1));
  if (!config) return std::nullopt;
  choice.config = std::move(*config);
  return choice;
}

std::optional<ConvGraph> lower_conv(const Problem& problem, char form) {
  using Role = ConvGraph::Role;
  const Geometry g = geometry(problem);
  const std::vector<Post>& posts = *g.posts;
  const TensorDesc &src = problem.srcs[0], &dst = problem.dsts[0];
  const Extents dst_extents = extents(dst);
  ConvGraph result;
  bool zero_bias = false;
  if (form == 'c') {
    result.posts = canonical_prefix(problem, g);
    result.has_bias = g.has_bias;
    zero_bias = !g.has_bias && result.posts > 0;
    result.bias = dst.dtype;
    if (g.transposed || (!result.has_bias && !zero_bias)) return std::nullopt;
  } else if (form == 'g') {
    result.posts = posts.size();
    result.has_bias = g.has_bias;
    if (!std::all_of(posts.begin(), posts.end(), [](const Post& p) { return PostLowering::can(p.op); }) ||
        (posts.empty() && !g.has_bias))
      return std::nullopt;
  } else if (form != 'n') {
    return std::nullopt;
  }

  OpGraph& graph = result.graph;
  const auto add = [&](Role role, const TensorDesc& desc, const Extents& e, std::size_t index = 0) {
    const std::int64_t align = alignment(desc);
    const std::int64_t id = graph.tensor(desc.dtype, e.dims, e.strides, align);
    result.ids.push_back(id);
    result.arguments.push_back({role, index, align});
    return id;
  };
  // Operations of the graph after the convolution, in order; the last one writes dst.
  std::size_t left = (result.has_bias || zero_bias ? 1 : 0) + result.posts;
  const auto next = [&] {
    if (left-- == 0) return add(Role::dst, dst, dst_extents);
    const auto strides = dense_strides(dst.shape, dst.layout);
    TensorDesc dense = dst;
    dense.strides = strides;
    const Extents e = extents(dense);
    return graph.virtual_tensor(e.dims, e.strides);
  };

  const std::int64_t x = add(Role::src, src, extents(src));
  const TensorDesc weights = conv_weights(problem);
  const std::int64_t w = add(Role::weights, weights, extents(weights));
  std::int64_t value = next();
  if (g.transposed)
    graph.convolution_transposed(x, w, value, g.window);
  else
    graph.convolution(x, w, value, g.window);

  const auto add_bias = [&] {
    const std::int64_t channels = dst.shape[1];
    Extents e{std::vector<std::int64_t>(dst_extents.dims.size(), 1), {}};
    e.dims[1] = channels;
    e.strides.assign(e.dims.size(), dst.layout == Layout::channels_last ? channels : 1);
    e.strides[0] = channels;
    e.strides[1] = 1;
    const std::int64_t b =
        add(zero_bias ? Role::zero_bias : Role::bias, TensorDesc::dense(result.bias, {channels}), e);
    const std::int64_t sum = next();
    graph.pointwise({.mode = CUDNN_POINTWISE_ADD}, value, b, sum);
    value = sum;
  };
  PostLowering lowering(graph, dst_extents);
  std::size_t operand = g.has_bias ? 3 : 2;
  const bool residual_first = form == 'c' && result.posts > 0 && posts[0].op == PwOp::add;
  if ((result.has_bias || zero_bias) && !residual_first) add_bias();
  for (std::size_t i = 0; i < result.posts; ++i) {
    std::int64_t b = -1;
    if (arity(posts[i].op) == 2) {
      const TensorDesc& desc = problem.srcs[operand];
      b = add(Role::operand, desc, operand_extents(desc, dst.shape.size()), operand);
      ++operand;
    }
    const std::int64_t sum = next();
    lowering.lower(posts[i], value, b, sum);
    value = sum;
    if (i == 0 && residual_first) add_bias();
  }
  return result;
}

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
