// The table of ONNX operators, from ops.inc.
#include "onnx/import_node.h"

namespace headrace::onnx {

#define ONNX_OP(Name, since) void import_##Name(ImportNode& n);
#include "onnx/ops.inc"
#undef ONNX_OP

std::span<const OperatorEntry> operators() {
  static constexpr OperatorEntry kTable[] = {
#define ONNX_OP(Name, since) {#Name, since, import_##Name},
#include "onnx/ops.inc"
#undef ONNX_OP
  };
  constexpr auto sorted = [] {
    for (std::size_t i = 1; i < std::size(kTable); ++i) {
      if (!(kTable[i - 1].name < kTable[i].name)) return false;
    }
    return true;
  };
  static_assert(sorted(), "keep ops.inc sorted by name: look-up is a binary search");
  return kTable;
}

}  // namespace headrace::onnx
