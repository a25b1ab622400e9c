// Where the sources and the built command are.
#pragma once

#include <string>

namespace headrace::test {

std::string source_dir();       ///< the project's folder, without a slash at its end
std::string headrace_binary();  ///< the command `headrace` of this build; "" where it is not built

}  // namespace headrace::test
