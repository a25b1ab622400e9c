// Convolutions as cuDNN graphs, and the list of ways to run one.
//
// Problem: which of cuDNN's engines may run a convolution is decided by the pattern of the graph around it.
// The pattern conv -> [add z] -> add bias -> [relu or elu] with the bias in the activations' dtype reaches
// the precompiled kernels; anything else is compiled at run time, in seconds, or has only slow engines.
// Contract: a form says how much of `post` goes into the graph; the rest is a pointwise kernel on dst.
//   c  the canonical pattern, as much of post as fits it
//   g  all of post in the graph, bias in f32 (engines compiled at run time)
//   n  the convolution alone
// A choice is "form:version:configuration" ("c:91900:e41,k2=5,..."): a configuration means something only to
// the version of cuDNN that listed it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "backends/cuda/cudnn_plan.h"

namespace headrace::cuda {

/// Weights in the order of the activations, so that cuDNN reads both alike; dtype of the activations.
TensorDesc conv_weights(const Problem& problem);

struct ConvChoice {
  char form = 'c';
  std::size_t version = 0;
  EngineConfig config;
};
std::string to_string(const ConvChoice& choice);
std::optional<ConvChoice> parse_conv_choice(std::string_view text);

/// A graph, and what its tensors are.
struct ConvGraph {
  OpGraph graph;
  std::vector<std::int64_t> ids;  ///< unique ids, one per argument of a launch
  enum class Role { src, weights, bias, zero_bias, operand, dst };
  struct Argument {
    Role role;
    std::size_t index = 0;        ///< operand: which of the problem's sources
    std::int64_t alignment = 16;  ///< bytes, of the address
  };
  std::vector<Argument> arguments;  ///< as ids
  DType bias = DType::f32;          ///< of the bias, where it is in the graph
  bool has_bias = false;            ///< the bias is in the graph
  std::size_t posts = 0;            ///< how many of `post` are in the graph
};

/// Bytes of zeros that stand for a bias where the canonical form needs one; more channels go another way.
inline constexpr std::size_t kZeroBytes = std::size_t{1} << 16;

/// The graph of a form for a Conv or ConvTranspose, not finalized. Nothing where the form cannot express it.
std::optional<ConvGraph> lower_conv(const Problem& problem, char form);

/// The choice by rule: the first form and configuration that work; nothing where cuDNN has none.
std::optional<ConvChoice> rule_choice(const Problem& problem, const CudnnTarget& target,
                                      std::string_view forms = "cng");
/// What to try first, by the heuristics and by experience. Not every one of them can be made into a plan.
std::vector<ConvChoice> conv_choices(const Problem& problem, const CudnnTarget& target);
/// What to try beside those that were fastest (Tactic::refine).
std::vector<ConvChoice> refined_choices(const Problem& problem, const CudnnTarget& target,
                                        std::span<const TriedChoice> tried, bool full);
/// The first of the heuristics' configurations that can be made and takes modest memory.
std::optional<EngineConfig> first_config(const Problem& problem, const OpGraph& graph,
                                         const CudnnTarget& target);

/// Refusal, packing and kernel, alike for Conv and ConvTranspose.
std::optional<Refusal> refuse_conv(const Problem& problem);
std::vector<Choice> conv_candidates(const Problem& problem, std::string_view tactic);
Choice conv_by_rule(const Problem& problem, std::string_view tactic);
std::vector<Choice> refine_conv(const Problem& problem, std::span<const TriedChoice> tried, bool full);
void compile_conv_ahead(const Problem& problem, const std::atomic<bool>& stop);
std::optional<Packed> pack_conv(const Problem& problem, const Choice& choice, std::size_t index,
                                const HostTensor& data);
std::size_t packed_conv_bytes(const Problem& problem, std::size_t index);
std::unique_ptr<Kernel> make_conv_kernel(const Problem& problem, const Choice& choice,
                                         std::string_view tactic);

/// What the tactics for Conv and ConvTranspose share: all but their names and what they refuse.
class CudnnConvTactic : public Tactic {
 public:
  Layout preferred_layout(const Problem&) const override { return Layout::channels_last; }
  std::vector<Choice> candidates(const Problem& p) const override { return conv_candidates(p, id()); }
  Choice by_rule(const Problem& p) const override { return conv_by_rule(p, id()); }
  std::vector<Choice> refine(const Problem& p, std::span<const TriedChoice> tried, bool full) const override {
    return refine_conv(p, tried, full);
  }
  void compile_ahead(const Problem& p, const std::atomic<bool>& stop) const override {
    compile_conv_ahead(p, stop);
  }
  std::string library() const override;
  /// By the form, which decides the bias's dtype.
  std::string packing(const Choice& choice) const override { return choice.substr(0, 1); }
  std::optional<Packed> pack(const Problem& p, const Choice& choice, std::size_t index,
                             const HostTensor& data) const override {
    return pack_conv(p, choice, index, data);
  }
  std::size_t packed_bytes(const Problem& p, const Choice&, std::size_t index) const override {
    return packed_conv_bytes(p, index);
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice& choice) const override {
    return make_conv_kernel(p, choice, id());
  }
};

}  // namespace headrace::cuda
