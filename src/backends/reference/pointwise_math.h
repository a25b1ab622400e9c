// One pointwise instruction over a block of values. Contract: pointwise.h; results are not yet rounded to the
// dtype.
#pragma once

#include <cstdint>

#include "core/pointwise.h"

namespace headrace::reference {

/// Real operands (bool results come as 0 and 1). Not for load, constant, cast.
void real_op(PwOp op, double alpha, double beta, std::int64_t n, double* r, const double* a, const double* b,
             const double* c);
/// Integer operands of `dtype`. Operators that integers lack go through double.
void int_op(PwOp op, DType dtype, double alpha, double beta, std::int64_t n, std::int64_t* r,
            const std::int64_t* a, const std::int64_t* b, const std::int64_t* c);

}  // namespace headrace::reference
