#define HEADRACE_VEC_NAMESPACE vec_avx2
#define HEADRACE_VEC_BYTES 32
#include "backends/cpu/vec_loops.h"
