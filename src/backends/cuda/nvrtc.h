// CUDA C++ to machine code at run time: NVRTC, with a cache on disk.
//
// Problem: kernels are generated for the problem at hand; compiling one takes 40-150 ms, and the next process
// wants the same ones. Contract: `compile` gives a cubin for a real architecture ("sm_90"); a failure is an
// Error that carries NVRTC's log. Needs no GPU. Entries of the cache (disk_cache.h) are keyed by source,
// architecture and NVRTC version. Threads: all functions may be called from any thread.
//   const Cubin cubin = KernelCache(DiskCache::shared()).compile(source, "pointwise", "sm_90");
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cuda/disk_cache.h"

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

/// Compiled kernels, from a cache or made and kept.
class KernelCache {
 public:
  explicit KernelCache(const DiskCache& disk) : disk_(disk) {}
  Cubin compile(const std::string& source, const std::string& name, const std::string& arch) const;

 private:
  const DiskCache& disk_;
};

}  // namespace headrace::cuda
