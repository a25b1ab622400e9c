#define HEADRACE_VEC_NAMESPACE vec_avx512
#define HEADRACE_VEC_BYTES 64
#include "backends/cpu/vec_loops.h"
