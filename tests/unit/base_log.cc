#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/sched.h"

namespace headrace {
namespace {

// Captures the log for the length of a test.
struct Capture {
  std::vector<std::pair<LogSeverity, std::string>> lines;
  LogSeverity level = log_level();
  LogSink former = set_log_sink(
      [this](LogSeverity severity, std::string_view text) { lines.emplace_back(severity, text); });
  ~Capture() {
    set_log_sink(std::move(former));
    set_log_level(level);
  }
};

struct Counted {
  mutable int* printed;
};
std::ostream& operator<<(std::ostream& out, const Counted& counted) { return ++*counted.printed, out << "x"; }

TEST(Log, WarningIsTheDefaultLevel) { EXPECT_EQ(log_level(), LogSeverity::warning); }

TEST(Log, DropsBelowTheLevelWithoutComposing) {
  Capture capture;
  int printed = 0;
  log(LogSeverity::info, "dropped ", Counted{&printed});
  log(LogSeverity::warning, "kept ", 42);
  set_log_level(LogSeverity::verbose);
  log(LogSeverity::verbose, "now ", Counted{&printed});
  ASSERT_EQ(capture.lines.size(), 2u);
  EXPECT_EQ(capture.lines[0], std::pair(LogSeverity::warning, std::string("kept 42")));
  EXPECT_EQ(capture.lines[1], std::pair(LogSeverity::verbose, std::string("now x")));
  EXPECT_EQ(printed, 1);
}

TEST(Log, TheSinkIsCalledByOneThreadAtATime) {
  Capture capture;
  const auto write = [] {
    for (int i = 0; i < 500; ++i) log(LogSeverity::error, "line ", i);
  };
  sched::Thread a("a", write), b("b", write);
  a.join();
  b.join();
  EXPECT_EQ(capture.lines.size(), 1'000u);
}

TEST(Log, ASinkMayLogAndMayMisbehave) {
  Capture capture;
  testing::internal::CaptureStderr();
  set_log_sink([](LogSeverity, std::string_view) { log(LogSeverity::error, "from the sink"); });
  log(LogSeverity::error, "outer");
  set_log_sink([](LogSeverity, std::string_view) { throw 1; });
  log(LogSeverity::fatal, "not lost");
  set_log_sink({});
  log(LogSeverity::error, "default sink");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("headrace: error: from the sink\n"), std::string::npos) << text;
  EXPECT_NE(text.find("headrace: fatal: not lost\n"), std::string::npos) << text;
  EXPECT_NE(text.find("headrace: error: default sink\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace headrace
