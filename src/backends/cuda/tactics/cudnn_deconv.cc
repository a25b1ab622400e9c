// cuda.cudnn.deconv: ConvTranspose in f32, tf32, f16 or bf16 with 1 to 3 spatial axes, as cuDNN's data
// gradient of a convolution; bias and post by a pointwise kernel. Choice: see cudnn_conv.h.
#ifdef HEADRACE_CUDNN
#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/tactics.h"

namespace headrace::cuda {
namespace {

class CudnnDeconv final : public CudnnConvTactic {
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
};

}  // namespace

std::unique_ptr<Tactic> make_cudnn_deconv() { return std::make_unique<CudnnDeconv>(); }

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
