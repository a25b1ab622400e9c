// CUDA C++ to machine code at run time: NVRTC, with a cache on disk.
//
// Problem: kernels are generated for the problem at hand; compiling one takes 40-150 ms, and the next process
// wants the same ones. Contract: `compile` gives a cubin for a real architecture ("sm_90"); a failure is an
// Error that carries NVRTC's log. Needs no GPU. The cache is a folder of the user (mode 0700, its owner
// checked before each use); files are keyed by source, architecture and NVRTC version, written atomically,
// and ignored when damaged or somebody else's. A cache that cannot be used costs time, never a failure. Use:
// auto cubin = compile(source, "pointwise", "sm_90"); Module module(*cubin, ...) Threads: all functions may
// be called from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace headrace::cuda {

using Cubin = std::vector<std::byte>;
using CubinRef = std::shared_ptr<const Cubin>;

/// Whether NVRTC is there; `why` (if given) says so for people.
bool nvrtc_found(std::string* why = nullptr);
/// "13.0"; Error(device) where there is no NVRTC.
std::string nvrtc_version();

/// Always compiles. `name` appears in messages. Error(device) without NVRTC, Error(internal) with its log
/// when it refuses the source.
Cubin compile_uncached(const std::string& source, const std::string& name, const std::string& arch);

/// A folder of compiled kernels. An empty path: nothing is kept.
class KernelCache {
 public:
  explicit KernelCache(std::filesystem::path folder) : folder_(std::move(folder)) {}
  /// XDG_CACHE_HOME/headrace/kernels, or ~/.cache/headrace/kernels; empty where there is no home.
  static std::filesystem::path default_folder();

  /// The kernel from the cache, or compiled and kept.
  Cubin compile(const std::string& source, const std::string& name, const std::string& arch) const;

 private:
  std::filesystem::path folder_;
};

}  // namespace headrace::cuda
