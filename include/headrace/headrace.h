// Everything of headrace in one include. headrace/runtime.h and session.h suffice for a deployed engine.
#pragma once

#include <headrace/build.h>
#include <headrace/dlpack.h>
#include <headrace/error.h>
#include <headrace/input_format.h>
#include <headrace/latency.h>
#include <headrace/measure.h>
#include <headrace/pipeline.h>
#include <headrace/runtime.h>
#include <headrace/session.h>
#include <headrace/tensor.h>
#include <headrace/types.h>

namespace headrace {
/// "0.1.0"
std::string_view version();
}  // namespace headrace
