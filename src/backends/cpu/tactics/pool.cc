// cpu.pool: max and average pooling of f32, over one or two spatial axes; channels_last, or plain plane by
// plane.
//
// Separable: the rows of a window are combined into one row (contiguous over width and channels), then that
// row's columns. With a column stride of 1 the second half is contiguous too.
#include <algorithm>
#include <cstring>
#include <limits>

#include "backends/cpu/parallel.h"
#include "backends/cpu/tactics.h"
#include "backends/cpu/vec.h"

namespace headrace::cpu {
namespace {

struct Axis {
  std::int64_t in = 1, out = 1, kernel = 1, stride = 1, dilation = 1, begin = 0, end = 0, src_stride = 0,
               dst_stride = 0;
  /// Elements of the window at `o` that count for an average.
  std::int64_t counted(std::int64_t o, bool with_padding) const {
    std::int64_t count = 0;
    for (std::int64_t t = 0; t < kernel; ++t) {
      const std::int64_t i = o * stride - begin + t * dilation;
      count += with_padding ? i < in + end : i >= 0 && i < in;
    }
    return count;
  }
};

struct PoolLoop {
  Axis h, w;
  std::int64_t batch = 1, planes = 1, channels = 1;  ///< plain: a plane per channel, of one channel each
  std::int64_t src_batch = 0, dst_batch = 0, src_plane = 0, dst_plane = 0;
  bool is_max = true, with_padding = false;
  int slots = 1;

  float one(float a, float b) const {
    if (!is_max) return a + b;
    return b > a || b != b ? b : a;
  }
  void row(float* dst, const float* src, float* temp, std::int64_t oh) const {
    const VecTable& v = vec();
    const auto combine = is_max ? v.accumulate_max : v.accumulate_add;
    const std::int64_t c = channels, width = w.in * c;
    bool first = true;
    for (std::int64_t t = 0; t < h.kernel; ++t) {
      const std::int64_t ih = oh * h.stride - h.begin + t * h.dilation;
      if (ih < 0 || ih >= h.in) continue;
      const float* from = src + ih * h.src_stride;
      for (std::int64_t i = 0, step = w.src_stride == c ? w.in : 1; i < w.in; i += step) {
        if (first)
          std::memcpy(temp + i * c, from + i * w.src_stride, static_cast<std::size_t>(step * c) * 4);
        else
          combine(temp + i * c, from + i * w.src_stride, step * c);
      }
      first = false;
    }
    const float empty = is_max ? -std::numeric_limits<float>::infinity() : 0.0f;
    if (first) std::fill_n(temp, width, empty);
    if (w.stride == 1 && w.dst_stride == c) {
      std::fill_n(dst, w.out * c, empty);
      for (std::int64_t t = 0; t < w.kernel; ++t) {
        const std::int64_t shift = t * w.dilation - w.begin;  // iw = ow + shift
        const std::int64_t o0 = std::max<std::int64_t>(0, -shift), o1 = std::min(w.out, w.in - shift);
        if (o0 < o1) combine(dst + o0 * c, temp + (o0 + shift) * c, (o1 - o0) * c);
      }
    } else {
      for (std::int64_t ow = 0; ow < w.out; ++ow) {
        bool any = false;
        float* to = dst + ow * w.dst_stride;
        for (std::int64_t t = 0; t < w.kernel; ++t) {
          const std::int64_t iw = ow * w.stride - w.begin + t * w.dilation;
          if (iw < 0 || iw >= w.in) continue;
          if (any && c == 1)
            *to = one(*to, temp[iw]);
          else if (any)
            combine(to, temp + iw * c, c);
          else
            std::memcpy(to, temp + iw * c, static_cast<std::size_t>(c) * 4);
          any = true;
        }
        if (!any) std::fill_n(to, c, empty);
      }
    }
    if (is_max) return;
    const std::int64_t rows = h.counted(oh, with_padding);
    for (std::int64_t ow = 0; ow < w.out; ++ow) {
      v.scale(dst + ow * w.dst_stride, 1.0f / static_cast<float>(rows * w.counted(ow, with_padding)), c);
    }
  }
};

class PoolTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.pool"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Pool* op = op_as<Pool>(p);
    if (!op) return refuse("not a Pool");
    if (op->kind == PoolKind::lp) return refuse("Lp pooling");
    if (p.dsts.size() > 1) return refuse("indices are asked for");
    const std::size_t rank = p.srcs[0].shape.size();
    if (rank != 3 && rank != 4) return refuse("rank " + std::to_string(rank));
    for (const TensorDesc* d : {&p.srcs[0], &p.dsts[0]}) {
      if (d->dtype != DType::f32) return refuse("dtype " + std::string(to_string(d->dtype)) + ", not f32");
      if (d->layout != p.dsts[0].layout) return refuse("src and dst have different layouts");
      if (d->strides[d->layout == Layout::channels_last ? 1 : rank - 1] != 1)
        return refuse("the inner axis is not contiguous");
    }
    return std::nullopt;
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const Pool& op = *op_as<Pool>(p);
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    PoolLoop loop;
    loop.is_max = op.kind == PoolKind::max;
    loop.with_padding = op.count_include_pad;
    loop.batch = src.shape[0];
    const bool last = src.layout == Layout::channels_last;
    loop.planes = last ? 1 : src.shape[1];
    loop.channels = last ? src.shape[1] : 1;
    loop.src_plane = src.strides[1];
    loop.dst_plane = dst.strides[1];
    loop.src_batch = src.strides[0];
    loop.dst_batch = dst.strides[0];
    loop.slots = std::max(1, p.threads);
    const auto axis = [&](std::size_t k) {
      return Axis{src.shape[k + 2],     dst.shape[k + 2],   op.kernel[k],
                  op.strides[k],        op.dilations[k],    op.pads_begin[k].value,
                  op.pads_end[k].value, src.strides[k + 2], dst.strides[k + 2]};
    };
    const bool two = src.shape.size() == 4;
    if (two) loop.h = axis(0);
    loop.w = axis(two ? 1 : 0);
    const std::int64_t temp = loop.w.in * loop.channels;
    const std::int64_t rows = loop.batch * loop.planes * loop.h.out,
                       cost = src.elements() * (loop.h.kernel + loop.w.kernel);
    const bool empty = dst.elements() == 0;
    const std::size_t workspace = static_cast<std::size_t>(temp * loop.slots) * 4 + 64;
    return make_kernel(
        "cpu.pool",
        [=](std::span<std::byte* const> data, std::byte* work) {
          if (empty) return;
          parallel_for(loop.slots, cost, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t slot = begin; slot < end; ++slot) {
              float* row = reinterpret_cast<float*>(work) + slot * temp;
              for (std::int64_t i = rows * slot / loop.slots; i < rows * (slot + 1) / loop.slots; ++i) {
                const std::int64_t oh = i % loop.h.out, plane = i / loop.h.out % loop.planes,
                                   n = i / loop.h.out / loop.planes;
                loop.row(
                    reinterpret_cast<float*>(data[1]) + n * loop.dst_batch + plane * loop.dst_plane +
                        oh * loop.h.dst_stride,
                    reinterpret_cast<const float*>(data[0]) + n * loop.src_batch + plane * loop.src_plane,
                    row, oh);
              }
            }
          });
        },
        workspace);
  }
};

}  // namespace

std::unique_ptr<Tactic> make_pool() { return std::make_unique<PoolTactic>(); }

}  // namespace headrace::cpu
