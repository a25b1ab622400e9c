// cuda.cudnn.deconv: ConvTranspose in f32 or f16 with 1 to 3 spatial axes, as cuDNN's data gradient of a
// convolution; bias and post by a pointwise kernel. Choice: see cudnn_conv.h.
#ifdef HEADRACE_CUDNN
#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/tactics.h"

namespace headrace::cuda {
namespace {

class CudnnDeconv final : public Tactic {
 public:
  std::string_view id() const override { return "cuda.cudnn.deconv"; }

  std::optional<Refusal> refuses(const Problem& p) const override {
    const ConvTranspose* conv = op_as<ConvTranspose>(p);
    if (!conv) return refuse("not a ConvTranspose");
    for (const Dims* pads : {&conv->pads_begin, &conv->pads_end})
      for (const Dim& d : *pads)
        if (d.value < 0) return refuse("negative padding");
    for (std::size_t i = 0; i < conv->output_padding.size(); ++i)
      if (conv->output_padding[i] >= conv->strides[i])
        return refuse("output_padding is not below the stride");
    return refuse_conv(p);
  }
  Layout preferred_layout(const Problem&) const override { return Layout::channels_last; }
  std::vector<Choice> candidates(const Problem& p) const override { return conv_candidates(p, id()); }
  std::optional<Packed> pack(const Problem& p, const Choice& choice, std::size_t index,
                             const HostTensor& data) const override {
    return pack_conv(p, choice, index, data);
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t index) const override {
    return packed_conv_bytes(p, index);
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice& choice) const override {
    return make_conv_kernel(p, choice, id());
  }
};

}  // namespace

std::unique_ptr<Tactic> make_cudnn_deconv() { return std::make_unique<CudnnDeconv>(); }

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
