// cpu.softmax: (log-)softmax of f32 along the axis that is contiguous in memory.
#include "backends/cpu/parallel.h"
#include "backends/cpu/tactics.h"
#include "backends/cpu/vec.h"
#include "backends/nest.h"

namespace headrace::cpu {
namespace {

class SoftmaxTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.softmax"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Softmax* op = op_as<Softmax>(p);
    if (!op) return refuse("not a Softmax");
    const auto axis = static_cast<std::size_t>(op->axis);
    for (const TensorDesc* d : {&p.srcs[0], &p.dsts[0]}) {
      if (d->dtype != DType::f32) return refuse("dtype " + std::string(to_string(d->dtype)) + ", not f32");
      if (axis >= d->strides.size() || d->strides[axis] != 1) return refuse("the axis is not contiguous");
    }
    return std::nullopt;
  }
  bool in_place(const Problem& p, std::size_t, std::size_t) const override { return p.srcs[0] == p.dsts[0]; }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const Softmax& op = *op_as<Softmax>(p);
    const auto axis = static_cast<std::ptrdiff_t>(op.axis);
    Shape shape = p.dsts[0].shape;
    Strides dst = p.dsts[0].strides, src = p.srcs[0].strides;
    const std::int64_t n = shape[static_cast<std::size_t>(axis)], total = p.dsts[0].elements();
    shape.erase(shape.begin() + axis);
    dst.erase(dst.begin() + axis);
    src.erase(src.begin() + axis);
    const Nest nest = make_nest(shape, {dst, src});
    const bool log = op.log;
    return make_kernel("cpu.softmax", [=](std::span<std::byte* const> data, std::byte*) {
      if (total == 0) return;
      parallel_for(nest.count(), total * 8, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          vec().softmax(reinterpret_cast<float*>(data[1]) + nest.offset(0, i, nest.extents.size()),
                        reinterpret_cast<const float*>(data[0]) + nest.offset(1, i, nest.extents.size()), n,
                        log);
        }
      });
    });
  }
};

}  // namespace

std::unique_ptr<Tactic> make_softmax() { return std::make_unique<SoftmaxTactic>(); }

}  // namespace headrace::cpu
