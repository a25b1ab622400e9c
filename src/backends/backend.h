// The seam between the compiler/runtime and the machines' kernels: Problem, Tactic, Refusal, Registry.
//
// A backend is a device factory and a list of tactics. For one resolved operator (a Problem) a tactic either
// refuses, with the reason as a value, or lists candidates; `make` turns a choice into an immutable Kernel.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/op.h"
#include "core/tensor.h"
#include "device/device.h"

namespace headrace {

/// One operator with every extent known.
struct Problem {
  Op op;  ///< resolved: all Dims are numbers
  std::vector<TensorDesc> srcs, dsts;
  int threads = 1;  ///< CPU: team size the kernel will run with
};

struct Refusal {
  std::string reason;
};

inline std::optional<Refusal> refuse(std::string reason) { return Refusal{std::move(reason)}; }

/// The problem's operator as T, or null.
template <class T>
const T* op_as(const Problem& problem) {
  return std::get_if<T>(&problem.op);
}

/// A tactic's own spelling of one way to do it ("" when there is just one). Stored in plans and timing
/// caches.
using Choice = std::string;

/// Result of packing a constant operand at build time: bytes in the tactic's own layout, named by `format`.
struct Packed {
  std::string format;
  std::vector<std::byte> bytes;
};

struct TriedChoice {
  Choice choice;
  double us = 0;  ///< infinite: it could not be made or run
};

class Tactic {
 public:
  virtual ~Tactic() = default;
  virtual std::string_view id() const = 0;  ///< "cpu.onednn.conv"
  /// Why this tactic cannot do the problem, or nothing. Must not depend on extents that may change between
  /// shape keys other than through rank, constness of axes it names, and layout.
  virtual std::optional<Refusal> refuses(const Problem& problem) const = 0;
  /// Never empty for a problem that is not refused; the first is the choice of rule (opt level 0).
  /// Deterministic.
  virtual std::vector<Choice> candidates(const Problem&) const { return {Choice{}}; }
  /// The choice of rule (opt level 0), cheap to ask for.
  virtual Choice by_rule(const Problem& problem) const { return candidates(problem).front(); }
  /// What else to try, given how the ones so far fared, fastest first (`tried` names this tactic's alone).
  /// Asked again with the longer list until nothing comes. `full`: everything, however long it takes.
  /// Deterministic.
  virtual std::vector<Choice> refine(const Problem&, std::span<const TriedChoice> /*tried*/,
                                     bool /*full*/) const {
    return {};
  }
  /// Compiles what the candidates for this problem will need, where that takes seconds and `make` finds the
  /// results later (on disk). A build calls it for problems that it will come to, from other threads; it may
  /// return early when `stop` becomes true. What goes wrong is left for `make` to meet.
  virtual void compile_ahead(const Problem&, const std::atomic<bool>& /*stop*/) const {}
  /// The library whose kernels these are, with its version ("cuDNN 91900"), where candidates and times depend
  /// on it; empty: headrace's own.
  virtual std::string library() const { return {}; }
  /// Throws Error(unsupported) for a choice that turns out not to be possible. The Kernel takes operands in
  /// the order srcs, dsts.
  virtual std::unique_ptr<Kernel> make(const Problem& problem, const Choice& choice) const = 0;
  /// Layout this tactic wants for all its rank >= 3 float activations: select.cc assigns layouts from it.
  virtual Layout preferred_layout(const Problem&) const { return Layout::plain; }
  /// Packs constant source `index` for this problem, or nothing when it is used as it is. A packed source
  /// appears in later Problems with layout `packed`, the format returned here, and the logical shape of the
  /// original.
  virtual std::optional<Packed> pack(const Problem&, const Choice&, std::size_t /*index*/,
                                     const HostTensor&) const {
    return std::nullopt;
  }
  /// Choices for which this is equal pack their operands alike.
  virtual std::string packing(const Choice& choice) const { return choice; }
  /// Bytes that the kernel will read of the packed source `index`: a plan whose packed weights are smaller is
  /// refused. To be overridden together with `pack`.
  virtual std::size_t packed_bytes(const Problem&, const Choice&, std::size_t /*index*/) const {
    return SIZE_MAX;
  }
  /// False when a NaN in the operator's result may be lost in the post steps that this tactic fuses
  /// (runtime/nan_guard.h runs them apart then).
  virtual bool keeps_nan(const Problem&) const { return true; }
  /// True when destination `dst` may share memory with source `src` (same dtype and descs).
  virtual bool in_place(const Problem&, std::size_t /*src*/, std::size_t /*dst*/) const { return false; }
};

/// One device of a backend, for people.
struct DeviceListing {
  std::string name, model;         ///< "cuda:0", "NVIDIA H200, sm_90"
  std::string why_not;             ///< not empty: it cannot be used
  std::vector<std::string> notes;  ///< libraries found, and what a missing one costs
  std::string lacks;               ///< libraries without which most models do not build
};

struct Backend {
  std::string name;                                        ///< "reference", "cpu"
  std::function<DeviceRef(std::string_view)> make_device;  ///< argument: the device string, "cpu", "cuda:0"
  /// The first `at_most` of them: looking at a GPU takes time.
  std::function<std::vector<DeviceListing>(std::size_t at_most)> list_devices;
  std::vector<std::unique_ptr<Tactic>> tactics;  ///< in order of preference (tactics.inc)
};

/// All backends of a process, assembled by api. Immutable after assembly.
class Registry {
 public:
  void add(Backend backend) { backends_.push_back(std::make_unique<Backend>(std::move(backend))); }
  const Backend* find(std::string_view name) const {
    for (const auto& b : backends_)
      if (b->name == name) return b.get();
    return nullptr;
  }
  /// Searches all backends; null when unknown.
  const Tactic* find_tactic(std::string_view id) const {
    for (const auto& b : backends_)
      for (const auto& t : b->tactics)
        if (t->id() == id) return t.get();
    return nullptr;
  }
  const std::vector<std::unique_ptr<Backend>>& backends() const { return backends_; }

 private:
  std::vector<std::unique_ptr<Backend>> backends_;
};

Backend make_reference_backend();  ///< backends/reference: every core operator, plain loops
Backend
make_cpu_backend();  ///< backends/cpu: oneDNN and own kernels; has no tactic for what it cannot do well
#ifdef HEADRACE_CUDA
Backend
make_cuda_backend();  ///< backends/cuda: cuDNN, cuBLASLt and own kernels; making its device needs a GPU
#endif

/// Runs one operator on host data with the reference kernels: the Evaluator of constant folding and the
/// oracle.
std::vector<HostTensor> evaluate_reference(const Op& op, std::span<const HostTensor* const> inputs);

}  // namespace headrace
