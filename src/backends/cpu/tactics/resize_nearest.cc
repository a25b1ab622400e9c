// cpu.resize_nearest: nearest-neighbour Resize of any dtype and layout, by tables of source offsets.
#include <cstring>

#include "backends/cpu/parallel.h"
#include "backends/cpu/resize_axis.h"
#include "backends/cpu/tactics.h"
#include "backends/nest.h"

namespace headrace::cpu {
namespace {

struct NearestLoop {
  std::vector<std::int64_t> extents, dst_strides;  ///< axes from the outermost in memory to the innermost
  std::vector<std::vector<std::int64_t>> offsets;  ///< source offset of each destination index of an axis
  std::int64_t run = 1;                            ///< elements that lie together on both sides

  template <class T>
  void blocks(T* dst, const T* src, std::int64_t begin, std::int64_t end) const {
    const std::size_t last = extents.size() - 1;
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t rest = i, to = 0, from = 0;
      for (std::size_t a = last; a-- > 0;) {
        const std::int64_t k = rest % extents[a];
        to += k * dst_strides[a];
        from += offsets[a][static_cast<std::size_t>(k)];
        rest /= extents[a];
      }
      for (std::int64_t k = 0; k < extents[last]; ++k) {
        T* d = dst + to + k * dst_strides[last];
        const T* s = src + from + offsets[last][static_cast<std::size_t>(k)];
        if (run == 1)
          *d = *s;
        else
          std::memcpy(d, s, static_cast<std::size_t>(run) * sizeof(T));
      }
    }
  }
};

class ResizeNearestTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.resize_nearest"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Resize* op = op_as<Resize>(p);
    if (!op) return refuse("not a Resize");
    if (op->mode != ResizeMode::nearest) return refuse("not nearest");
    if (op->coord == ResizeCoord::tf_crop_and_resize) return refuse("tf_crop_and_resize");
    if (p.srcs[0].shape.empty()) return refuse("scalar");
    return std::nullopt;
  }
  Layout preferred_layout(const Problem& p) const override {
    return p.srcs[0].shape.size() >= 3 ? Layout::channels_last : Layout::plain;
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const Resize& op = *op_as<Resize>(p);
    const TensorDesc &src = p.srcs[0], &dst = p.dsts[0];
    std::vector<std::size_t> order(dst.shape.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return dst.strides[a] > dst.strides[b]; });
    NearestLoop loop;
    while (!order.empty()) {  // whole inner axes that are copied as they are
      const std::size_t a = order.back();
      if (!resize_is_identity(op, a, src.shape[a], dst.shape[a])) break;
      if (dst.shape[a] != 1 && (dst.strides[a] != loop.run || src.strides[a] != loop.run)) break;
      loop.run *= dst.shape[a];
      order.pop_back();
    }
    for (std::size_t a : order) {
      std::vector<std::int64_t> table;
      for (std::int64_t i = 0; i < dst.shape[a]; ++i) {
        const std::int64_t from = resize_is_identity(op, a, src.shape[a], dst.shape[a])
                                      ? i
                                      : resize_nearest(op, a, i, src.shape[a], dst.shape[a]);
        table.push_back(from * src.strides[a]);
      }
      loop.extents.push_back(dst.shape[a]);
      loop.dst_strides.push_back(dst.strides[a]);
      loop.offsets.push_back(std::move(table));
    }
    if (loop.extents.empty()) {
      loop.extents = {1};
      loop.dst_strides = {0};
      loop.offsets = {{0}};
    }
    const std::int64_t total = dst.elements();
    std::int64_t tasks = 1;
    for (std::size_t a = 0; a + 1 < loop.extents.size(); ++a) tasks *= loop.extents[a];
    const auto with = [&]<class T>(T) {
      return make_kernel(
          "cpu.resize_nearest", [=, loop = std::move(loop)](std::span<std::byte* const> data, std::byte*) {
            if (total == 0) return;
            parallel_for(tasks, total, [&](std::int64_t begin, std::int64_t end) {
              loop.blocks(reinterpret_cast<T*>(data[1]), reinterpret_cast<const T*>(data[0]), begin, end);
            });
          });
    };
    switch (size_bytes(dst.dtype)) {
      case 1: return with(std::uint8_t{});
      case 2: return with(std::uint16_t{});
      case 4: return with(std::uint32_t{});
      default: return with(std::uint64_t{});
    }
  }
};

}  // namespace

std::unique_ptr<Tactic> make_resize_nearest() { return std::make_unique<ResizeNearestTactic>(); }

}  // namespace headrace::cpu
