// cuda.cudnn.conv: Conv in f32, tf32, f16 or bf16 with 1 to 3 spatial axes, groups, dilations, bias and post,
// on cuDNN. Choice: see cudnn_conv.h.
#ifdef HEADRACE_CUDNN
#include "backends/cuda/cudnn_conv.h"

#include "backends/cuda/tactics.h"

namespace headrace::cuda {
namespace {

class CudnnConv final : public CudnnConvTactic {
 public:
  std::string_view id() const override { return "cuda.cudnn.conv"; }

  std::optional<Refusal> refuses(const Problem& p) const override {
    const Conv* conv = op_as<Conv>(p);
    if (!conv) return refuse("not a Conv");
    if (!conv->pool_kernel.empty()) return refuse("a max-pool after the convolution");
    for (const Dims* pads : {&conv->pads_begin, &conv->pads_end})
      for (const Dim& d : *pads)
        if (d.value < 0) return refuse("negative padding");
    return refuse_conv(p);
  }
};

}  // namespace

std::unique_ptr<Tactic> make_cudnn_conv() { return std::make_unique<CudnnConv>(); }

}  // namespace headrace::cuda
#endif  // HEADRACE_CUDNN
