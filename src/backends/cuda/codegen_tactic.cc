#include "backends/cuda/codegen_tactic.h"

#include <array>

#include <headrace/error.h>

namespace headrace::cuda {
namespace {

constexpr std::size_t kMaxOperands = 64, kMaxRank = 16;

class ProgramKernel final : public Kernel {
 public:
  explicit ProgramKernel(Program program)
      : name_(std::move(program.name)), workspace_(program.workspace_bytes) {
    for (KernelSource& source : program.launches) {
      Step step;
      step.function = load_kernel(source.source, name_, source.geometry.shared_bytes);
      step.geometry = source.geometry;
      step.operands = std::move(source.operands);
      step.scalars = std::move(source.scalars);
      steps_.push_back(std::move(step));
    }
  }
  std::size_t workspace_bytes() const override { return workspace_; }
  std::string_view name() const override { return name_; }
  void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const override {
    for (const Step& step : steps_) {
      std::array<const void*, kMaxOperands + 8> arguments;
      std::size_t n = 0;
      for (const std::size_t operand : step.operands)
        arguments[n++] = operand == kWorkspace ? static_cast<const void*>(&workspace) : &data[operand];
      for (const std::int64_t& scalar : step.scalars) arguments[n++] = &scalar;
      cuda::launch(*step.function, static_cast<CUstream>(stream), step.geometry, {arguments.data(), n});
    }
  }

 private:
  struct Step {
    FunctionRef function;
    Geometry geometry;
    std::vector<std::size_t> operands;
    std::vector<std::int64_t> scalars;
  };
  std::string name_;
  std::size_t workspace_;
  std::vector<Step> steps_;
};

}  // namespace

std::unique_ptr<Kernel> GeneratedTactic::make(const Problem& problem, const Choice& choice) const {
  if (const auto refusal = refuses(problem))
    throw Error(ErrorCode::invalid_plan, std::string(id()) + ": " + refusal->reason);
  try {
    return std::make_unique<ProgramKernel>(generate(problem, choice));
  } catch (Error& e) {
    throw e.add_context("while making the kernel of " + std::string(id()));
  }
}

std::optional<Refusal> refuse_operands(const Problem& problem, std::size_t packed) {
  if (problem.dsts.empty()) return refuse("no destination");
  if (problem.srcs.size() + problem.dsts.size() > kMaxOperands)
    return refuse("more than " + std::to_string(kMaxOperands) + " operands");
  for (std::size_t i = 0; i < problem.srcs.size(); ++i) {
    if (problem.srcs[i].layout == Layout::packed && i != packed)
      return refuse("packed source " + problem.srcs[i].format);
    if (problem.srcs[i].shape.size() > kMaxRank) return refuse("rank above " + std::to_string(kMaxRank));
  }
  for (const TensorDesc& d : problem.dsts)
    if (d.shape.size() > kMaxRank) return refuse("rank above " + std::to_string(kMaxRank));
  return std::nullopt;
}

}  // namespace headrace::cuda
