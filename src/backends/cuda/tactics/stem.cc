// cuda.stem: Conv on up to four channels from f32 or f16 in any layout to f16 channels_last, with bias, post
// steps and a max-pool, on tensor cores. Choices are tiles: "h=8 w=112 m=2 t=4", with a pool "pool h=7 w=7
// m=1", each with "wg" in front where warpgroups do it.
#include "backends/cuda/stem.h"

#include <headrace/error.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/driver.h"

namespace headrace::cuda {
namespace {

/// Whether the current context's GPU is a Hopper; no where there is none.
bool has_warpgroups() {
  CUcontext context = nullptr;
  return try_driver() && driver().cuCtxGetCurrent(&context) == CUDA_SUCCESS && context &&
         current_arch() == "sm_90a";
}

class StemTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.stem"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    if (auto refusal = refuse_stem(p)) return refusal;
    return refuse_operands(p, 1);
  }
  std::vector<Choice> candidates(const Problem& p) const override {
    if (p.dsts[0].elements() == 0) return {Choice{}};
    const Stem stem(p);
    std::vector<Choice> choices;
    for (const StemTile& tile : stem_tiles(stem, has_warpgroups())) choices.push_back(to_string(tile, stem));
    return choices;
  }
  Layout preferred_layout(const Problem&) const override { return Layout::channels_last; }
  std::optional<Packed> pack(const Problem& p, const Choice& choice, std::size_t index,
                             const HostTensor& weights) const override {
    if (index != 1 || p.dsts[0].elements() == 0) return std::nullopt;
    const Stem stem(p);
    const bool warpgroups = parse_stem_tile(choice, stem).warpgroups;
    return Packed{stem_format(warpgroups), pack_stem(stem, warpgroups, weights)};
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t) const override {
    return static_cast<std::size_t>(Stem(p).weight_words()) * 4;
  }
  Program generate(const Problem& p, const Choice& choice) const override {
    Program program{"cuda.stem", {}};
    if (p.dsts[0].elements() == 0) return program;
    const Stem stem(p);
    const StemTile tile = parse_stem_tile(choice, stem);
    if (p.srcs[1].layout == Layout::packed && p.srcs[1].format != stem_format(tile.warpgroups))
      throw Error(ErrorCode::invalid_plan, "weights packed as " + p.srcs[1].format + " for '" + choice + "'");
    program.launches.push_back(stem_source(p, stem, tile));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_stem() { return std::make_unique<StemTactic>(); }

}  // namespace headrace::cuda
