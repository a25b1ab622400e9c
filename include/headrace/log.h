// Where headrace's messages go.
//
// Contract: every message has a severity and is one line without its end. Messages below the level are
// dropped before they are composed. One sink serves the process; it is called by one thread at a time, and
// once set_log_sink has returned the former sink is called no more. A sink may throw nothing, and what it
// logs itself goes to stderr. The default: stderr, from `warning` on.
//
//   headrace::set_log_sink([&](headrace::LogSeverity severity, std::string_view message) { my_log(message);
//   }); headrace::set_log_level(headrace::LogSeverity::info);
#pragma once

#include <functional>
#include <string_view>

namespace headrace {

enum class LogSeverity {
  verbose,  ///< for who debugs headrace: passes, tactics, timings
  info,     ///< what was done
  warning,  ///< works, but not as asked: a fallback, a slow path
  error,    ///< an operation failed; mostly there is an Error too
  fatal,    ///< the process cannot go on
};

/// "verbose" etc.
std::string_view to_string(LogSeverity severity) noexcept;

using LogSink = std::function<void(LogSeverity severity, std::string_view message)>;

/// Replaces the sink and returns the former one; an empty sink restores the default. Any thread.
LogSink set_log_sink(LogSink sink);

/// Messages below `lowest` are dropped. Any thread.
void set_log_level(LogSeverity lowest) noexcept;
LogSeverity log_level() noexcept;

}  // namespace headrace
