#include "base/log.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <utility>

#include "base/sched.h"

namespace headrace {
namespace {

struct Log {
  sched::Mutex mutex{"log"};
  LogSink sink;  // empty: the default
  std::atomic<LogSeverity> level{LogSeverity::warning};
};

Log& the_log() {
  static Log* log = new Log;  // never destroyed: static destructors may log
  return *log;
}

thread_local bool t_in_sink = false;
thread_local KeptWarnings* t_kept = nullptr;

void write_stderr(LogSeverity severity, std::string_view message) noexcept {
  const std::string_view name = to_string(severity);
  std::fprintf(stderr, "headrace: %.*s: %.*s\n", static_cast<int>(name.size()), name.data(),
               static_cast<int>(message.size()), message.data());
}

struct InSink {
  InSink() { t_in_sink = true; }
  ~InSink() { t_in_sink = false; }
};

}  // namespace

std::string_view to_string(LogSeverity severity) noexcept {
  switch (severity) {
    case LogSeverity::verbose: return "verbose";
    case LogSeverity::info: return "info";
    case LogSeverity::warning: return "warning";
    case LogSeverity::error: return "error";
    case LogSeverity::fatal: return "fatal";
  }
  return "unknown";
}

LogSink set_log_sink(LogSink sink) {
  Log& log = the_log();
  sched::LockGuard lock(log.mutex);
  return std::exchange(log.sink, std::move(sink));
}

void set_log_level(LogSeverity lowest) noexcept { the_log().level.store(lowest, std::memory_order_relaxed); }

LogSeverity log_level() noexcept { return the_log().level.load(std::memory_order_relaxed); }

KeptWarnings::KeptWarnings(std::vector<std::string>& kept) noexcept
    : kept_(kept), outer_(std::exchange(t_kept, this)) {}
KeptWarnings::~KeptWarnings() { t_kept = outer_; }
bool KeptWarnings::wanted(LogSeverity severity) noexcept {
  return t_kept && severity >= LogSeverity::warning;
}
void KeptWarnings::add(const std::string& message) {
  for (KeptWarnings* k = t_kept; k; k = k->outer_)
    if (std::find(k->kept_.begin(), k->kept_.end(), message) == k->kept_.end()) k->kept_.push_back(message);
}

void write_log(LogSeverity severity, std::string_view message) noexcept {
  if (t_in_sink) return write_stderr(severity, message);
  try {
    Log& log = the_log();
    sched::LockGuard lock(log.mutex);
    InSink in_sink;
    if (log.sink) {
      log.sink(severity, message);
    } else {
      write_stderr(severity, message);
    }
  } catch (...) {
    write_stderr(severity, message);
    write_stderr(LogSeverity::error, "the log sink threw an exception; a sink must not");
  }
}

}  // namespace headrace
