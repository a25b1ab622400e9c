#ifdef HEADRACE_ONEDNN
#include "backends/cpu/onednn_common.h"

#include <cstring>
#include <map>

#include <oneapi/dnnl/dnnl_debug.h>

namespace headrace::cpu {

using dnnl::memory;

const dnnl::engine& onednn_engine() {
  static const dnnl::engine engine = [] {
    dnnl::set_primitive_cache_capacity(512);
    return dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return engine;
}

memory::desc md_of(const TensorDesc& desc) { return md_of(desc, static_cast<int>(desc.shape.size())); }

memory::desc md_of(const TensorDesc& desc, int rank) {
  const std::size_t pad = static_cast<std::size_t>(rank) - desc.shape.size();
  memory::dims dims(pad, 1);
  dims.insert(dims.end(), desc.shape.begin(), desc.shape.end());
  // Strides of extents of 1 mean nothing, but oneDNN compares them: take those of the dense layout.
  std::vector<std::int64_t> strides = desc.strides;
  const std::vector<std::int64_t> dense = dense_strides(desc.shape, desc.layout);
  for (std::size_t i = 0; i < strides.size(); ++i) {
    if (desc.shape[i] == 1 && desc.is_dense()) strides[i] = dense[i];
  }
  const std::int64_t outer = strides.empty() ? 1 : std::max<std::int64_t>(1, strides[0] * desc.shape[0]);
  strides.insert(strides.begin(), pad, outer);
  if (dims.empty()) return memory::desc({1}, memory::data_type::f32, memory::dims{1});
  return memory::desc(dims, memory::data_type::f32, strides);
}

memory::desc md_of_format(const memory::dims& dims, const std::string& name) {
  // Looked up once per name: oneDNN has no table from names to tags, only the other way round.
  static const std::map<std::string, dnnl_format_tag_t, std::less<>> tags = [] {
    std::map<std::string, dnnl_format_tag_t, std::less<>> all;
    for (int t = dnnl_format_tag_any + 1; t < dnnl_format_tag_last; ++t) {
      const auto tag = static_cast<dnnl_format_tag_t>(t);
      all.emplace(dnnl_fmt_tag2str(tag), tag);
    }
    return all;
  }();
  const auto found = tags.find(name);
  dnnl_memory_desc_t md = nullptr;
  if (found == tags.end() || dnnl_memory_desc_create_with_tag(&md, static_cast<int>(dims.size()), dims.data(),
                                                              dnnl_f32, found->second) != dnnl_success) {
    return {};
  }
  return memory::desc(md);
}

std::string format_of(const memory::desc& md) {
  const memory::dims dims = md.get_dims();
  for (int t = dnnl_format_tag_any + 1; t < dnnl_format_tag_last; ++t) {
    const auto tag = static_cast<dnnl_format_tag_t>(t);
    dnnl_memory_desc_t candidate = nullptr;
    if (dnnl_memory_desc_create_with_tag(&candidate, static_cast<int>(dims.size()), dims.data(), dnnl_f32,
                                         tag) != dnnl_success) {
      continue;
    }
    if (memory::desc(candidate) == md) return dnnl_fmt_tag2str(tag);
  }
  return {};
}

std::size_t packed_size(const memory::dims& dims, const std::string& name) {
  const memory::desc md = md_of_format(dims, name);
  return md.is_zero() ? SIZE_MAX : md.get_size();
}

namespace {

std::optional<dnnl::algorithm> eltwise_of(PwOp op) {
  using A = dnnl::algorithm;
  switch (op) {
    case PwOp::relu:
    case PwOp::leaky_relu: return A::eltwise_relu;
    case PwOp::clip: return A::eltwise_clip;
    case PwOp::silu: return A::eltwise_swish;
    case PwOp::hard_swish: return A::eltwise_hardswish;
    case PwOp::hard_sigmoid: return A::eltwise_hardsigmoid;
    case PwOp::sigmoid: return A::eltwise_logistic;
    case PwOp::elu: return A::eltwise_elu;
    case PwOp::tanh: return A::eltwise_tanh;
    case PwOp::gelu_erf: return A::eltwise_gelu_erf;
    case PwOp::gelu_tanh: return A::eltwise_gelu_tanh;
    case PwOp::mish: return A::eltwise_mish;
    case PwOp::abs: return A::eltwise_abs;
    case PwOp::sqrt: return A::eltwise_sqrt;
    case PwOp::exp: return A::eltwise_exp;
    default: return std::nullopt;
  }
}
std::optional<dnnl::algorithm> binary_of(PwOp op) {
  using A = dnnl::algorithm;
  switch (op) {
    case PwOp::add: return A::binary_add;
    case PwOp::sub: return A::binary_sub;
    case PwOp::mul: return A::binary_mul;
    case PwOp::div: return A::binary_div;
    case PwOp::min: return A::binary_min;
    case PwOp::max: return A::binary_max;
    default: return std::nullopt;
  }
}

}  // namespace

std::optional<Refusal> refuse_posts(const Problem& problem, const std::vector<Post>& posts,
                                    std::size_t first) {
  const TensorDesc& dst = problem.dsts.at(0);
  for (const Post& post : posts) {
    if (arity(post.op) == 1) {
      if (!eltwise_of(post.op))
        return refuse("post step " + std::string(to_string(post.op)) + " is not one of oneDNN's");
      continue;
    }
    if (!binary_of(post.op))
      return refuse("post step " + std::string(to_string(post.op)) + " is not one of oneDNN's");
    const TensorDesc& src = problem.srcs.at(first++);
    if (src.dtype != DType::f32)
      return refuse("post operand is " + std::string(to_string(src.dtype)) + ", not f32");
    if (src.shape.size() > dst.shape.size()) return refuse("post operand has more axes than dst");
    if (src.shape == dst.shape && (src.strides != dst.strides)) {
      return refuse("post operand of dst's shape has other strides than dst");
    }
  }
  return std::nullopt;
}

bool posts_keep_nan(const std::vector<Post>& posts) {
  return std::all_of(posts.begin(), posts.end(), [](const Post& post) {
    return post.op == PwOp::add || post.op == PwOp::sub || post.op == PwOp::mul || post.op == PwOp::div ||
           post.op == PwOp::leaky_relu;
  });
}

void append_posts(dnnl::post_ops& ops, std::vector<OnednnArg>& args, const Problem& problem,
                  const std::vector<Post>& posts, std::size_t first,
                  const std::function<memory::desc(const TensorDesc&)>& view) {
  for (const Post& post : posts) {
    if (arity(post.op) == 1) {
      float alpha = static_cast<float>(post.alpha), beta = static_cast<float>(post.beta);
      if (post.op == PwOp::relu) alpha = 0;
      if (post.op == PwOp::hard_swish) alpha = 1.0f / 6, beta = 0.5f;
      ops.append_eltwise(*eltwise_of(post.op), alpha, beta);
      continue;
    }
    const memory::desc md = view(problem.srcs[first]);
    args.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(ops.len()) | DNNL_ARG_SRC_1, md, static_cast<int>(first)});
    ops.append_binary(*binary_of(post.op), md);
    ++first;
  }
}

Packed pack_weights(const memory::desc& user, const memory::desc& packed, const HostTensor& data) {
  Packed result{format_of(packed), std::vector<std::byte>(packed.get_size())};
  memory from(user, onednn_engine(), const_cast<std::byte*>(data.bytes().data()));
  memory to(packed, onednn_engine(), result.bytes.data());
  dnnl::stream stream(onednn_engine());
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
  return result;
}

bool is_reference_impl(std::string_view impl) {
  return impl.starts_with("ref") || impl.find("ref:") != std::string_view::npos ||
         impl.starts_with("gemm:ref");
}

struct OnednnKernel::ArgSet {
  struct Call {
    std::vector<memory> memories;
    std::vector<dnnl_exec_arg_t> args;
  };
  std::vector<Call> calls;
  dnnl::stream stream{onednn_engine()};
};

OnednnKernel::OnednnKernel(std::string name, std::vector<Step> steps, std::size_t workspace)
    : name_(std::move(name)), steps_(std::move(steps)), workspace_(workspace) {
  for (Step& step : steps_) {
    std::erase_if(step.args,
                  [](const OnednnArg& a) { return a.arg == DNNL_ARG_SCRATCHPAD && a.md.get_size() == 0; });
  }
  free_[0].store(make_set().release());
}

OnednnKernel::~OnednnKernel() {
  for (auto& slot : free_) delete slot.load();
}

std::unique_ptr<OnednnKernel::ArgSet> OnednnKernel::make_set() const {
  auto set = std::make_unique<ArgSet>();
  for (const Step& step : steps_) {
    ArgSet::Call call;
    for (const OnednnArg& arg : step.args) {
      call.memories.emplace_back(arg.md, onednn_engine(), static_cast<void*>(DNNL_MEMORY_NONE));
      call.args.push_back({arg.arg, call.memories.back().get()});
    }
    set->calls.push_back(std::move(call));
  }
  return set;
}

void OnednnKernel::launch(NativeStream, std::span<std::byte* const> data, std::byte* workspace) const {
  ArgSet* set = nullptr;
  for (auto& slot : free_) {
    if (slot.load(std::memory_order_relaxed) && (set = slot.exchange(nullptr, std::memory_order_acquire)))
      break;
  }
  std::unique_ptr<ArgSet> owned(
      set ? set : make_set().release());  // more streams at once than ever before: one more set
  for (std::size_t s = 0; s < steps_.size(); ++s) {
    ArgSet::Call& call = owned->calls[s];
    const std::vector<OnednnArg>& args = steps_[s].args;
    for (std::size_t i = 0; i < args.size(); ++i) {
      std::byte* base =
          args[i].operand == kWorkspace ? workspace : data[static_cast<std::size_t>(args[i].operand)];
      dnnl_memory_set_data_handle(call.memories[i].get(), base + args[i].offset);
    }
    const dnnl_status_t status = dnnl_primitive_execute(steps_[s].primitive.get(), owned->stream.get(),
                                                        static_cast<int>(call.args.size()), call.args.data());
    if (status != dnnl_success) {
      throw Error(ErrorCode::device,
                  name_ + ": oneDNN failed with status " + std::string(dnnl_status2str(status)));
    }
  }
  for (auto& slot : free_) {
    ArgSet* expected = nullptr;
    if (!slot.load(std::memory_order_relaxed) &&
        slot.compare_exchange_strong(expected, owned.get(), std::memory_order_release)) {
      owned.release();
      return;
    }
  }
}

}  // namespace headrace::cpu
#endif  // HEADRACE_ONEDNN
