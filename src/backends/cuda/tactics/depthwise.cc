// cuda.depthwise: Conv with one channel per group, channels_last, f16 and f32, with bias and post steps.
//
// Two kernels (kernels/depthwise.h); choices are their shapes: "rows t=7 v=2 x=4 c=32 r=14" and "t=4 r=8
// v=4". Weights are packed [kernel h][kernel w][channel], so that they are vectors too.
#include "backends/cuda/kernels/depthwise.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/codegen_window.h"

namespace headrace::cuda {
namespace {

constexpr const char* kFormat = "khwc";

struct Taps {
  std::int64_t h = 1, w = 1;
};
/// Kernel extents, with a first axis of 1 for one spatial axis.
Taps taps(const TensorDesc& weights) {
  return weights.shape.size() == 4 ? Taps{weights.shape[2], weights.shape[3]} : Taps{1, weights.shape[2]};
}

constexpr DepthwisePatch kPatches[] = {{4, 4, 4}, {4, 8, 2}, {4, 8, 4}, {8, 4, 2}, {4, 4, 2},
                                       {4, 2, 8}, {4, 1, 8}, {2, 4, 4}, {2, 2, 4}, {2, 2, 8},
                                       {2, 1, 4}, {1, 1, 8}, {1, 1, 2}};
constexpr std::int64_t kEnoughThreads = 132 * 512;

std::int64_t channels_per_thread(const Problem& p, const DepthwisePatch& patch) {
  return channel_vector(p.srcs[0], p.dsts[0], patch.v).V;
}

[[noreturn]] void throw_no_choice(const Choice& choice) {
  throw Error(ErrorCode::invalid_plan, "cuda.depthwise has no choice '" + choice + "'");
}

class DepthwiseTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.depthwise"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Conv* op = op_as<Conv>(p);
    if (!op) return refuse("not a Conv");
    if (!op->pool_kernel.empty()) return refuse("a max-pool after the convolution");
    const TensorDesc &src = p.srcs[0], &weights = p.srcs[1], &dst = p.dsts[0];
    const std::size_t rank = src.shape.size();
    if (rank != 3 && rank != 4) return refuse("not one or two spatial axes");
    if (op->groups != src.shape[1] || dst.shape[1] != src.shape[1])
      return refuse("not one channel per group");
    for (const TensorDesc* d : {&src, &weights, &dst})
      if (d->dtype != src.dtype || (d->dtype != DType::f32 && !is_half(d->dtype)))
        return refuse("dtypes other than f32, f16 or bf16 throughout");
    if (src.layout != Layout::channels_last || dst.layout != Layout::channels_last)
      return refuse("not channels_last");
    if (weights.layout == Layout::packed && weights.format != kFormat)
      return refuse("weights packed as " + weights.format);
    for (std::size_t i = 2; i < p.srcs.size(); ++i)
      if (!is_float(p.srcs[i].dtype)) return refuse("an operand that is not floating-point");
    const Taps k = taps(weights);
    if (k.h * k.w > 121) return refuse("a kernel of more than 121 taps");
    return refuse_operands(p, 1);
  }
  std::vector<Choice> candidates(const Problem& p) const override {
    std::vector<Choice> rows, choices;
    if (p.dsts[0].elements() > 0) {
      for (const DepthwiseRows& s : depthwise_rows_shapes(Depthwise(p))) {
        if (rows.size() == 8) break;
        rows.push_back(fmt::format("rows t={} v={} x={} c={} r={}", s.t, s.v, s.x, s.c, s.r));
      }
    }
    for (const DepthwisePatch& patch : ranked_patches(p, rows.empty() ? 6 : 4))
      choices.push_back(fmt::format("t={} r={} v={}", patch.t, patch.r, patch.v));
    // Small kernels on large images are patches' best case (measured on an H200).
    const Taps k = taps(p.srcs[1]);
    const bool large = p.dsts[0].elements() / 64 >= kEnoughThreads && k.h * k.w <= 9;
    choices.insert(large ? choices.end() : choices.begin(), rows.begin(), rows.end());
    return choices;
  }
  Layout preferred_layout(const Problem&) const override { return Layout::channels_last; }

  std::optional<Packed> pack(const Problem& p, const Choice&, std::size_t index,
                             const HostTensor& weights) const override {
    if (index != 1) return std::nullopt;
    const std::size_t size = size_bytes(weights.dtype());
    const auto channels = static_cast<std::size_t>(weights.shape()[0]);
    const auto count = static_cast<std::size_t>(taps(p.srcs[1]).h * taps(p.srcs[1]).w);
    Packed packed{kFormat, std::vector<std::byte>(weights.bytes().size())};
    for (std::size_t c = 0; c < channels; ++c)
      for (std::size_t t = 0; t < count; ++t)
        std::memcpy(&packed.bytes[(t * channels + c) * size], &weights.bytes()[(c * count + t) * size], size);
    return packed;
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t) const override {
    return static_cast<std::size_t>(p.srcs[1].elements()) * size_bytes(p.srcs[1].dtype);
  }

  Program generate(const Problem& p, const Choice& choice) const override {
    Program program{"cuda.depthwise", {}};
    if (p.dsts[0].elements() == 0) return program;
    const Depthwise d(p);
    DepthwisePatch patch{1, 1, 8};
    DepthwiseRows rows;
    long long t = 0, r = 0, v = 0, x = 0, c = 0;
    if (std::sscanf(choice.c_str(), "rows t=%lld v=%lld x=%lld c=%lld r=%lld", &t, &v, &x, &c, &r) == 5) {
      rows = {t, v, x, c, r};
      if (!depthwise_rows_fits(d, rows)) throw_no_choice(choice);
      program.launches.push_back(depthwise_rows(d, rows));
      return program;
    }
    if (!choice.empty()) {
      if (std::sscanf(choice.c_str(), "t=%lld r=%lld v=%lld", &t, &r, &v) != 3 || t < 1 || t > 8 || r < 1 ||
          r > 8 || v < 1 || v > 8)
        throw_no_choice(choice);
      patch = {t, r, v};
    }
    program.launches.push_back(depthwise_patch(d, patch));
    return program;
  }

 private:
  static std::vector<DepthwisePatch> ranked_patches(const Problem& p, std::size_t count) {
    const Taps k = taps(p.srcs[1]);
    std::vector<DepthwisePatch> patches;
    for (const DepthwisePatch& patch : kPatches) {
      const bool twice = (patch.t > 1 && patch.t >= 2 * p.dsts[0].shape.back()) ||
                         (patch.r > 1 && (p.dsts[0].shape.size() == 3 || patch.r >= 2 * p.dsts[0].shape[2]));
      if (!twice && channels_per_thread(p, patch) == patch.v) patches.push_back(patch);
    }
    if (patches.empty()) patches.push_back({1, 1, channels_per_thread(p, {1, 1, 8})});
    // By rule the first that leaves the machine enough threads and each enough registers; none does: the
    // smallest.
    const auto score = [&](const DepthwisePatch& patch) {
      const std::int64_t pixels = patch.t * patch.r;
      if (p.dsts[0].elements() / (pixels * patch.v) < kEnoughThreads)
        return -static_cast<double>(pixels * patch.v);
      const std::int64_t registers = (k.h * k.w + std::min(k.h, patch.r) * patch.t) * patch.v;
      return registers > 200 ? 0.1 : 1.0;
    };
    std::stable_sort(patches.begin(), patches.end(),
                     [&](const DepthwisePatch& a, const DepthwisePatch& b) { return score(a) > score(b); });
    patches.resize(std::min(patches.size(), count));
    return patches;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_depthwise() { return std::make_unique<DepthwiseTactic>(); }

}  // namespace headrace::cuda
