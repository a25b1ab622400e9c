#include "backends/cpu/vec.h"

#include "backends/cpu/isa.h"

namespace headrace::cpu {

const VecTable& vec() {
  static const VecTable& table = isa() == Isa::avx512 ? vec_avx512::table()
                                 : isa() == Isa::avx2 ? vec_avx2::table()
                                                      : vec_baseline::table();
  return table;
}

bool vec_supports(PwOp op) {
  switch (op) {
    case PwOp::load:
    case PwOp::constant:
    case PwOp::cast:
    case PwOp::bit_not:
    case PwOp::bit_and:
    case PwOp::bit_or:
    case PwOp::bit_xor:
    case PwOp::shift_left:
    case PwOp::shift_right: return false;
    default: return true;
  }
}

}  // namespace headrace::cpu
