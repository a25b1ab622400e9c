// Axes that are only known at run time (small integer inputs of the model): what depends on them is selected
// by symbolic arithmetic, so that one plan serves all their values.
#pragma once

#include "onnx/import_node.h"

namespace headrace::onnx {

/// 1 where axis k (of `rank`) is among `axes`, which may be negative; one entry per k.
Dims axis_flags(ShapeProgram& shapes, const Dims& axes, std::int64_t rank);
/// The extents of `shape` whose flag is `wanted`, `count` of them, in order.
Dims pick_extents(ShapeProgram& shapes, const Dims& shape, const Dims& flags, Dim wanted, std::size_t count);

}  // namespace headrace::onnx
