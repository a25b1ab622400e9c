// Writing to the log (the public half, <headrace/log.h>, chooses sink and level).
//
//   log(LogSeverity::info, "pass ", name, " changed ", count, " nodes");
// Contract: never throws, also out of destructors; the parts are printed with << only if the level lets it
// pass.
#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <headrace/log.h>

namespace headrace {

inline bool log_enabled(LogSeverity severity) noexcept { return severity >= log_level(); }

// Hands the message to the sink whatever the level is.
void write_log(LogSeverity severity, std::string_view message) noexcept;

/// While one lives, what its thread warns of is kept as well, each message once, whatever the level lets
/// pass. They nest.
class KeptWarnings {
 public:
  explicit KeptWarnings(std::vector<std::string>& kept) noexcept;
  ~KeptWarnings();
  KeptWarnings(const KeptWarnings&) = delete;
  KeptWarnings& operator=(const KeptWarnings&) = delete;
  static bool wanted(LogSeverity severity) noexcept;
  static void add(const std::string& message);

 private:
  std::vector<std::string>& kept_;
  KeptWarnings* outer_;
};

template <class... Parts>
void log(LogSeverity severity, const Parts&... parts) noexcept {
  const bool kept = KeptWarnings::wanted(severity);
  if (!log_enabled(severity) && !kept) return;
  try {
    std::ostringstream text;
    (text << ... << parts);
    if (kept) KeptWarnings::add(text.str());
    if (log_enabled(severity)) write_log(severity, text.str());
  } catch (...) {
    write_log(severity, "(a log message could not be composed)");
  }
}

}  // namespace headrace
