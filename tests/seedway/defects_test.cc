// defects.txt: no defect is left out, every test that it names exists, and what waits is skipped with its
// reason.
#include <fstream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "support/paths.h"

namespace headrace {
namespace {

const std::string kRoot = test::source_dir() + "/";

struct Line {
  std::string defect, test, rest;
  bool waits() const { return rest.starts_with("waiting: "); }
  friend void PrintTo(const Line& line, std::ostream* out) { *out << line.defect << " " << line.test; }
};
std::vector<Line> lines() {
  std::vector<Line> all;
  std::ifstream file(kRoot + "tests/seedway/defects.txt");
  for (std::string text; std::getline(file, text);) {
    if (text.empty() || text[0] == '#') continue;
    Line line;
    std::istringstream words(text);
    words >> line.defect >> line.test >> std::ws;
    std::getline(words, line.rest);
    all.push_back(line);
  }
  return all;
}
std::string read(const std::string& path) {
  std::ifstream file(kRoot + path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Defects, NoneIsDropped) {
  std::map<std::string, int> seen;
  for (const Line& line : lines()) ++seen[line.defect];
  for (int d = 1; d <= 77; ++d) {
    const std::string name = (d < 10 ? "D-0" : "D-") + std::to_string(d);
    EXPECT_GE(seen[name], 1) << name;
  }
  EXPECT_EQ(seen.size(), 77u);
}

TEST(Defects, EveryTestThatIsNamedExists) {
  for (const Line& line : lines()) {
    if (line.waits()) continue;
    if (line.rest.ends_with("_test.py")) {  // cmake/tests.cmake runs it
      EXPECT_NE(read(line.rest).find(line.test), std::string::npos) << line.defect << " " << line.rest;
      continue;
    }
    const std::size_t colon = line.rest.find(':');
    ASSERT_NE(colon, std::string::npos) << line.defect;
    const std::string text = read(line.rest.substr(0, colon));
    ASSERT_FALSE(text.empty()) << line.defect << ": no file " << line.rest.substr(0, colon);
    std::istringstream tests(line.rest.substr(colon + 1));
    for (std::string test; std::getline(tests, test, ',');) {
      std::string suite, name;
      std::istringstream(test) >> suite >> name;
      EXPECT_NE(text.find("(" + suite + ", " + name + ")"), std::string::npos) << line.defect << " " << test;
    }
  }
}

class Waiting : public testing::TestWithParam<Line> {};
TEST_P(Waiting, IsSkipped) { GTEST_SKIP() << GetParam().test << " " << GetParam().rest; }

std::vector<Line> waiting() {
  std::vector<Line> all;
  for (const Line& line : lines())
    if (line.waits()) all.push_back(line);
  return all;
}
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Waiting);
INSTANTIATE_TEST_SUITE_P(Defects, Waiting, testing::ValuesIn(waiting()), [](const auto& info) {
  std::string name = info.param.defect + "_" + info.param.test;
  for (char& c : name)
    if (c == '-') c = '_';
  return name;
});

}  // namespace
}  // namespace headrace
