// cpu.onednn.conv: Conv in f32, 1 to 3 spatial axes, groups, dilations, bias and post steps, on oneDNN.
// All activations in one layout, channels_last preferred. Choice: the name of oneDNN's implementation.
#ifdef HEADRACE_ONEDNN
#include <algorithm>

#include "backends/cpu/onednn_common.h"
#include "backends/cpu/parallel.h"

namespace headrace::cpu {
namespace {

using dnnl::memory;

struct Plan {
  dnnl::convolution_forward::primitive_desc pd;
  std::vector<OnednnArg> args;
};

memory::dims weights_dims(const Problem& p, const Conv& conv) {
  memory::dims dims = p.srcs[1].shape;
  if (conv.groups == 1) return dims;
  dims[0] /= conv.groups;
  dims.insert(dims.begin(), conv.groups);
  return dims;
}

memory::desc plain_md(const memory::dims& dims) {
  return memory::desc(dims, memory::data_type::f32, dense_strides(Shape(dims), Layout::plain));
}

Plan describe(const Problem& p, const Conv& conv, const memory::desc& weights) {
  Plan plan;
  const memory::desc src = md_of(p.srcs[0]), dst = md_of(p.dsts[0]);
  memory::desc bias;
  if (conv.has_bias) bias = memory::desc(p.srcs[2].shape, memory::data_type::f32, memory::format_tag::a);
  dnnl::post_ops ops;
  const int rank = static_cast<int>(p.dsts[0].shape.size());
  append_posts(ops, plan.args, p, conv.post, conv.has_bias ? 3 : 2,
               [&](const TensorDesc& d) { return md_of(d, rank); });
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attr.set_post_ops(ops);
  memory::dims dilations = conv.dilations;
  for (auto& d : dilations) d -= 1;
  plan.pd = dnnl::convolution_forward::primitive_desc(onednn_engine(), dnnl::prop_kind::forward_inference,
                                                      dnnl::algorithm::convolution_direct, src, weights, bias,
                                                      dst, conv.strides, dilations, to_shape(conv.pads_begin),
                                                      to_shape(conv.pads_end), attr, /*allow_empty=*/true);
  plan.args.push_back({DNNL_ARG_SRC, src, 0});
  if (conv.has_bias) plan.args.push_back({DNNL_ARG_BIAS, bias, 2});
  plan.args.push_back({DNNL_ARG_DST, dst, static_cast<int>(p.srcs.size())});
  return plan;
}

/// Moves pd to the implementation called `choice` ("": the first that is not a reference); false: there is
/// none.
bool seek(dnnl::convolution_forward::primitive_desc& pd, std::string_view choice) {
  if (!pd.get(true)) return false;
  do {
    const std::string_view impl = pd.impl_info_str();
    if (choice.empty() ? !is_reference_impl(impl) : impl == choice) return true;
  } while (pd.next_impl());
  return false;
}

class OnednnConv final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.onednn.conv"; }

  std::optional<Refusal> refuses(const Problem& p) const override {
    const Conv* conv = op_as<Conv>(p);
    if (!conv) return refuse("not a Conv");
    if (!conv->pool_kernel.empty()) return refuse("a max-pool after the convolution");
    const std::size_t rank = p.srcs[0].shape.size();
    if (rank < 3 || rank > 5)
      return refuse("rank " + std::to_string(rank) + ": oneDNN takes 1 to 3 spatial axes");
    for (const auto* list : {&p.srcs, &p.dsts}) {
      for (const TensorDesc& d : *list) {
        if (d.dtype != DType::f32) return refuse("dtype " + std::string(to_string(d.dtype)) + ", not f32");
      }
    }
    if (!p.srcs[0].is_dense() || !p.dsts[0].is_dense()) return refuse("src or dst is a window, not dense");
    if (p.srcs[0].layout != p.dsts[0].layout) return refuse("src and dst have different layouts");
    if (p.srcs[1].layout != Layout::packed && !p.srcs[1].is_dense()) return refuse("weights are not dense");
    for (const Dims* pads : {&conv->pads_begin, &conv->pads_end}) {
      for (const Dim& d : *pads) {
        if (d.value < 0) return refuse("negative padding");
      }
    }
    return refuse_posts(p, conv->post, conv->has_bias ? 3 : 2);
  }

  Layout preferred_layout(const Problem&) const override { return Layout::channels_last; }

  bool keeps_nan(const Problem& p) const override { return posts_keep_nan(op_as<Conv>(p)->post); }

  std::vector<Choice> candidates(const Problem& p) const override {
    return onednn_guard(id(), [&] {
      TeamScope team(p.threads);
      const Conv& conv = *op_as<Conv>(p);
      Plan plan = describe(
          p, conv, memory::desc(weights_dims(p, conv), memory::data_type::f32, memory::format_tag::any));
      std::vector<Choice> choices;
      if (plan.pd.get(true)) {
        do {
          const std::string impl = plan.pd.impl_info_str();
          if (is_reference_impl(impl)) break;
          // An implementation for a narrower instruction set than the first one's is never the fastest.
          if (!choices.empty() && choices[0].ends_with("avx512_core") && !impl.ends_with("avx512_core"))
            continue;
          if (std::find(choices.begin(), choices.end(), impl) == choices.end()) choices.push_back(impl);
        } while (choices.size() < 3 && plan.pd.next_impl());
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
      const Conv& conv = *op_as<Conv>(p);
      const memory::dims dims = weights_dims(p, conv);
      Plan plan = describe(p, conv, memory::desc(dims, memory::data_type::f32, memory::format_tag::any));
      if (!seek(plan.pd, choice)) return std::nullopt;
      const memory::desc packed = plan.pd.weights_desc();
      if (packed == plain_md(dims) || format_of(packed).empty()) return std::nullopt;
      return pack_weights(plain_md(dims), packed, data);
    });
  }

  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t index) const override {
    return index == 1 ? packed_size(weights_dims(p, *op_as<Conv>(p)), p.srcs[1].format) : SIZE_MAX;
  }

  std::unique_ptr<Kernel> make(const Problem& p, const Choice& choice) const override {
    return onednn_guard(id(), [&]() -> std::unique_ptr<Kernel> {
      TeamScope team(p.threads);
      const Conv& conv = *op_as<Conv>(p);
      const memory::dims dims = weights_dims(p, conv);
      const bool packed = p.srcs[1].layout == Layout::packed;
      const memory::desc given = packed ? md_of_format(dims, p.srcs[1].format) : plain_md(dims);
      if (!given.get(true)) {
        throw Error(ErrorCode::invalid_plan, "cpu.onednn.conv: weights format '" + p.srcs[1].format +
                                                 "' is unknown to this oneDNN; build the plan again");
      }
      // In order: what was chosen, on the weights as they lie; anything fast on them; anything, reordering at
      // each run.
      Plan plan;
      bool found = false;
      if (packed) {
        plan = describe(p, conv, given);
        found = seek(plan.pd, choice);
        if (!found && !choice.empty()) {
          plan = describe(p, conv, given);
          found = seek(plan.pd, "");
        }
      }
      std::vector<OnednnKernel::Step> steps;
      std::size_t workspace = 0;
      if (!found) {
        plan = describe(p, conv, memory::desc(dims, memory::data_type::f32, memory::format_tag::any));
        if (!seek(plan.pd, "")) plan = describe(p, conv, given);  // oneDNN's reference
        if (!plan.pd.get(true)) {
          throw Error(ErrorCode::unsupported, "cpu.onednn.conv: oneDNN has no implementation for src " +
                                                  to_string(p.srcs[0]) + ", weights " + to_string(p.srcs[1]));
        }
      }
      std::string name = "cpu.onednn.conv " + std::string(plan.pd.impl_info_str());
      const memory::desc wanted = plan.pd.weights_desc();
      if (wanted == given) {
        plan.args.push_back({DNNL_ARG_WEIGHTS, given, 1});
      } else {
        dnnl::primitive_attr attr;
        attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
        dnnl::reorder::primitive_desc reorder(onednn_engine(), given, onednn_engine(), wanted, attr);
        const std::size_t at = align64(wanted.get_size());
        steps.push_back({dnnl::reorder(reorder),
                         {{DNNL_ARG_FROM, given, 1},
                          {DNNL_ARG_TO, wanted, kWorkspace, 0},
                          {DNNL_ARG_SCRATCHPAD, reorder.scratchpad_desc(), kWorkspace, at}}});
        workspace = at + align64(reorder.scratchpad_desc().get_size());
        plan.args.push_back({DNNL_ARG_WEIGHTS, wanted, kWorkspace, 0});
        name += " + weights reorder";
      }
      plan.args.push_back({DNNL_ARG_SCRATCHPAD, plan.pd.scratchpad_desc(), kWorkspace, workspace});
      workspace += align64(plan.pd.scratchpad_desc().get_size());
      steps.push_back({dnnl::convolution_forward(plan.pd), std::move(plan.args)});
      return std::make_unique<OnednnKernel>(std::move(name), std::move(steps), workspace);
    });
  }
};

}  // namespace

std::unique_ptr<Tactic> make_onednn_conv() { return std::make_unique<OnednnConv>(); }

}  // namespace headrace::cpu
#endif  // HEADRACE_ONEDNN
