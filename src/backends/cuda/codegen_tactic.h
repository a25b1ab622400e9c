// A tactic whose kernels are generated: it only says what source to run; compiling, loading and launching are
// here.
#pragma once

#include "backends/cuda/codegen.h"
#include "backends/cuda/tactics.h"

namespace headrace::cuda {

class GeneratedTactic : public Tactic {
 public:
  /// The oldest architecture that the kernels are written for, and newer ones that differ in what matters to
  /// them. Tests compile for all.
  virtual std::vector<std::string> architectures() const { return {"sm_80", "sm_90", "sm_120"}; }
  /// Pure: needs neither a GPU nor NVRTC.
  virtual Program generate(const Problem& problem, const Choice& choice) const = 0;
  /// Error(invalid_plan) when the problem is refused. The device's context must be current.
  std::unique_ptr<Kernel> make(const Problem& problem, const Choice& choice) const final;
};

/// A reason to refuse that holds for every generated kernel, or nothing: packed sources other than `packed`,
/// too many operands or axes.
std::optional<Refusal> refuse_operands(const Problem& problem, std::size_t packed = SIZE_MAX);

}  // namespace headrace::cuda
