// cpu.copy: Reorder, Transpose, Slice, Concat, Broadcast, Reshape and constant Pad as strided copies of any
// dtype.
//
// Each source becomes a box of dst. Axes are merged; runs that are contiguous on both sides are one memcpy, a
// transposition of 4-byte elements goes through tiles, the rest element by element.
#include <algorithm>
#include <cstring>

#include "backends/cpu/parallel.h"
#include "backends/cpu/tactics.h"
#include "backends/cpu/vec.h"
#include "backends/nest.h"

namespace headrace::cpu {
namespace {

struct Box {
  std::size_t src = 0;                          ///< operand
  std::int64_t src_offset = 0, dst_offset = 0;  ///< elements
  Nest nest;                                    ///< operand 0: dst, 1: src
};

Box make_box(std::size_t src, std::int64_t src_offset, std::int64_t dst_offset, const Shape& shape,
             const Strides& src_strides, const Strides& dst_strides) {
  return {src, src_offset, dst_offset, make_nest(shape, {dst_strides, src_strides})};
}

template <class T>
void copy_elements(T* dst, std::int64_t dst_stride, const T* src, std::int64_t src_stride, std::int64_t n) {
  if (src_stride == 0) {
    for (std::int64_t i = 0; i < n; ++i) dst[i * dst_stride] = *src;
  } else {
    for (std::int64_t i = 0; i < n; ++i) dst[i * dst_stride] = src[i * src_stride];
  }
}

template <class T>
void run_box(const Box& box, T* dst, const T* src) {
  const Nest& nest = box.nest;
  const std::size_t axes = nest.extents.size(), last = axes - 1;
  const std::int64_t n = nest.extents[last], total = nest.count();
  if (total == 0) return;
  dst += box.dst_offset;
  src += box.src_offset;
  const std::int64_t ds = nest.strides[0][last], ss = nest.strides[1][last];
  if (ds == 1 && ss == 1) {
    if (axes == 1) {  // one run: split it
      parallel_for(n, n, [&](std::int64_t b, std::int64_t e) {
        std::memcpy(dst + b, src + b, static_cast<std::size_t>(e - b) * sizeof(T));
      });
      return;
    }
    parallel_for(total / n, total, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::memcpy(dst + nest.offset(0, i, last), src + nest.offset(1, i, last),
                    static_cast<std::size_t>(n) * sizeof(T));
      }
    });
    return;
  }
  if constexpr (sizeof(T) == 4) {
    // dst's inner axis against the axis that is contiguous in src: a transposition.
    std::size_t other = axes;
    for (std::size_t a = 0; a < last; ++a) {
      if (nest.strides[1][a] == 1) other = a;
    }
    if (ds == 1 && ss > 0 && other < axes && nest.strides[0][other] > 0) {
      const std::int64_t columns = nest.extents[other], stripe = 64,
                         stripes = (columns + stripe - 1) / stripe;
      parallel_for(total / n / columns * stripes, total, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          std::int64_t rest = t / stripes, d = 0, s = 0;
          const std::int64_t c0 = t % stripes * stripe, nc = std::min(stripe, columns - c0);
          for (std::size_t a = last; a-- > 0;) {
            if (a == other) continue;
            d += rest % nest.extents[a] * nest.strides[0][a];
            s += rest % nest.extents[a] * nest.strides[1][a];
            rest /= nest.extents[a];
          }
          vec().transpose32(reinterpret_cast<std::uint32_t*>(dst + d + c0 * nest.strides[0][other]),
                            nest.strides[0][other], reinterpret_cast<const std::uint32_t*>(src + s + c0), ss,
                            n, nc);
        }
      });
      return;
    }
  }
  parallel_for(total / n, total, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      copy_elements(dst + nest.offset(0, i, last), ds, src + nest.offset(1, i, last), ss, n);
    }
  });
}

struct Boxes {
  std::vector<Box> boxes;
  bool pads = false;
  std::size_t value = 0;  ///< operand of Pad's value; 0: none
  Nest dst_nest;
};

template <class T>
void run_all(const Boxes& plan, std::span<std::byte* const> data) {
  T* dst = reinterpret_cast<T*>(data.back());
  if (plan.pads) {
    T value{};
    if (plan.value) value = *reinterpret_cast<const T*>(data[plan.value]);
    const Nest& nest = plan.dst_nest;
    const std::size_t last = nest.extents.size() - 1;
    const std::int64_t n = nest.extents[last], total = nest.count();
    if (total == 0) return;
    parallel_for(total / n, total, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        copy_elements(dst + nest.offset(0, i, last), nest.strides[0][last], &value, 0, n);
      }
    });
  }
  for (const Box& box : plan.boxes) run_box(box, dst, reinterpret_cast<const T*>(data[box.src]));
}

std::int64_t dot(const Shape& a, const Strides& b) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

Boxes plan_boxes(const Problem& p) {
  const TensorDesc& dst = p.dsts[0];
  const TensorDesc& src = p.srcs[0];
  Boxes plan;
  plan.dst_nest = make_nest(dst.shape, {dst.strides});
  if (const auto* transpose = op_as<Transpose>(p)) {
    Strides strides;
    for (std::int64_t axis : transpose->perm) strides.push_back(src.strides[static_cast<std::size_t>(axis)]);
    plan.boxes.push_back(make_box(0, 0, 0, dst.shape, strides, dst.strides));
  } else if (const auto* slice = op_as<Slice>(p)) {
    Strides strides = src.strides;
    for (std::size_t i = 0; i < strides.size(); ++i) strides[i] *= slice->steps[i].value;
    plan.boxes.push_back(
        make_box(0, dot(to_shape(slice->starts), src.strides), 0, dst.shape, strides, dst.strides));
  } else if (const auto* concat = op_as<Concat>(p)) {
    std::int64_t at = 0;
    const auto axis = static_cast<std::size_t>(concat->axis);
    for (std::size_t i = 0; i < p.srcs.size(); ++i) {
      plan.boxes.push_back(
          make_box(i, 0, at * dst.strides[axis], p.srcs[i].shape, p.srcs[i].strides, dst.strides));
      at += p.srcs[i].shape[axis];
    }
  } else if (const auto* pad = op_as<Pad>(p)) {
    plan.pads = true;
    if (p.srcs.size() > 1) plan.value = 1;
    Shape shape = src.shape;
    std::int64_t from = 0, to = 0;
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const std::int64_t before = pad->before[i].value, after = pad->after[i].value;
      if (before < 0)
        from -= before * src.strides[i];
      else
        to += before * dst.strides[i];
      shape[i] = std::max<std::int64_t>(
          0, shape[i] + std::min<std::int64_t>(before, 0) + std::min<std::int64_t>(after, 0));
    }
    plan.boxes.push_back(make_box(0, from, to, shape, src.strides, dst.strides));
  } else if (op_as<Reshape>(p)) {
    plan.boxes.push_back(make_box(0, 0, 0, {dst.elements()}, {1}, {1}));
  } else {  // Reorder, Broadcast
    plan.boxes.push_back(make_box(0, 0, 0, dst.shape, broadcast_strides(src, dst.shape), dst.strides));
  }
  return plan;
}

class Copy final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.copy"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (p.srcs.empty()) return refuse("no source");
    for (const TensorDesc& d : p.srcs) {
      if (d.layout == Layout::packed) return refuse("packed source");
    }
    if (op_as<Transpose>(p) || op_as<Slice>(p) || op_as<Concat>(p) || op_as<Broadcast>(p) ||
        op_as<Reorder>(p)) {
      return std::nullopt;
    }
    if (const Pad* pad = op_as<Pad>(p)) {
      if (pad->mode != PadMode::constant) return refuse("padding by reflection, edge or wrapping");
      return std::nullopt;
    }
    if (op_as<Reshape>(p)) {
      const auto plain = [](const TensorDesc& d) { return d.layout == Layout::plain && d.is_dense(); };
      if (!plain(p.srcs[0]) || !plain(p.dsts[0]))
        return refuse("Reshape of a tensor that is not dense and plain");
      return std::nullopt;
    }
    return refuse("not a copy");
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    Boxes plan = plan_boxes(p);
    const std::string kernel_name = "cpu.copy " + std::string(name(p.op));
    const auto with = [&]<class T>(T) {
      return make_kernel(kernel_name,
                         [plan](std::span<std::byte* const> data, std::byte*) { run_all<T>(plan, data); });
    };
    switch (size_bytes(p.dsts[0].dtype)) {
      case 1: return with(std::uint8_t{});
      case 2: return with(std::uint16_t{});
      case 4: return with(std::uint32_t{});
      default: return with(std::uint64_t{});
    }
  }
};

}  // namespace

std::unique_ptr<Tactic> make_copy() { return std::make_unique<Copy>(); }

}  // namespace headrace::cpu
