// Writing to the log (the public half, <headrace/log.h>, chooses sink and level).
//
//   log(LogSeverity::info, "pass ", name, " changed ", count, " nodes");
// Contract: never throws, also out of destructors; the parts are printed with << only if the level lets it
// pass.
#pragma once

#include <sstream>
#include <string_view>

#include <headrace/log.h>

namespace headrace {

inline bool log_enabled(LogSeverity severity) noexcept { return severity >= log_level(); }

// Hands the message to the sink whatever the level is.
void write_log(LogSeverity severity, std::string_view message) noexcept;

template <class... Parts>
void log(LogSeverity severity, const Parts&... parts) noexcept {
  if (!log_enabled(severity)) return;
  try {
    std::ostringstream text;
    (text << ... << parts);
    write_log(severity, text.str());
  } catch (...) {
    write_log(severity, "(a log message could not be composed)");
  }
}

}  // namespace headrace
