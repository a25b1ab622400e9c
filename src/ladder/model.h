// The plans of the ladder.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include <headrace/ladder.h>

#include "backends/backend.h"
#include "graph/graph.h"
#include "plan/plan.h"

namespace headrace::ladder {

enum class Variant : std::uint8_t {
  fp32,
  fp16,
  narrow,  ///< fp16, and inputs are uploaded as bytes: x = (byte - 128) / 64
};
/// Devices without fp16 kernels compute in fp32 on every rung.
inline bool has_half(std::string_view device) { return device != "cpu"; }

/// Rows of rung 8's small batches; a profile is tuned for them, another for the full batch.
inline std::int64_t small_batch(std::int64_t batch) { return batch > 16 ? 16 : batch > 1 ? batch / 2 : 1; }

/// The model of that file, or where it is empty a small network with rows of 48 numbers.
Graph load_network(const std::string& onnx);
/// Bytes for every f32 input, whatever its shape: x = (byte - 128) / 64 on the device.
std::map<std::string, InputFormat> narrow_formats(const Graph& graph);

/// Compiles the model of the options, or a small network with rows of 48 numbers where they name none.
std::shared_ptr<const Plan> make_plan(const LadderOptions& options, const std::string& device,
                                      Variant variant, const Registry& registry);

}  // namespace headrace::ladder
