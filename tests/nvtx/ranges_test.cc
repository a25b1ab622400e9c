// Ranges reach a profiler by name and colour: a library that is loaded as one writes them down. No GPU is
// needed.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/hooks.h"

namespace headrace {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

const std::string kInfer = "push headrace ff800080 infer";         // purple
const std::string kPrint = "push headrace ff008000 Print Result";  // green
const std::string kOther = "push headrace ff4682b4 acquire", kPop = "pop headrace";

TEST(Nvtx, RangesNestWithNamesAndColours) {
  const std::string log = testing::TempDir() + "headrace-nvtx-" + std::to_string(getpid()) + ".txt";
  setenv("NVTX_INJECTION64_PATH", HEADRACE_NVTX_INJECTION, 1);
  setenv("HEADRACE_NVTX_LOG", log.c_str(), 1);
  {
    const hooks::Range whole("Total Elapsed Time(3 batches)");
    {
      const hooks::Range infer("infer", 1);
      const hooks::Range acquire("acquire");
    }
    const hooks::Range print(std::string_view("Print Result and more").substr(0, 12));
  }
  EXPECT_THAT(lines_of(log), testing::ElementsAre("push headrace ffffa500 Total Elapsed Time(3 batches)",
                                                  kInfer, kOther, kPop, kPop, kPrint, kPop, kPop));
  std::filesystem::remove(log);
}

#ifdef HEADRACE_NVTX_BINARY  // the whole program was built with ranges
TEST(Nvtx, TheLadderShowsWhatItDoes) {
  const std::string log = testing::TempDir() + "headrace-nvtx-ladder-" + std::to_string(getpid()) + ".txt";
  const std::string command = "NVTX_INJECTION64_PATH=" HEADRACE_NVTX_INJECTION " HEADRACE_NVTX_LOG=" + log +
                              " " HEADRACE_NVTX_BINARY
                              " bench ladder --device sim --batch 4 --repeat 1 --steady 0 > /dev/null";
  ASSERT_EQ(std::system(command.c_str()), 0);
  const std::vector<std::string> lines = lines_of(log);
  const auto count = [&](const std::string& line) { return std::count(lines.begin(), lines.end(), line); };
  EXPECT_GT(count(kInfer), 100);
  EXPECT_GT(count(kPrint), 100);
  EXPECT_EQ(count("push headrace ffffa500 Total Elapsed Time(3 batches)"), 12) << "once for each rung";
  EXPECT_EQ(count(kPop) * 2, static_cast<std::ptrdiff_t>(lines.size()));
  std::filesystem::remove(log);
}
#endif

}  // namespace
}  // namespace headrace
