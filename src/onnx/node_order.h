// The order in which nodes are imported.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "onnx/wire.h"

namespace headrace::onnx {

/// Indices of the nodes such that producers come first: as written when that is such an order. Error on a
/// cycle and on a tensor with two producers or that `defined` knows already.
std::vector<std::size_t> node_order(const std::vector<NodeProto>& nodes,
                                    const std::function<bool(std::string_view)>& defined);

}  // namespace headrace::onnx
