#include "support/paths.h"

namespace headrace::test {

std::string source_dir() { return HEADRACE_SOURCE_DIR; }
std::string headrace_binary() { return HEADRACE_BINARY; }

}  // namespace headrace::test
