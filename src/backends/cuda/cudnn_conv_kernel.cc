#ifdef HEADRACE_CUDNN
#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/context_local.h"
#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/posts.h"

namespace headrace::cuda {
namespace {

using Role = ConvGraph::Role;

/// A block of zeros in device memory, one per context.
struct Zeros {
  Zeros() {
    const std::vector<std::byte> zeros(kZeroBytes);
    check(driver().cuMemAlloc(&address, kZeroBytes));
    check(driver().cuMemcpyHtoD(address, zeros.data(), kZeroBytes));
  }
  ~Zeros() { check_quietly(driver().cuMemFree(address)); }
  Zeros(const Zeros&) = delete;
  Zeros& operator=(const Zeros&) = delete;
  CUdeviceptr address = 0;
};

/// A cuDNN plan as a kernel; its operands are the graph's arguments but for the zeros.
class PlanKernel final : public Kernel {
 public:
  PlanKernel(std::shared_ptr<const CudnnPlan> plan, std::shared_ptr<HandlePool> pool, const ConvGraph& graph)
      : plan_(std::move(plan)), pool_(std::move(pool)) {
    for (std::size_t i = 0; i < graph.ids.size(); ++i) {
      if (graph.arguments[i].role == Role::zero_bias) {
        zero_id_ = graph.ids[i];
        zeros_ = context_local<Zeros>();
      } else {
        ids_.push_back(graph.ids[i]);
        alignments_.push_back(graph.arguments[i].alignment);
      }
    }
    if (zeros_) ids_.push_back(zero_id_);
    pool_->prepare_launches();
  }
  std::size_t workspace_bytes() const override { return plan_->workspace_bytes(); }
  std::string_view name() const override { return "cudnn"; }
  void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const override {
    std::array<std::byte*, KernelChain::kMaxArgs + 1> pointers;
    for (std::size_t i = 0; i < alignments_.size(); ++i) {
      pointers[i] = data[i];
      if (reinterpret_cast<std::uintptr_t>(data[i]) % static_cast<std::uintptr_t>(alignments_[i]) != 0)
        throw Error(ErrorCode::internal,
                    fmt::format("cuda.cudnn: operand {} lies at {}, its kernel needs a multiple of {} bytes",
                                i, static_cast<const void*>(data[i]), alignments_[i]));
    }
    if (zeros_) pointers[alignments_.size()] = reinterpret_cast<std::byte*>(zeros_->address);
    plan_->launch(*pool_, static_cast<CUstream>(stream), ids_, std::span(pointers).first(ids_.size()),
                  workspace);
  }

 private:
  std::shared_ptr<const CudnnPlan> plan_;
  std::shared_ptr<HandlePool> pool_;
  std::shared_ptr<Zeros> zeros_;
  std::int64_t zero_id_ = 0;
  std::vector<std::int64_t> ids_, alignments_;
};

/// dst without elements.
class NoKernel final : public Kernel {
 public:
  void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override {}
  std::string_view name() const override { return "nothing"; }
};

struct Parts {
  bool has_bias = false;
  const std::vector<Post>* posts = nullptr;
  std::size_t first_operand = 2;
};
Parts parts_of(const Problem& p) {
  Parts parts;
  std::visit(
      [&](const auto& op) {
        if constexpr (requires { op.has_bias, op.groups; }) {
          parts.has_bias = op.has_bias;
          parts.posts = &op.post;
        }
      },
      p.op);
  parts.first_operand = parts.has_bias ? 3 : 2;
  return parts;
}

bool is_half_or_float(DType t) { return t == DType::f32 || is_half(t); }

std::string weights_format(const TensorDesc& desc) {
  return fmt::format("{}.{}", desc.layout == Layout::channels_last ? "krsc" : "kcrs",
                     std::string(to_string(desc.dtype)));
}
/// Dtype of a packed bias; nothing for a format that is not ours.
std::optional<DType> bias_format(const std::string& format) {
  if (format == "f16") return DType::f16;
  if (format == "bf16") return DType::bf16;
  if (format == "f32") return DType::f32;
  return std::nullopt;
}

/// Whether the elements of `desc`, dense and plain, lie as `wanted` has them.
bool lies_as(const TensorDesc& desc, const TensorDesc& wanted) {
  if (desc.dtype != wanted.dtype || desc.layout == Layout::packed) return false;
  for (std::size_t i = 0; i < desc.shape.size(); ++i)
    if (desc.shape[i] > 1 && desc.strides[i] != wanted.strides[i]) return false;
  return true;
}

/// The bias as pointwise kernels see it.
TensorDesc bias_desc(const Problem& p) {
  TensorDesc desc = per_channel(p.srcs[2], p.dsts[0].shape.size());
  if (p.srcs[2].layout == Layout::packed) desc.dtype = *bias_format(p.srcs[2].format);
  return desc;
}

/// The choice, as this cuDNN can do it; with an empty text, another version's or one that does not fit, only
/// the form is kept and the engine found anew.
ConvChoice settle(const Problem& p, const Choice& text, const CudnnTarget& target, std::string_view tactic) {
  const std::size_t version = cudnn().cudnnGetVersion();
  auto choice = parse_conv_choice(text);
  if (!choice && !text.empty())
    throw Error(ErrorCode::invalid_plan, fmt::format("{}: unknown choice '{}'", tactic, text));
  if (choice && choice->version == version) return *choice;
  if (choice)
    if (auto same_form = rule_choice(p, target, {&choice->form, 1})) return *same_form;
  if (auto any = rule_choice(p, target)) return *any;
  throw Error(ErrorCode::unsupported, fmt::format("{}: cuDNN {} has no engine for src {}, weights {}", tactic,
                                                  version, to_string(p.srcs[0]), to_string(p.srcs[1])));
}

HostTensor rearranged(const HostTensor& data, const TensorDesc& to) {
  HostTensor result(to.dtype, data.shape());
  const auto from = dense_strides(data.shape(), Layout::plain);
  std::vector<std::int64_t> at(data.shape().size(), 0);
  const bool same = data.dtype() == to.dtype;
  const std::size_t size = size_bytes(to.dtype);
  std::byte* out = result.mutable_bytes().data();
  for (std::int64_t i = 0, n = data.elements(); i < n; ++i) {
    std::int64_t target = 0;
    for (std::size_t a = 0; a < at.size(); ++a) target += at[a] * to.strides[a];
    if (same)
      std::memcpy(out + static_cast<std::size_t>(target) * size,
                  data.bytes().data() + static_cast<std::size_t>(i) * size, size);
    else
      result.set_double(target, data.at_double(i));
    for (std::size_t a = at.size(); a-- > 0;) {
      if (++at[a] < data.shape()[a]) break;
      at[a] = 0;
    }
  }
  return result;
}

/// A handle to make plans with.
struct Maker {
  std::shared_ptr<HandlePool> pool = context_local<HandlePool>();
  HandlePool::Lease handle{*pool, HandlePool::For::making};
  CudnnTarget target{handle.get()};
};

Packed to_packed(std::string format, const HostTensor& data) {
  return {std::move(format), {data.bytes().begin(), data.bytes().end()}};
}

}  // namespace

std::optional<Refusal> refuse_conv(const Problem& p) {
  std::string why;
  if (!try_cudnn(&why)) return refuse(why);
  const Parts parts = parts_of(p);
  const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
  const std::size_t rank = src.shape.size();
  if (rank < 3 || rank > 5) return refuse(fmt::format("rank {}: cuDNN takes 1 to 3 spatial axes", rank));
  if (!is_half_or_float(src.dtype) || dst.dtype != src.dtype)
    return refuse(fmt::format("{} to {}: cuDNN's activations are all f32, all f16 or all bf16 here",
                              std::string(to_string(src.dtype)), std::string(to_string(dst.dtype))));
  if (src.layout != dst.layout) return refuse("src and dst have different layouts");
  if (src.layout == Layout::packed) return refuse("packed activations");
  if (!is_half_or_float(weights.dtype) || (src.dtype == DType::f32 && weights.dtype != DType::f32))
    return refuse(fmt::format("weights are {}", std::string(to_string(weights.dtype))));
  if (weights.layout == Layout::packed && weights.format != weights_format(conv_weights(p)))
    return refuse(fmt::format("weights are packed as '{}'", weights.format));
  if (element_count(weights.shape) == 0) return refuse("empty weights");
  if (parts.has_bias) {
    const TensorDesc& bias = p.srcs[2];
    if (!is_half_or_float(bias.dtype) || (bias.layout == Layout::packed && !bias_format(bias.format)))
      return refuse(fmt::format("bias is {}", to_string(bias)));
  }
  for (std::size_t i = parts.first_operand; i < p.srcs.size(); ++i) {
    if (!is_half_or_float(p.srcs[i].dtype) || p.srcs[i].layout == Layout::packed)
      return refuse(fmt::format("post operand is {}", to_string(p.srcs[i])));
    if (p.srcs[i].shape.size() > rank) return refuse("post operand has more axes than dst");
  }
  if (p.srcs.size() + 3 > KernelChain::kMaxArgs) return refuse("too many post operands");
  const std::optional<TensorDesc> bias = parts.has_bias ? std::optional(bias_desc(p)) : std::nullopt;
  if (!bias && parts.posts->empty()) return std::nullopt;
  return refuse_pointwise(finishing(dst, bias, *parts.posts, std::span(p.srcs).subspan(parts.first_operand)));
}

std::vector<Choice> conv_candidates(const Problem& p, std::string_view tactic) {
  if (p.dsts[0].elements() == 0) return {Choice{}};
  std::vector<Choice> result;
  {
    const Maker maker;
    for (const ConvChoice& choice : conv_choices(p, maker.target)) result.push_back(to_string(choice));
  }
  if (result.empty()) result.push_back(conv_by_rule(p, tactic));
  return result;
}

Choice conv_by_rule(const Problem& p, std::string_view tactic) {
  if (p.dsts[0].elements() == 0) return {};
  const Maker maker;
  return to_string(settle(p, Choice{}, maker.target, tactic));
}

std::vector<Choice> refine_conv(const Problem& p, std::span<const TriedChoice> tried, bool full) {
  if (p.dsts[0].elements() == 0) return {};
  const Maker maker;
  std::vector<Choice> result;
  for (const ConvChoice& choice : refined_choices(p, maker.target, tried, full))
    result.push_back(to_string(choice));
  return result;
}

void compile_conv_ahead(const Problem& p, const std::atomic<bool>& stop) {
  if (p.dsts[0].elements() == 0 || !DiskCache::shared().usable()) return;
  const Maker maker;
  for (const ConvChoice& choice : conv_choices(p, maker.target)) {
    if (choice.form != 'g') continue;  // alone its engines are compiled at run time
    if (stop) return;
    try {
      if (auto lowered = lower_conv(p, choice.form))
        make_plan(std::move(lowered->graph), maker.target, choice.config, &DiskCache::shared());
    } catch (const Error&) {  // whoever wants this one will say so
    }
  }
}

std::string CudnnConvTactic::library() const { return fmt::format("cuDNN {}", cudnn().cudnnGetVersion()); }

std::optional<Packed> pack_conv(const Problem& p, const Choice& text, std::size_t index,
                                const HostTensor& data) {
  if (index == 1) {
    const TensorDesc wanted = conv_weights(p);
    if (lies_as(TensorDesc::dense(data.dtype(), data.shape()), wanted)) return std::nullopt;
    return to_packed(weights_format(wanted), rearranged(data, wanted));
  }
  if (index != 2 || !parts_of(p).has_bias) return std::nullopt;
  const auto choice = parse_conv_choice(text);
  const char form = choice ? choice->form : 'c';
  const DType wanted = form == 'c' ? p.dsts[0].dtype : DType::f32;
  if (form == 'n' || data.dtype() == wanted) return std::nullopt;
  return to_packed(std::string(to_string(wanted)), rearranged(data, TensorDesc::dense(wanted, data.shape())));
}

std::size_t packed_conv_bytes(const Problem& p, std::size_t index) {
  if (index == 1)
    return static_cast<std::size_t>(element_count(p.srcs[1].shape)) * size_bytes(p.srcs[0].dtype);
  if (index == 2 && p.srcs[2].layout == Layout::packed)
    if (const auto dtype = bias_format(p.srcs[2].format))
      return static_cast<std::size_t>(element_count(p.srcs[2].shape)) * size_bytes(*dtype);
  return SIZE_MAX;
}

std::unique_ptr<Kernel> make_conv_kernel(const Problem& p, const Choice& text, std::string_view tactic) {
  if (const auto refusal = refuse_conv(p))
    throw Error(ErrorCode::invalid_plan, fmt::format("{}: {}", tactic, refusal->reason));
  const TensorDesc& dst = p.dsts[0];
  if (dst.elements() == 0) return std::make_unique<NoKernel>();
  const Parts parts = parts_of(p);
  const Maker maker;
  const ConvChoice choice = settle(p, text, maker.target, tactic);
  auto lowered = lower_conv(p, choice.form);
  if (!lowered)
    throw Error(ErrorCode::unsupported,
                fmt::format("{} '{}': the form does not fit the problem", tactic, text));
  auto plan = make_plan(std::move(lowered->graph), maker.target, choice.config, &DiskCache::shared());

  auto chain = std::make_unique<KernelChain>(fmt::format("{} {}", tactic, to_string(choice)));
  const auto operand = [](std::size_t i) { return KernelChain::operand(i); };
  // Operands that were not packed are rearranged at each run.
  KernelChain::Arg weights = operand(1), bias = operand(2);
  const TensorDesc wanted = conv_weights(p);
  if (p.srcs[1].layout != Layout::packed && !lies_as(p.srcs[1], wanted)) {
    weights = chain->reserve(wanted.span_bytes());
    chain->add(make_pointwise_kernel(casting(p.srcs[1], wanted)), {operand(1), weights});
  }
  const std::optional<TensorDesc> given_bias = parts.has_bias ? std::optional(bias_desc(p)) : std::nullopt;
  if (lowered->has_bias && given_bias->dtype != lowered->bias) {
    const TensorDesc cast = TensorDesc::dense(lowered->bias, given_bias->shape);
    bias = chain->reserve(cast.span_bytes());
    chain->add(make_pointwise_kernel(casting(*given_bias, cast)), {operand(2), bias});
  }

  std::vector<KernelChain::Arg> args;
  for (const ConvGraph::Argument& a : lowered->arguments) {
    switch (a.role) {
      case Role::src: args.push_back(operand(0)); break;
      case Role::weights: args.push_back(weights); break;
      case Role::bias: args.push_back(bias); break;
      case Role::operand: args.push_back(operand(a.index)); break;
      case Role::dst: args.push_back(operand(p.srcs.size())); break;
      case Role::zero_bias: break;
    }
  }
  chain->add(std::make_unique<PlanKernel>(std::move(plan), maker.pool, *lowered), std::move(args));

  const auto rest = std::span(*parts.posts).subspan(lowered->posts);
  const bool bias_is_left = parts.has_bias && !lowered->has_bias;
  if (bias_is_left || !rest.empty()) {
    const std::size_t first =
        parts.first_operand + post_operands(std::span(*parts.posts).first(lowered->posts));
    std::vector<KernelChain::Arg> finish{operand(p.srcs.size())};
    if (bias_is_left) finish.push_back(operand(2));
    for (std::size_t i = first; i < p.srcs.size(); ++i) finish.push_back(operand(i));
    finish.push_back(operand(p.srcs.size()));
    chain->add(make_pointwise_kernel(finishing(dst, bias_is_left ? given_bias : std::nullopt, rest,
                                               std::span(p.srcs).subspan(first))),
               std::move(finish));
  }
  return chain;
}

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
