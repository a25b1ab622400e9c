#define HEADRACE_VEC_NAMESPACE vec_baseline
#define HEADRACE_VEC_BYTES 16
#include "backends/cpu/vec_loops.h"
