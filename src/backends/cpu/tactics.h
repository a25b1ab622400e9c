// Factories of all tactics of this backend, one per line of tactics.inc; and how they make kernels.
#pragma once

#include <memory>
#include <string>

#include "backends/backend.h"

namespace headrace::cpu {

#define X(factory) std::unique_ptr<Tactic> make_##factory();
#include "backends/cpu/tactics.inc"
#undef X

/// A kernel made of a callable f(std::span<std::byte* const> data, std::byte* workspace).
template <class F>
class FunctionKernel final : public Kernel {
 public:
  FunctionKernel(std::string name, F f, std::size_t workspace = 0)
      : name_(std::move(name)), f_(std::move(f)), workspace_(workspace) {}
  std::size_t workspace_bytes() const override { return workspace_; }
  std::string_view name() const override { return name_; }
  void launch(NativeStream, std::span<std::byte* const> data, std::byte* workspace) const override {
    f_(data, workspace);
  }

 private:
  std::string name_;
  F f_;
  std::size_t workspace_;
};
template <class F>
std::unique_ptr<Kernel> make_kernel(std::string name, F f, std::size_t workspace = 0) {
  return std::make_unique<FunctionKernel<F>>(std::move(name), std::move(f), workspace);
}

}  // namespace headrace::cpu
