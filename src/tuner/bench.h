// How long kernels take for one problem, under the conditions of use.
//
// Problem: a kernel timed alone on warm operands, or by submitting it from the host, is another kernel.
// Contract: operands are allocated and filled once per problem and rotate through several copies, so that
// caches hold what they hold in use: activations as far as they fit, weights only when the network's weights
// do. Where the device can record, kernels are timed in recordings by the device's clock: `quick` for a
// first look at many, `careful` for a few against each other, interleaved. Elsewhere `quick` is a median
// by the host's clock. One thread at a time; all work goes through the stream that was given.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"

namespace headrace::tuner {

struct BenchOptions {
  std::chrono::milliseconds budget{25};  ///< per candidate, where nothing can be recorded
  int min_samples = 3, max_samples = 15;
  std::size_t rotate_bytes = std::size_t{16} << 20;  ///< activations rotate through about this much
  bool cold_weights = false;                         ///< the network's weights do not stay in the caches
};

/// The constant operands of a problem as one packing has them; empty where the source is no constant, or is
/// used as it is.
struct PackedSet {
  Problem problem;  ///< with the packed sources' descriptions
  std::vector<std::shared_ptr<const Packed>> packed;
};

/// A kernel with what it is run on.
struct Contestant {
  std::shared_ptr<const Kernel> kernel;
  std::vector<std::vector<Operand>> sets;  ///< operands, to be taken in turn
};

/// Memory contents that kernels are timed on; shared by the benches of one device.
class Fillings {
 public:
  Fillings(Device& device, Stream& stream) : device_(device), stream_(stream) {}
  BufferRef filled(std::size_t size, DType dtype, MemoryUse use);
  BufferRef holding(std::span<const std::byte> bytes, MemoryUse use);

 private:
  BufferRef upload(std::size_t size, MemoryUse use, const std::function<void(std::byte*)>& write);
  Device& device_;
  Stream& stream_;
  std::map<DType, BufferRef> patterns_;
};

class Bench {
 public:
  Bench(Device& device, Stream& stream, Fillings& fillings, const Problem& problem,
        std::span<const Constant> constants, const BenchOptions& options);

  /// `packing` names the set: equal names, equal sets. The set's bytes are uploaded once.
  Contestant contestant(std::shared_ptr<const Kernel> kernel, const std::string& packing,
                        const PackedSet& set);
  /// Microseconds of one run; a rough figure once it is clear that `best_us` is far better.
  double quick(const Contestant& contestant, double best_us);
  /// Microseconds of each.
  std::vector<double> careful(std::span<const Contestant> contestants);

 private:
  Operand workspace(const Kernel& kernel);
  std::unique_ptr<Recording> record(const Contestant& contestant, int runs);
  double quick_recorded(const Contestant& contestant, double best_us);
  double quick_direct(const Contestant& contestant);

  Device& device_;
  Stream& stream_;
  Fillings& fillings_;
  BenchOptions options_;
  std::vector<Constant> constants_;
  std::vector<std::vector<BufferRef>> activations_;  ///< by source, then destination; copies of each
  std::size_t sources_ = 0;
  std::map<std::string, std::vector<std::vector<BufferRef>>> weights_;  ///< by packing; as activations_
  BufferRef workspace_;
  EventRef begin_, end_;
};

}  // namespace headrace::tuner
