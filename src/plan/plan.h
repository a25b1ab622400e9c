// The plan: pure data between build time and run time.
//
// Contract: a Plan holds no pointers into code and no machine code; everything a runtime needs is in it.
// `read_plan` verifies magic, version, sizes, checksums and every index, bound and enum before it returns; a
// plan that passes can be executed memory-safely. Weights are one 64-byte aligned blob, mapped from the file
// where possible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/op.h"
#include "core/shape_program.h"
#include "core/tensor.h"

namespace headrace {

inline constexpr std::uint32_t kPlanVersion = 4;
/// Key in Plan::provenance of an input's format, in text form (headrace/input_format.h): followed by its
/// name.
inline const std::string kInputFormatKey = "input_format.";

enum class TensorRole : std::uint8_t { input, output, activation, weight };

/// How a tensor without memory of its own lies in another tensor.
enum class ViewKind : std::uint8_t {
  none,    ///< owns memory
  alias,   ///< the same bytes as `parent`: equal desc, or both dense with their elements in row-major order,
           ///< or one plain [N,H,W,C] and the other channels_last [N,C,H,W]
  window,  ///< a box of `parent` (same rank, parent's strides) starting at `offsets`, with this tensor's
           ///< shape
};

struct PlanTensor {
  std::string name;  ///< the ONNX name where there is one; unique among inputs and among outputs
  TensorRole role = TensorRole::activation;
  DType dtype = DType::f32;
  Dims shape;
  Layout layout = Layout::plain;
  std::string format;                                 ///< of packed weights
  std::uint64_t weight_offset = 0, weight_bytes = 0;  ///< role weight: range of Plan::weights
  ViewKind view = ViewKind::none;
  std::int32_t parent = -1;  ///< index of the tensor this one is a view of (may be a view itself; no cycles)
  Dims offsets;              ///< window: start per axis
  friend bool operator==(const PlanTensor&, const PlanTensor&) = default;
};

struct RefusalRecord {
  std::string tactic, reason;
  friend bool operator==(const RefusalRecord&, const RefusalRecord&) = default;
};
struct TimingRecord {
  std::string tactic, choice;
  double us = 0;
  friend bool operator==(const TimingRecord&, const TimingRecord&) = default;
};

/// How a profile does a step, where that is not the step's own way.
struct StepVariant {
  std::uint32_t profile = 0;  ///< index, at least 1: profile 0 is the step's own way
  std::string tactic, choice;
  std::vector<std::int32_t> inputs;  ///< the step's, but for weights, which may be packed otherwise
  std::vector<RefusalRecord> refused;
  std::vector<TimingRecord> tried;
  friend bool operator==(const StepVariant&, const StepVariant&) = default;
};

struct PlanStep {
  std::string tactic;
  std::string choice;
  OpRecord op;
  std::vector<std::int32_t> inputs, outputs;  ///< tensor indices
  std::vector<std::string> origins;           ///< ONNX nodes
  std::vector<RefusalRecord> refused;         ///< for inspect
  std::vector<TimingRecord> tried;            ///< for inspect; empty at opt level 0
  std::vector<StepVariant> variants;          ///< by ascending profile; profiles without one do it as above
  friend bool operator==(const PlanStep&, const PlanStep&) = default;
};

/// Allowed extents of one input.
struct ProfileRange {
  std::string input;
  Shape min, opt, max;
  friend bool operator==(const ProfileRange&, const ProfileRange&) = default;
};
using Profile = std::vector<ProfileRange>;

struct Plan {
  std::string device;                             ///< backend name: "cpu", "reference"
  std::string device_model;                       ///< Device::model() of the machine it was tuned on
  std::map<std::string, std::string> provenance;  ///< model file name, its hash, headrace version, options
  ShapeProgram shapes;
  std::vector<PlanTensor> tensors;
  std::vector<PlanStep> steps;
  std::vector<std::int32_t> inputs, outputs;  ///< tensor indices, in the model's order
  std::vector<Profile> profiles;              ///< at least one
  int threads = 0;                            ///< team size it was tuned for
  std::span<const std::byte> weights;
  std::shared_ptr<const void> weights_owner;
};

/// Largest plan tensors/steps/etc. that read_plan accepts, and the memory the caller allows.
struct PlanLimits {
  std::uint64_t memory_budget_bytes =
      UINT64_MAX;  ///< weights of the plan (activations are checked at prepare)
};

/// Deterministic bytes: equal plans give equal bytes.
std::vector<std::byte> write_plan(const Plan& plan);
void save_plan(const Plan& plan, const std::string& path);  ///< atomic: temporary file, then rename
/// `bytes` must be 64-byte aligned for zero-copy weights, else they are copied. `owner` keeps them alive.
Plan read_plan(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
               const PlanLimits& limits = {});
Plan load_plan(const std::string& path, const PlanLimits& limits = {});
/// Semantic checks beyond the file format: indices, op records against tensors (arity), views, shapes,
/// profiles. Throws Error(invalid_plan). read_plan calls it.
void verify_plan(const Plan& plan);

/// --- memory plan
/// ------------------------------------------------------------------------------------------------- Offsets
/// in one arena by liveness: greedy by size, best fit. Deterministic.
struct MemoryRequest {
  std::uint64_t size_bytes = 0;
  std::int32_t first_step = 0, last_step = 0;  ///< inclusive life
};
struct MemoryPlan {
  std::vector<std::uint64_t> offsets;  ///< one per request, aligned to `alignment`
  std::uint64_t arena_bytes = 0;
};
MemoryPlan plan_memory(std::span<const MemoryRequest> requests, std::uint64_t alignment = 64);

}  // namespace headrace
