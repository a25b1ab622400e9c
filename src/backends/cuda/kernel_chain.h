// Kernels run one after another as one kernel: a vendor's plan with casts before it and a pointwise after it.
//
//   KernelChain chain("cuda.cudnn.conv ...");
//   const auto half = chain.reserve(bytes);                     // an intermediate in the workspace
//   chain.add(std::move(cast), {chain.operand(1), half});
//   chain.add(std::move(plan), {chain.operand(0), half, chain.operand(3)});
// Contract: as Kernel. Intermediates are 256-byte aligned; the steps' own workspaces share one place.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/device.h"

namespace headrace::cuda {

class KernelChain final : public Kernel {
 public:
  /// Where an argument of a step is: an operand of the chain, or a place in the workspace.
  struct Arg {
    int operand = -1;  ///< -1: workspace + offset
    std::size_t offset = 0;
  };
  static constexpr std::size_t kMaxArgs = 16;

  explicit KernelChain(std::string name) : name_(std::move(name)) {}
  static Arg operand(std::size_t index) { return {static_cast<int>(index), 0}; }
  Arg reserve(std::size_t bytes);
  void add(std::unique_ptr<Kernel> kernel, std::vector<Arg> args);

  std::size_t workspace_bytes() const override { return reserved_ + scratch_; }
  std::string_view name() const override { return name_; }
  void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const override;

 private:
  struct Step {
    std::unique_ptr<Kernel> kernel;
    std::vector<Arg> args;
  };
  std::string name_;
  std::vector<Step> steps_;
  std::size_t reserved_ = 0, scratch_ = 0;
};

}  // namespace headrace::cuda
