// Pointwise: the expression is run instruction by instruction over blocks of 256 elements.
#include <cmath>

#include "backends/reference/pointwise_math.h"
#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

union Cell {
  double real;
  std::int64_t integer;
};
static_assert(sizeof(Cell) == 8);

/// The registers: one block per instruction, and three for converted operands.
struct Registers {
  std::byte* base;
  double* real(std::size_t i) const { return reinterpret_cast<double*>(base) + i * kBlock; }
  std::int64_t* integer(std::size_t i) const { return reinterpret_cast<std::int64_t*>(base) + i * kBlock; }
};

bool is_test(PwOp op) {
  return op == PwOp::is_nan || op == PwOp::is_inf || (op >= PwOp::equal && op <= PwOp::greater_equal) ||
         op == PwOp::logical_and || op == PwOp::logical_or || op == PwOp::logical_xor ||
         op == PwOp::logical_not;
}

void run_instruction(const std::vector<PwInstr>& code, std::size_t at, std::int64_t n,
                     const Registers& registers) {
  const PwInstr& instr = code[at];
  const std::int32_t sources[3] = {instr.a, instr.b, instr.c};
  const int count = arity(instr.op);
  const bool real_result = is_float(instr.dtype);
  const auto source_dtype = [&](int k) { return code[static_cast<std::size_t>(sources[k])].dtype; };

  bool any_real = false;
  for (int k = 0; k < count; ++k) any_real |= is_float(source_dtype(k));
  if (instr.op == PwOp::select) {  // the condition is a truth value; the rest has the result's dtype
    any_real = real_result;
  }
  const bool in_real = any_real || (real_result && !is_test(instr.op));
  DType int_dtype = instr.dtype;  // of integer arithmetic
  if (count > 0 && is_test(instr.op)) int_dtype = source_dtype(0);

  const double* real[3] = {};
  const std::int64_t* integer[3] = {};
  for (int k = 0; k < count; ++k) {
    const auto source = static_cast<std::size_t>(sources[k]);
    const DType dtype = source_dtype(k);
    const std::size_t spare = code.size() + static_cast<std::size_t>(k);
    if (in_real) {
      real[k] = registers.real(source);
      if (!is_float(dtype)) {
        for (std::int64_t i = 0; i < n; ++i)
          registers.real(spare)[i] = int_to_real(dtype, registers.integer(source)[i]);
        real[k] = registers.real(spare);
      }
    } else {
      integer[k] = registers.integer(source);
      if (is_float(dtype)) {
        const DType to = k == 0 && instr.op == PwOp::select ? DType::boolean : instr.dtype;
        for (std::int64_t i = 0; i < n; ++i)
          registers.integer(spare)[i] = real_to_int(to, registers.real(source)[i]);
        integer[k] = registers.integer(spare);
      }
    }
  }
  double* result = registers.real(at);
  std::int64_t* int_result = registers.integer(at);
  if (in_real) {
    real_op(instr.op, instr.alpha, instr.beta, n, result, real[0], real[1], real[2]);
    if (!real_result)
      for (std::int64_t i = 0; i < n; ++i) int_result[i] = real_to_int(instr.dtype, result[i]);
  } else {
    int_op(instr.op, int_dtype, instr.alpha, instr.beta, n, int_result, integer[0], integer[1], integer[2]);
    if (real_result)
      for (std::int64_t i = 0; i < n; ++i) result[i] = static_cast<double>(int_result[i]);
  }
  if (real_result) {
    if (instr.dtype == DType::f32)
      for (std::int64_t i = 0; i < n; ++i) result[i] = static_cast<float>(result[i]);
    else if (is_half(instr.dtype))
      for (std::int64_t i = 0; i < n; ++i) result[i] = round_to(instr.dtype, result[i]);
  } else if (instr.dtype != DType::i64 && instr.dtype != DType::u64) {
    for (std::int64_t i = 0; i < n; ++i) int_result[i] = wrap_to(instr.dtype, int_result[i]);
  }
}

}  // namespace

Work make(const Pointwise& op, const Problem& problem) {
  const std::vector<PwInstr> code = op.expr.code;
  if (code.empty()) throw Error(ErrorCode::invalid_model, "Pointwise: the expression is empty");
  for (std::size_t i = 0; i < code.size(); ++i) {  // a plan's record may hold anything
    const std::int32_t sources[3] = {code[i].a, code[i].b, code[i].c};
    if (code[i].op == PwOp::load) {
      if (code[i].a < 0 || static_cast<std::size_t>(code[i].a) >= problem.srcs.size())
        throw Error(ErrorCode::invalid_model, "Pointwise: instruction " + std::to_string(i) +
                                                  " loads input " + std::to_string(code[i].a) + " of " +
                                                  std::to_string(problem.srcs.size()));
      continue;
    }
    for (int k = 0; k < arity(code[i].op); ++k)
      if (sources[k] < 0 || static_cast<std::size_t>(sources[k]) >= i)
        throw Error(ErrorCode::invalid_model, "Pointwise: instruction " + std::to_string(i) +
                                                  " reads instruction " + std::to_string(sources[k]) +
                                                  ", which is not earlier");
  }
  const TensorDesc dst = problem.dsts[0];
  Nest nest{dst.shape, {}};
  std::vector<DType> dtypes;
  for (const TensorDesc& src : problem.srcs) {
    nest.strides.push_back(broadcast_strides(src, dst.shape));
    dtypes.push_back(src.dtype);
  }
  nest.strides.push_back(dst.strides);
  const std::size_t offsets = align64(nest.strides.size() * sizeof(std::int64_t));

  Work work;
  work.workspace = offsets + (code.size() + 3) * kBlock * sizeof(Cell);
  work.run = [code, nest, dtypes, dst, offsets](Data data, std::byte* workspace) {
    auto* offset = reinterpret_cast<std::int64_t*>(workspace);
    std::fill_n(offset, nest.strides.size(), 0);
    const Registers registers{workspace + offsets};
    const std::size_t last = nest.strides.size() - 1;
    nest.rows(offset, [&](std::int64_t length) {
      for (std::int64_t begin = 0; begin < length; begin += kBlock) {
        const std::int64_t n = std::min(kBlock, length - begin);
        for (std::size_t i = 0; i < code.size(); ++i) {
          const PwInstr& instr = code[i];
          if (instr.op == PwOp::load) {
            const auto input = static_cast<std::size_t>(instr.a);
            const std::int64_t from = offset[input] + begin * nest.inner(input);
            if (is_float(instr.dtype))
              load_real(dtypes[input], data[input], from, nest.inner(input), n, registers.real(i));
            else
              load_int(dtypes[input], data[input], from, nest.inner(input), n, registers.integer(i));
          } else if (instr.op == PwOp::constant) {
            if (is_float(instr.dtype))
              std::fill_n(registers.real(i), n, round_to(instr.dtype, instr.alpha));
            else
              std::fill_n(registers.integer(i), n, wrap_to(instr.dtype, instr.imm));
          } else {
            run_instruction(code, i, n, registers);
          }
        }
        const std::int64_t to = offset[last] + begin * nest.inner(last);
        if (is_float(code.back().dtype))
          store_real(dst.dtype, data[last], to, nest.inner(last), n, registers.real(code.size() - 1));
        else
          store_int(dst.dtype, data[last], to, nest.inner(last), n, registers.integer(code.size() - 1));
      }
    });
  };
  return work;
}

}  // namespace headrace::reference
