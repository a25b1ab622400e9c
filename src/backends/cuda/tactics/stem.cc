// cuda.stem: Conv on up to four channels from f32 or f16 in any layout to f16 channels_last, with bias, post
// steps and a max-pool, on tensor cores. Choices are tiles: "h=8 w=112 m=4 t=4", with a pool "pool h=7 w=7
// m=1".
#include "backends/cuda/stem.h"

#include "backends/cuda/codegen_tactic.h"

namespace headrace::cuda {
namespace {

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
    for (const StemTile& tile : stem_tiles(stem)) choices.push_back(to_string(tile, stem));
    return choices;
  }
  Layout preferred_layout(const Problem&) const override { return Layout::channels_last; }
  std::optional<Packed> pack(const Problem& p, const Choice&, std::size_t index,
                             const HostTensor& weights) const override {
    if (index != 1) return std::nullopt;
    return Packed{kStemFormat, pack_stem(Stem(p), weights)};
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t) const override {
    return static_cast<std::size_t>(Stem(p).weight_words()) * 4;
  }
  Program generate(const Problem& p, const Choice& choice) const override {
    Program program{"cuda.stem", {}};
    if (p.dsts[0].elements() == 0) return program;
    const Stem stem(p);
    program.launches.push_back(stem_source(p, stem, parse_stem_tile(choice, stem)));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_stem() { return std::make_unique<StemTactic>(); }

}  // namespace headrace::cuda
