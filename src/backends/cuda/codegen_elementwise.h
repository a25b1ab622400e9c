// dst[i] = f(src0[i], src1[i], ...) over strided operands: Pointwise, and every copy.
//
// Three kernels, chosen by the strides:
//  - flat: all operands lie alike (or are single values): one run, of any length; kernels of equal dtypes and
//    function share their code whatever the shape;
//  - rows: runs along dst's innermost axis, up to 16 bytes and more per thread, other axes by constants;
//  - tiles: a source is contiguous along another axis than dst (a transposition): through shared memory.
// Accesses are 16 bytes wide where strides allow it; the addresses' alignment is looked at when the kernel
// runs.
#pragma once

#include "backends/cuda/codegen.h"

namespace headrace::cuda {

struct Elementwise {
  struct Operand {
    std::size_t index = 0;  ///< of the problem's operands
    DType dtype = DType::f32;
    Strides strides;          ///< one per axis of shape; 0 along broadcast axes
    std::int64_t offset = 0;  ///< of the first element, in elements
  };
  Shape shape;
  std::vector<Operand> srcs;
  Operand dst;
  std::string function;   ///< text of `R f(R0 x0, ...)`; empty: dst = src0
  bool integers = false;  ///< `function` needs kIntegerPrelude
};

/// Nothing when the shape has no elements.
std::vector<KernelSource> generate_elementwise(const Elementwise& e);

}  // namespace headrace::cuda
