// Text tests of passes. tests/passes/NAME.txt holds cases for the pass NAME (all.txt: every pass, to the
// fixed point): a graph, a line `----`, the expected graph; cases are separated by a line `====`. For each
// case the result must print as expected, be valid, stay as it is when the pass runs again, and compute the
// same numbers as before. `headrace_tests_passes --bless` rewrites the expected graphs.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include <headrace/error.h>

#include "backends/backend.h"
#include "graph/graph.h"
#include "graph/text.h"
#include "passes/pass.h"
#include "support/paths.h"

namespace headrace::passes {
namespace {

struct Case {
  std::string before, after;
};

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<Case> cases_of(const std::string& text) {
  std::vector<Case> cases(1);
  std::istringstream in(text);
  bool after = false;
  for (std::string line; std::getline(in, line);) {
    if (line == "====") {
      cases.emplace_back();
      after = false;
    } else if (line == "----") {
      after = true;
    } else {
      (after ? cases.back().after : cases.back().before) += line + "\n";
    }
  }
  return cases;
}

std::vector<std::filesystem::path> files() {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_dir() + "/tests/passes")) {
    if (entry.path().extension() == ".txt") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

PassContext context() {
  PassContext c;
  c.evaluate = evaluate_reference;
  c.verify_each = true;
  return c;
}

bool rewrite(const std::string& pass, Graph& graph) {
  if (pass != "all") return run_pass(pass, graph, context());
  const std::string before = print(graph);
  run_passes(graph, context());
  return print(graph) != before;
}

/// What the pass itself may leave behind; the two that clear away must do it alone.
void clear_away(const std::string& pass, Graph& graph) {
  if (pass != "all" && pass != "dead_code") graph.erase_dead();
}

/// The outputs of the graph on random inputs, every symbol being 3.
std::vector<HostTensor> compute(const Graph& graph) {
  const std::vector<std::int64_t> symbols(graph.shapes().symbols().size(), 3);
  const std::vector<std::int64_t> values = graph.shapes().evaluate(symbols);
  std::map<ValueId, HostTensor> tensors;
  for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
    const ValueType& t = graph.value(graph.inputs()[i]).type;
    tensors.emplace(graph.inputs()[i], random_tensor(t.dtype, resolve(t.shape, values), 1000 + i));
  }
  const auto at = [&](ValueId id) -> const HostTensor& {
    const Constant& c = graph.value(id).constant;
    return c ? *c : tensors.at(id);
  };
  for (const NodeId id : graph.nodes()) {
    const Node& node = graph.node(id);
    std::vector<const HostTensor*> inputs;
    for (const ValueId in : node.inputs) inputs.push_back(&at(in));
    std::vector<HostTensor> results = evaluate_reference(resolve(node.op, values), inputs);
    for (std::size_t i = 0; i < node.outputs.size(); ++i)
      tensors.emplace(node.outputs[i], std::move(results.at(i)));
  }
  std::vector<HostTensor> out;
  for (const GraphOutput& o : graph.outputs()) out.push_back(at(o.value));
  return out;
}

void expect_equal(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].dtype(), b[i].dtype());
    ASSERT_EQ(a[i].shape(), b[i].shape());
    double scale = 1;
    for (std::int64_t k = 0; k < a[i].elements(); ++k) scale = std::max(scale, std::abs(a[i].at_double(k)));
    for (std::int64_t k = 0; k < a[i].elements(); ++k) {
      ASSERT_NEAR(a[i].at_double(k), b[i].at_double(k), 1e-5 * scale) << "output " << i << ", element " << k;
    }
  }
}

class PassText : public testing::TestWithParam<std::string> {};

TEST_P(PassText, RewritesAsWritten) {
  const std::string pass = GetParam();
  const auto cases = cases_of(read(test::source_dir() + "/tests/passes/" + pass + ".txt"));
  for (const Case& c : cases) {
    SCOPED_TRACE(c.before);
    Graph graph = parse_graph(c.before);
    const Graph original = graph;
    rewrite(pass, graph);
    clear_away(pass, graph);
    verify(graph);
    EXPECT_EQ(print(graph), c.after);
    EXPECT_FALSE(rewrite(pass, graph)) << "the pass is not idempotent:\n" << print(graph);
    EXPECT_EQ(print(graph), c.after);
    expect_equal(compute(original), compute(graph));
  }
}

std::vector<std::string> names() {
  std::vector<std::string> out;
  for (const auto& file : files()) out.push_back(file.stem().string());
  return out;
}

INSTANTIATE_TEST_SUITE_P(Files, PassText, testing::ValuesIn(names()),
                         [](const auto& info) { return info.param; });

TEST(Passes, EachHasAText) {
  const std::vector<std::string> have = names();
  for (const Pass& pass : all_passes()) {
    EXPECT_NE(std::find(have.begin(), have.end(), pass.name), have.end())
        << "tests/passes/" << pass.name << ".txt";
  }
}

// Without the first a pass that does nothing would go unnoticed, without the second one that does too much.
TEST(Passes, EachHasACaseThatChangesAndOneThatStays) {
  for (const Pass& pass : all_passes()) {
    const std::string name(pass.name);
    int changed = 0, same = 0;
    for (const Case& c : cases_of(read(test::source_dir() + "/tests/passes/" + name + ".txt"))) {
      Graph graph = parse_graph(c.before);
      clear_away(name, graph);
      ++(print(graph) == c.after ? same : changed);
    }
    EXPECT_GT(changed, 0) << name;
    EXPECT_GT(same, 0) << name;
  }
}

TEST(Passes, UnknownNamesAreRefused) {
  Graph graph = parse_graph("%0 = input \"x\" f32[2]\noutput \"y\" %0\n");
  PassContext c = context();
  c.disabled = {"no_such_pass"};
  EXPECT_THROW(run_passes(graph, c), Error);
}

TEST(Passes, DisabledOnesDoNotRun) {
  Graph graph = parse_graph("%0 = input \"x\" f32[2]\n%1 = Reshape(shape=[2]) %0\noutput \"y\" %1\n");
  PassContext c = context();
  c.disabled = {"remove_identity"};
  run_passes(graph, c);
  EXPECT_EQ(graph.nodes().size(), 1u);
  c.disabled.clear();
  run_passes(graph, c);
  EXPECT_EQ(graph.nodes().size(), 0u);
}

int bless() {
  for (const auto& file : files()) {
    std::string text;
    for (const Case& c : cases_of(read(file))) {
      Graph graph = parse_graph(c.before);
      rewrite(file.stem().string(), graph);
      clear_away(file.stem().string(), graph);
      text += (text.empty() ? "" : "====\n") + c.before + "----\n" + print(graph);
    }
    std::ofstream(file) << text;
    std::cout << "blessed " << file << '\n';
  }
  return 0;
}

}  // namespace
}  // namespace headrace::passes

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--bless") return headrace::passes::bless();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
