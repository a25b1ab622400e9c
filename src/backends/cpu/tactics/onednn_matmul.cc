// cpu.onednn.matmul: MatMul in f32 with bias, alpha and post steps, on oneDNN. Constant b is packed.
// A b of rank 2 makes the batch of a part of its rows. Choice: the name of oneDNN's implementation.
#ifdef HEADRACE_ONEDNN
#include <algorithm>

#include "backends/cpu/onednn_common.h"
#include "backends/cpu/parallel.h"

namespace headrace::cpu {
namespace {

using dnnl::memory;

struct Plan {
  dnnl::matmul::primitive_desc pd;
  std::vector<OnednnArg> args;
};

/// True when a's batch axes and rows can be one axis of rows.
bool flat(const Problem& p, const MatMul& op) {
  const TensorDesc& b = p.srcs[1];
  const bool one_b = std::all_of(b.shape.begin(), b.shape.end() - 2, [](std::int64_t d) { return d == 1; });
  return one_b && !op.transpose_a && p.srcs[0].is_dense() && p.dsts[0].is_dense() &&
         p.srcs[0].layout == Layout::plain && p.dsts[0].layout == Layout::plain &&
         p.srcs[0].shape.size() == p.dsts[0].shape.size();
}

memory::desc matrix(const TensorDesc& d, int rank, bool transpose) {
  const memory::desc md = md_of(d, rank);
  if (!transpose) return md;
  std::vector<int> perm(static_cast<std::size_t>(rank));
  for (int i = 0; i < rank; ++i) perm[static_cast<std::size_t>(i)] = i;
  std::swap(perm[static_cast<std::size_t>(rank - 1)], perm[static_cast<std::size_t>(rank - 2)]);
  return md.permute_axes(perm);
}

memory::desc rows_of(const TensorDesc& d) {
  const std::int64_t n = d.shape.empty() ? 1 : d.shape.back();
  const std::int64_t m = n == 0 ? 0 : d.elements() / n;
  return memory::desc({m, n}, memory::data_type::f32, memory::dims{n, 1});
}

memory::desc b_md(const Problem& p, const MatMul& op) {
  TensorDesc b = p.srcs[1];
  if (flat(p, op)) {
    b.shape.erase(b.shape.begin(), b.shape.end() - 2);
    b.strides.erase(b.strides.begin(), b.strides.end() - 2);
    b.layout = Layout::plain;
    return matrix(b, 2, op.transpose_b);
  }
  return matrix(b, static_cast<int>(p.dsts[0].shape.size()), op.transpose_b);
}

/// md with every extent of the batch free to broadcast: how an operand of dst is described.
memory::desc operand_md(const Problem& p, const MatMul& op, const TensorDesc& d) {
  return flat(p, op) ? rows_of(d) : md_of(d, static_cast<int>(p.dsts[0].shape.size()));
}

/// An operand that flattening would tear: neither a row, a scalar, nor as large as dst.
bool tears(const Problem& p, const TensorDesc& d) {
  const TensorDesc& dst = p.dsts[0];
  if (d.elements() == dst.elements()) return !d.is_dense() || d.layout != Layout::plain;
  return d.elements() != (d.shape.empty() ? 1 : d.shape.back());
}

Plan describe(const Problem& p, const MatMul& op, const memory::desc& b) {
  Plan plan;
  const bool rows = flat(p, op);
  const int rank = static_cast<int>(p.dsts[0].shape.size());
  const memory::desc a = rows ? rows_of(p.srcs[0]) : matrix(p.srcs[0], rank, op.transpose_a);
  const memory::desc dst = rows ? rows_of(p.dsts[0]) : md_of(p.dsts[0]);
  dnnl::post_ops ops;
  memory::desc bias;
  if (op.alpha != 1) ops.append_eltwise(dnnl::algorithm::eltwise_linear, static_cast<float>(op.alpha), 0);
  std::vector<Post> posts = op.post;
  std::size_t first = op.has_bias ? 3 : 2;
  if (op.has_bias) {
    const memory::desc md = operand_md(p, op, p.srcs[2]);
    const memory::dims dims = md.get_dims();
    if (op.alpha == 1 && md.get_ndims() == dst.get_ndims() && dims.back() == dst.get_dims().back() &&
        p.srcs[2].elements() == dims.back()) {
      bias = md;
      plan.args.push_back({DNNL_ARG_BIAS, bias, 2});
    } else {
      posts.insert(posts.begin(), Post{PwOp::add});
      first = 2;
    }
  }
  append_posts(ops, plan.args, p, posts, first, [&](const TensorDesc& d) { return operand_md(p, op, d); });
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attr.set_post_ops(ops);
  plan.pd = dnnl::matmul::primitive_desc(onednn_engine(), a, b, bias, dst, attr, /*allow_empty=*/true);
  plan.args.push_back({DNNL_ARG_SRC, a, 0});
  plan.args.push_back({DNNL_ARG_DST, dst, static_cast<int>(p.srcs.size())});
  return plan;
}

bool seek(dnnl::matmul::primitive_desc& pd, std::string_view choice) {
  if (!pd.get(true)) return false;
  do {
    const std::string_view impl = pd.impl_info_str();
    if (choice.empty() ? !is_reference_impl(impl) : impl == choice) return true;
  } while (pd.next_impl());
  return false;
}

memory::desc any_md(const memory::desc& md) {
  return memory::desc(md.get_dims(), memory::data_type::f32, memory::format_tag::any);
}

class OnednnMatMul final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.onednn.matmul"; }

  std::optional<Refusal> refuses(const Problem& p) const override {
    const MatMul* op = op_as<MatMul>(p);
    if (!op) return refuse("not a MatMul");
    for (const auto* list : {&p.srcs, &p.dsts}) {
      for (const TensorDesc& d : *list) {
        if (d.dtype != DType::f32) return refuse("dtype " + std::string(to_string(d.dtype)) + ", not f32");
        if (d.layout == Layout::channels_last) return refuse("channels_last operand");
      }
    }
    const std::size_t rank = p.dsts[0].shape.size();
    if (rank > 6) return refuse("rank above 6");
    if (p.srcs[0].shape.size() > rank || p.srcs[1].shape.size() > rank)
      return refuse("operand rank above dst's");
    if (p.srcs[0].shape.back() == 0) return refuse("empty inner axis");
    if (flat(p, *op)) {
      for (std::size_t i = 2; i < p.srcs.size(); ++i) {
        if (tears(p, p.srcs[i])) return refuse("operand broadcasts along rows of a batched product");
      }
    } else if (p.srcs[1].layout == Layout::packed) {
      return refuse("packed b with a strided or transposed a");
    }
    return refuse_posts(p, op->post, op->has_bias ? 3 : 2);
  }

  bool keeps_nan(const Problem& p) const override { return posts_keep_nan(op_as<MatMul>(p)->post); }

  std::vector<Choice> candidates(const Problem& p) const override {
    return onednn_guard(id(), [&] {
      TeamScope team(p.threads);
      const MatMul& op = *op_as<MatMul>(p);
      Plan plan = describe(p, op, flat(p, op) ? any_md(b_md(p, op)) : b_md(p, op));
      std::vector<Choice> choices;
      if (plan.pd.get(true)) {
        do {
          const std::string impl = plan.pd.impl_info_str();
          if (is_reference_impl(impl)) break;
          if (std::find(choices.begin(), choices.end(), impl) == choices.end()) choices.push_back(impl);
        } while (choices.size() < 2 && plan.pd.next_impl());
      }
      if (choices.empty()) choices.push_back("");
      return choices;
    });
  }

  std::optional<Packed> pack(const Problem& p, const Choice& choice, std::size_t index,
                             const HostTensor& data) const override {
    if (index != 1) return std::nullopt;
    return onednn_guard(id(), [&]() -> std::optional<Packed> {
      TeamScope team(p.threads);
      const MatMul& op = *op_as<MatMul>(p);
      if (!flat(p, op)) return std::nullopt;
      const memory::desc user = b_md(p, op);
      Plan plan = describe(p, op, any_md(user));
      if (!seek(plan.pd, choice)) return std::nullopt;
      const memory::desc packed = plan.pd.weights_desc();
      if (packed == user || format_of(packed).empty()) return std::nullopt;
      return pack_weights(user, packed, data);
    });
  }

  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t index) const override {
    return index == 1 ? packed_size(b_md(p, *op_as<MatMul>(p)).get_dims(), p.srcs[1].format) : SIZE_MAX;
  }

  std::unique_ptr<Kernel> make(const Problem& p, const Choice& choice) const override {
    return onednn_guard(id(), [&]() -> std::unique_ptr<Kernel> {
      TeamScope team(p.threads);
      const MatMul& op = *op_as<MatMul>(p);
      memory::desc given = b_md(p, op);
      if (p.srcs[1].layout == Layout::packed) given = md_of_format(given.get_dims(), p.srcs[1].format);
      if (!given.get(true)) {
        throw Error(ErrorCode::invalid_plan, "cpu.onednn.matmul: weights format '" + p.srcs[1].format +
                                                 "' is unknown to this oneDNN; build the plan again");
      }
      Plan plan = describe(p, op, given);
      if (!seek(plan.pd, choice)) {
        plan = describe(p, op, given);
        if (!seek(plan.pd, "")) plan = describe(p, op, given);  // oneDNN's reference
      }
      if (!plan.pd.get(true)) {
        throw Error(ErrorCode::unsupported, "cpu.onednn.matmul: oneDNN has no implementation for a " +
                                                to_string(p.srcs[0]) + ", b " + to_string(p.srcs[1]));
      }
      plan.args.push_back({DNNL_ARG_WEIGHTS, given, 1});
      plan.args.push_back({DNNL_ARG_SCRATCHPAD, plan.pd.scratchpad_desc(), kWorkspace, 0});
      const std::size_t workspace = align64(plan.pd.scratchpad_desc().get_size());
      std::string name = "cpu.onednn.matmul " + std::string(plan.pd.impl_info_str());
      std::vector<OnednnKernel::Step> steps;
      steps.push_back({dnnl::matmul(plan.pd), std::move(plan.args)});
      return std::make_unique<OnednnKernel>(std::move(name), std::move(steps), workspace);
    });
  }
};

}  // namespace

std::unique_ptr<Tactic> make_onednn_matmul() { return std::make_unique<OnednnMatMul>(); }

}  // namespace headrace::cpu
#endif  // HEADRACE_ONEDNN
