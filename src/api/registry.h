// The backends of this build, assembled once per process on first use.
#pragma once

#include "backends/backend.h"

namespace headrace::api {

const Registry& registry();

}  // namespace headrace::api
