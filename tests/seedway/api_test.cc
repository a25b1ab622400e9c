// One way to run an inference, by name: D-20, D-41, D-77.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include <headrace/build.h>

#include "seedway/session_util.h"
#include "support/onnx_writer.h"
#include "support/paths.h"

namespace headrace {
namespace {

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::set<std::string> words(const std::string& text) {
  std::set<std::string> all;
  std::string word;
  for (const char c : text + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') {
      word += c;
    } else if (!word.empty()) {
      all.insert(std::exchange(word, {}));
    }
  }
  return all;
}

// Of a cell: what stands in `backticks`.
std::vector<std::string> code_in(const std::string& cell) {
  std::vector<std::string> found;
  for (std::size_t at = cell.find('`'); at != std::string::npos; at = cell.find('`', at)) {
    const std::size_t end = cell.find('`', at + 1);
    found.push_back(cell.substr(at + 1, end - at - 1));
    at = end == std::string::npos ? end : end + 1;
  }
  return found;
}

// D-20: only the first input is given its shape and data, and inputs are taken to come first.
TEST(T_MULTI_IO, ours) {  // outputs stand before inputs in the file, and nothing is in alphabetical order
  test::OnnxWriter w;
  w.output("difference", test::kOnnxFloat, {"N"});
  w.output("copy", test::kOnnxFloat, {"N"});
  w.input("b", test::kOnnxFloat, {"N"});
  w.input("a", test::kOnnxFloat, {"N"});
  w.node("Sub", {"a", "b"}, {"difference"});
  w.node("Identity", {"b"}, {"copy"});
  const std::string model = w.model();
  const Engine engine =
      Engine::load(build(std::as_bytes(std::span(model)), {.device = "reference", .opt_level = 0}));
  EXPECT_EQ(engine.inputs().size(), 2u);
  EXPECT_EQ(engine.outputs().size(), 2u);
  Session session{engine, {.slots = 1}};
  const ShapeMap shapes = {{"a", {2}}, {"b", {2}}};
  InputLease in = session.acquire(shapes);
  std::ranges::fill(in["a"].as<float>(), 5.0f);
  std::ranges::fill(in["b"].as<float>(), 3.0f);
  const OutputLease out = session.submit(std::move(in)).get();
  EXPECT_EQ(out["difference"].as<float>()[1], 2);
  EXPECT_EQ(out["copy"].as<float>()[1], 3);
  EXPECT_EQ(test::code_of([&] {
              (void)session.acquire({{"a", {2}}});
            }),
            ErrorCode::invalid_argument)
      << "every input needs a shape";
}

// D-41, D-77: several calls for one thing, of which some need models built otherwise. The guide's table for
// those who know them: what stands on its right side is there.
TEST(T_ONE_API, ours) {
  const std::string root = test::source_dir() + "/";
  std::string headers;
  for (const auto& header : std::filesystem::directory_iterator(root + "include/headrace"))
    headers += read(header.path());
  const std::set<std::string> known = words(headers);
  std::istringstream guide(read(root + "docs/guide.md"));
  std::string left_side;
  std::size_t rows = 0;
  bool inside = false;
  for (std::string line; std::getline(guide, line);) {
    if (!inside || !line.starts_with("|")) {
      inside = line == "| there | here |";
      continue;
    }
    if (line.starts_with("|---")) continue;
    const std::size_t middle = line.find(" | ");
    ASSERT_NE(middle, std::string::npos) << line;
    left_side += line.substr(0, middle);
    for (const std::string& code : code_in(line.substr(middle))) {
      if (code.starts_with("headrace ")) continue;  // a command
      for (const std::string& word : words(code)) EXPECT_TRUE(known.count(word)) << word << " in: " << line;
    }
    ++rows;
  }
  EXPECT_GT(rows, 15u);
  for (const char* old :
       {"execute_async", "execute_async_v2", "execute_async_v3", "get_binding_index", "batch_size",
        "CopyFrom", "Run", "GetOutput", "CopyTo", "memcpy_htod_async", "synchronize"})
    EXPECT_TRUE(words(left_side).count(old)) << old << " is not in the table";
}

}  // namespace
}  // namespace headrace
