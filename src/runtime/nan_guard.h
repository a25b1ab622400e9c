// NaN flows through: fused kernels that would swallow it are replaced for the inferences that need it.
//
// Problem: a vendor's convolution with a fused ReLU computes max(x, 0) with an instruction that gives 0 for
// NaN, so a NaN in the input would come out as a plausible number. Contract: where a plan has such a step
// (its tactic says so, Tactic::keeps_nan) on a device whose memory the host can read, one more kernel looks
// at the float inputs first, in stream order, and notes whether all are finite; if not, these steps run as
// two kernels, the operator without its post steps and a Pointwise, which are made when they are first
// needed. A finite inference pays for reading its inputs once. Numbers that overflow inside the network are
// not looked for.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "runtime/engine_state.h"

namespace headrace::runtime {

/// Set by the scan, read by the guarded kernels of the same inference; inferences of a context follow each
/// other.
using NanFlag = std::shared_ptr<std::atomic<bool>>;

/// Reads operands that hold f32 and sets the flag to whether any element is NaN or infinite.
std::shared_ptr<const Kernel> make_nan_scan(std::vector<std::size_t> elements, NanFlag flag);

/// `step` as it is, or in two kernels while the flag is set. The engine must outlive the kernel.
std::shared_ptr<const Kernel> make_nan_guarded(const Engine::State& engine, const ResolvedStep& step,
                                               NanFlag flag);

}  // namespace headrace::runtime
