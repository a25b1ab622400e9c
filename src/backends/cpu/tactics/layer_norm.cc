// cpu.layer_norm: LayerNorm and RMS norm of dense plain f32, with scale and bias of the normalised shape.
#include "backends/cpu/parallel.h"
#include "backends/cpu/tactics.h"
#include "backends/cpu/vec.h"

namespace headrace::cpu {
namespace {

class LayerNormTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.layer_norm"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const LayerNorm* op = op_as<LayerNorm>(p);
    if (!op) return refuse("not a LayerNorm");
    if (p.dsts.size() > 1) return refuse("mean or deviation is asked for");
    for (const auto* list : {&p.srcs, &p.dsts}) {
      for (const TensorDesc& d : *list) {
        if (d.dtype != DType::f32) return refuse("dtype " + std::string(to_string(d.dtype)) + ", not f32");
        if (d.layout != Layout::plain || !d.is_dense()) return refuse("not dense and plain");
      }
    }
    const Shape& shape = p.srcs[0].shape;
    const Shape inner(shape.begin() + static_cast<std::ptrdiff_t>(op->axis), shape.end());
    for (std::size_t i = 1; i < p.srcs.size(); ++i) {
      Shape s = p.srcs[i].shape;
      while (s.size() > inner.size() && s.front() == 1) s.erase(s.begin());
      if (s != inner) return refuse("scale or bias is not of the normalised shape");
    }
    return std::nullopt;
  }
  bool in_place(const Problem& p, std::size_t src, std::size_t) const override {
    return src == 0 && p.srcs[0] == p.dsts[0];
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const LayerNorm op = *op_as<LayerNorm>(p);
    const Shape& shape = p.srcs[0].shape;
    std::int64_t n = 1;
    for (std::size_t i = static_cast<std::size_t>(op.axis); i < shape.size(); ++i) n *= shape[i];
    const std::int64_t total = p.srcs[0].elements();
    return make_kernel("cpu.layer_norm", [=](std::span<std::byte* const> data, std::byte*) {
      if (total == 0) return;
      const auto* src = reinterpret_cast<const float*>(data[0]);
      const auto* scale = op.has_scale ? reinterpret_cast<const float*>(data[1]) : nullptr;
      const auto* bias = op.has_bias ? reinterpret_cast<const float*>(data[op.has_scale ? 2 : 1]) : nullptr;
      auto* dst = reinterpret_cast<float*>(data.back());
      parallel_for(total / n, total * 4, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          vec().layer_norm(dst + i * n, src + i * n, n, scale, bias, static_cast<float>(op.epsilon), op.rms);
        }
      });
    });
  }
};

}  // namespace

std::unique_ptr<Tactic> make_layer_norm() { return std::make_unique<LayerNormTactic>(); }

}  // namespace headrace::cpu
