// cpu.gather: Gather of any dtype along one axis of dense plain data; runs of the inner axes are copied
// whole.
#include <algorithm>
#include <cstring>

#include "backends/cpu/parallel.h"
#include "backends/cpu/tactics.h"

namespace headrace::cpu {
namespace {

class GatherTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.gather"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (!op_as<Gather>(p)) return refuse("not a Gather");
    if (p.srcs[1].dtype != DType::i32 && p.srcs[1].dtype != DType::i64)
      return refuse("indices are neither i32 nor i64");
    for (const TensorDesc* d : {&p.srcs[0], &p.srcs[1], &p.dsts[0]}) {
      if (d->layout != Layout::plain || !d->is_dense()) return refuse("not dense and plain");
    }
    return std::nullopt;
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    const auto axis = static_cast<std::size_t>(op_as<Gather>(p)->axis);
    const Shape& shape = p.srcs[0].shape;
    std::int64_t outer = 1, inner = static_cast<std::int64_t>(size_bytes(p.srcs[0].dtype));
    for (std::size_t i = 0; i < axis; ++i) outer *= shape[i];
    for (std::size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
    const std::int64_t extent = shape[axis], count = p.srcs[1].elements(), total = p.dsts[0].elements();
    const bool wide = p.srcs[1].dtype == DType::i64;
    return make_kernel("cpu.gather", [=](std::span<std::byte* const> data, std::byte*) {
      if (total == 0 || extent == 0) return;
      parallel_for(outer * count, outer * count * inner, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t k = i % count;
          std::int64_t at = wide ? reinterpret_cast<const std::int64_t*>(data[1])[k]
                                 : reinterpret_cast<const std::int32_t*>(data[1])[k];
          if (at < 0) at += extent;
          at = std::clamp<std::int64_t>(at, 0, extent - 1);
          std::memcpy(data[2] + i * inner, data[0] + (i / count * extent + at) * inner,
                      static_cast<std::size_t>(inner));
        }
      });
    });
  }
};

}  // namespace

std::unique_ptr<Tactic> make_gather() { return std::make_unique<GatherTactic>(); }

}  // namespace headrace::cpu
