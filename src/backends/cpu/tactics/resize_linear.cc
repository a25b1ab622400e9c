// cpu.resize_linear: linear Resize of f32 along at most two axes (bilinear), any layout.
#include <cmath>

#include "backends/cpu/parallel.h"
#include "backends/cpu/resize_axis.h"
#include "backends/cpu/tactics.h"
#include "backends/cpu/vec.h"
#include "backends/nest.h"

namespace headrace::cpu {
namespace {

struct Tap {
  std::int64_t low = 0, high = 0;  ///< source offsets
  float weight = 0;                ///< of high
};

struct LinearLoop {
  Nest kept;                 ///< operand 0: dst, 1: src; the axes that are copied
  std::vector<Tap> taps[2];  ///< per destination index of the two resized axes
  std::int64_t dst_strides[2] = {0, 0};

  void blocks(float* dst, const float* src, std::int64_t begin, std::int64_t end) const {
    const VecTable& v = vec();
    const std::size_t last = kept.extents.size() - 1;
    const std::int64_t n = kept.extents[last], ds = kept.strides[0][last], ss = kept.strides[1][last];
    const auto rows = static_cast<std::int64_t>(taps[0].size());
    alignas(64) float top[256], bottom[256];
    for (std::int64_t i = begin; i < end; ++i) {
      const Tap& y = taps[0][static_cast<std::size_t>(i % rows)];
      const float* from = src + kept.offset(1, i / rows, last);
      float* to = dst + kept.offset(0, i / rows, last) + i % rows * dst_strides[0];
      for (std::size_t k = 0; k < taps[1].size(); ++k) {
        const Tap& x = taps[1][k];
        const float *a = from + y.low + x.low, *b = from + y.low + x.high, *c = from + y.high + x.low,
                    *d = from + y.high + x.high;
        float* out = to + static_cast<std::int64_t>(k) * dst_strides[1];
        if (ds != 1 || ss != 1) {
          for (std::int64_t j = 0; j < n; ++j) {
            const std::int64_t s = j * ss;
            const float t = a[s] + (b[s] - a[s]) * x.weight, u = c[s] + (d[s] - c[s]) * x.weight;
            out[j * ds] = t + (u - t) * y.weight;
          }
          continue;
        }
        for (std::int64_t j = 0; j < n; j += 256) {
          const std::int64_t m = std::min<std::int64_t>(256, n - j);
          v.lerp(top, a + j, b + j, x.weight, m);
          v.lerp(bottom, c + j, d + j, x.weight, m);
          v.lerp(out + j, top, bottom, y.weight, m);
        }
      }
    }
  }
};

class ResizeLinearTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.resize_linear"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Resize* op = op_as<Resize>(p);
    if (!op) return refuse("not a Resize");
    if (op->mode != ResizeMode::linear) return refuse("not linear");
    if (op->coord == ResizeCoord::tf_crop_and_resize || op->antialias || op->exclude_outside) {
      return refuse("tf_crop_and_resize, antialias or exclude_outside");
    }
    if (p.srcs[0].dtype != DType::f32) return refuse("dtype is not f32");
    if (resized(p, *op).size() > 2) return refuse("more than two resized axes");
    return std::nullopt;
  }
  Layout preferred_layout(const Problem& p) const override {
    return p.srcs[0].shape.size() >= 3 ? Layout::channels_last : Layout::plain;
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const Resize& op = *op_as<Resize>(p);
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    const std::vector<std::size_t> axes = resized(p, op);
    LinearLoop loop;
    loop.taps[0] = loop.taps[1] = {Tap{}};
    for (std::size_t k = 0; k < axes.size(); ++k) {
      const std::size_t a = axes[k];
      loop.dst_strides[k] = dst.strides[a];
      loop.taps[k].clear();
      for (std::int64_t i = 0; i < dst.shape[a]; ++i) {
        const double x = resize_coordinate(op, a, i, src.shape[a], dst.shape[a]), low = std::floor(x);
        const auto clamp = [&](double v) {
          const double last = static_cast<double>(src.shape[a] - 1);
          return static_cast<std::int64_t>(std::clamp(v, 0.0, last)) * src.strides[a];
        };
        loop.taps[k].push_back({clamp(low), clamp(low + 1), static_cast<float>(x - low)});
      }
    }
    Shape shape;
    Strides dst_strides, src_strides;
    for (std::size_t a = 0; a < src.shape.size(); ++a) {
      if (std::find(axes.begin(), axes.end(), a) != axes.end()) continue;
      shape.push_back(src.shape[a]);
      dst_strides.push_back(dst.strides[a]);
      src_strides.push_back(src.strides[a]);
    }
    loop.kept = make_nest(shape, {dst_strides, src_strides});
    const std::int64_t total = dst.elements();
    const std::int64_t tasks = total == 0 ? 0
                                          : loop.kept.count() / loop.kept.extents.back() *
                                                static_cast<std::int64_t>(loop.taps[0].size());
    return make_kernel("cpu.resize_linear", [=, loop = std::move(loop)](std::span<std::byte* const> data,
                                                                        std::byte*) {
      parallel_for(tasks, total * 4, [&](std::int64_t begin, std::int64_t end) {
        loop.blocks(reinterpret_cast<float*>(data[1]), reinterpret_cast<const float*>(data[0]), begin, end);
      });
    });
  }

 private:
  static std::vector<std::size_t> resized(const Problem& p, const Resize& op) {
    std::vector<std::size_t> axes;
    for (std::size_t a = 0; a < p.srcs[0].shape.size(); ++a) {
      if (!resize_is_identity(op, a, p.srcs[0].shape[a], p.dsts[0].shape[a])) axes.push_back(a);
    }
    return axes;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_resize_linear() { return std::make_unique<ResizeLinearTactic>(); }

}  // namespace headrace::cpu
