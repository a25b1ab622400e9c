// cpu.arg_reduce: ArgMax and ArgMin of f32 along any axis.
#include "backends/cpu/parallel.h"
#include "backends/cpu/tactics.h"
#include "backends/cpu/vec.h"
#include "backends/nest.h"

namespace headrace::cpu {
namespace {

class ArgReduceTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.arg_reduce"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<ArgReduce>(p)) return refuse("another operator");
    if (p.srcs[0].dtype != DType::f32)
      return refuse("dtype " + std::string(to_string(p.srcs[0].dtype)) + ", not f32");
    return std::nullopt;
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const ArgReduce op = *op_as<ArgReduce>(p);
    const auto axis = static_cast<std::ptrdiff_t>(op.axis);
    Shape shape = p.srcs[0].shape;
    Strides src = p.srcs[0].strides, dst = p.dsts[0].strides;
    const std::int64_t n = shape[static_cast<std::size_t>(axis)],
                       stride = src[static_cast<std::size_t>(axis)];
    shape.erase(shape.begin() + axis);
    src.erase(src.begin() + axis);
    if (op.keep_dims) dst.erase(dst.begin() + axis);
    const Nest nest = make_nest(shape, {dst, src});
    const std::int64_t total = p.srcs[0].elements();
    return make_kernel("cpu.arg_reduce", [=](std::span<std::byte* const> data, std::byte*) {
      if (total == 0) return;
      const std::size_t axes = nest.extents.size();
      parallel_for(nest.count(), total, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const float* from = reinterpret_cast<const float*>(data[0]) + nest.offset(1, i, axes);
          std::int64_t best = 0;
          if (op.is_max && stride == 1 && n >= 64 && !op.select_last) {
            const float m = vec().max(from, n);  // NaN: none is equal, the loop below finds it
            while (best < n && from[best] != m) ++best;
            if (best == n) {
              best = 0;
              while (best + 1 < n && from[best] == from[best]) ++best;
            }
          } else {
            for (std::int64_t k = 1; k < n; ++k) {
              const float x = from[k * stride], b = from[best * stride];
              if (b != b) break;
              if (x != x || (op.is_max ? x > b : x < b) || (op.select_last && x == b)) best = k;
            }
          }
          reinterpret_cast<std::int64_t*>(data[1])[nest.offset(0, i, axes)] = best;
        }
      });
    });
  }
};

}  // namespace

std::unique_ptr<Tactic> make_arg_reduce() { return std::make_unique<ArgReduceTactic>(); }

}  // namespace headrace::cpu
