// Helpers at the border between host memory and a Context, shared by the blocking and the asynchronous API.
#pragma once

#include <map>
#include <span>
#include <string>

#include "core/tensor.h"
#include "runtime/engine.h"

namespace headrace::runtime {

using HostValues = std::map<std::string, HostTensor, std::less<>>;

/// One block of memory for tensors of these sizes, each aligned for any device.
IoLayout make_layout(std::span<const std::size_t> sizes);

/// True when shape arithmetic of the plan reads the values of some input (Reshape's shape given at run time,
/// ...).
bool reads_input_values(const Plan& plan);

/// Copies of those inputs' values: what Context::prepare takes. `data[i]` is input i, dense, of `shapes[i]`.
HostValues collect_input_values(const Engine& engine, std::span<const std::byte* const> data,
                                std::span<const Shape> shapes);

}  // namespace headrace::runtime
