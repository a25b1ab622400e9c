// Compiled kernels in a CUDA context: loading, sharing, launching.
//
//   const auto function = load_kernel(source, "cuda.pool", shared_bytes);   // a context is current
//   launch(*function, stream, {.grid = {n, 1, 1}, .block = {256, 1, 1}}, arguments);
// Contract: `load_kernel` compiles (nvrtc.h) for the current context's device and loads; kernels of the same
// source share one module per context while any of them lives. It may be called from any thread. `launch` is
// capture-safe: it neither allocates nor synchronises.
#pragma once

#include <memory>
#include <span>
#include <string>

#include <cuda.h>

namespace headrace::cuda {

/// The name of the entry point in every generated source.
inline constexpr const char* kEntry = "headrace_kernel";

struct Geometry {
  unsigned grid[3] = {1, 1, 1}, block[3] = {1, 1, 1};
  unsigned shared_bytes = 0;  ///< dynamic
};

/// One entry point of a loaded module; unloads the module when the last holder goes.
class Function {
 public:
  /// The context must be current. Raises the limit of dynamic shared memory to `shared_bytes`.
  Function(CUcontext context, std::span<const std::byte> cubin, const std::string& name);
  ~Function();
  Function(const Function&) = delete;
  Function& operator=(const Function&) = delete;
  CUfunction get() const { return function_; }
  /// Allows launches with this much dynamic shared memory.
  void allow_shared_bytes(unsigned bytes) const;

 private:
  CUcontext context_;
  CUmodule module_ = nullptr;
  CUfunction function_ = nullptr;
};
using FunctionRef = std::shared_ptr<const Function>;

/// "sm_80" of the current context's device; "sm_90a" of Hopper, whose kernels may use what only it has.
std::string current_arch();
/// Compiled (or from a cache) and loaded into the current context. Error(device) when none is current.
FunctionRef load_kernel(const std::string& source, const std::string& name, unsigned shared_bytes = 0);

/// arguments[i] points to the value of parameter i.
void launch(const Function& function, CUstream stream, const Geometry& geometry,
            std::span<const void* const> arguments);

}  // namespace headrace::cuda
