// Kernels that pass over rows several times: Softmax, LayerNorm.
//
// A row is all inner positions of one outer position. G neighbouring threads share it, V elements at a time;
// rows that fit are kept in registers, so memory is read once. `pass(body)` is a loop over this thread's
// elements: in `body`, `x` is the element (a register, read only) and `v` its number within the vector.
#pragma once

#include <functional>

#include "backends/cuda/codegen.h"

namespace headrace::cuda {

struct RowOperand {
  std::size_t index = 0;  ///< of the problem's operands
  DType dtype = DType::f32;
  std::string name;      ///< of the parameter
  Strides outer, inner;  ///< per axis
};

class RowKernel {
 public:
  /// Operand 0 is the source, operand 1 the destination; the others are read.
  RowKernel(const Shape& outer, const Shape& inner, std::vector<RowOperand> operands);
  std::int64_t rows() const { return outer_.count(); }
  std::int64_t length() const { return inner_.count(); }
  /// Whether rows stay in registers: then `cache[k][v]` is x, and a pass may change it for the next.
  bool cached() const { return cached_; }
  std::string group() const { return std::to_string(G_); }
  std::string register_type() const { return register_name(operands_[0].dtype); }

  /// Reads the row (`first`) or goes over it again.
  std::string pass(bool first, const std::string& body) const;
  /// The last pass: stores `value`, an expression of x and of the elements of `read`, named as the operands.
  std::string store_pass(const std::string& value, const std::vector<std::size_t>& read) const;
  /// The whole kernel. `device_code` stands before, `body` inside; `active` says whether this row exists.
  KernelSource source(const std::string& device_code, const std::string& body) const;

 private:
  std::string offset(std::size_t operand) const;
  std::int64_t chunk(std::size_t operand) const;

  std::vector<RowOperand> operands_;
  Nest outer_, inner_;  ///< by operand
  std::int64_t V_ = 1, vectors_ = 1, G_ = 1, K_ = 1;
  bool cached_ = true;
};

}  // namespace headrace::cuda
