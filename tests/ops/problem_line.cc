#include "ops/problem_line.h"

#include <fstream>
#include <sstream>

#include "graph/graph.h"

namespace headrace::test {

Op parse_op(const std::string& text, const std::vector<std::string>& types) {
  std::string graph, inputs;
  for (std::size_t i = 0; i < types.size(); ++i) {
    graph += "%" + std::to_string(i) + " = input \"x" + std::to_string(i) + "\" " + types[i] + "\n";
    inputs += (i ? ", %" : " %") + std::to_string(i);
  }
  graph += "%" + std::to_string(types.size()) + " = " + text + inputs + "\n";
  const Graph parsed = parse_graph(graph);
  return parsed.node(parsed.nodes().back()).op;
}

namespace {

/// A dense window of a tensor whose last axis is 3 longer.
TensorDesc with_gap(TensorDesc desc) {
  if (desc.shape.empty()) return desc;
  Shape wide = desc.shape;
  wide.back() += 3;
  desc.strides = dense_strides(wide, Layout::plain);
  return desc;
}

/// A channels_last window of a tensor with 8 more channels, as Concat's sources and Slice's results are.
TensorDesc with_more_channels(TensorDesc desc) {
  Shape wide = desc.shape;
  wide.at(1) += 8;
  desc = TensorDesc::dense(desc.dtype, desc.shape, Layout::channels_last);
  desc.strides = dense_strides(wide, Layout::channels_last);
  return desc;
}

TensorDesc with_suffix(TensorDesc desc, const std::string& suffix) {
  if (suffix == "nhwc") return TensorDesc::dense(desc.dtype, desc.shape, Layout::channels_last);
  if (suffix == "gap") return with_gap(desc);
  if (suffix == "wide") return with_more_channels(desc);
  if (!suffix.empty()) throw Error(ErrorCode::invalid_argument, "unknown suffix '" + suffix + "'");
  return desc;
}

ProblemLine parse(const std::string& text) {
  ProblemLine line;
  const std::size_t bar = text.find('|');
  const std::string body = text.substr(0, bar);
  const std::size_t close = body.rfind(')');
  if (close == std::string::npos) throw Error(ErrorCode::invalid_argument, "no operator");
  std::vector<std::string> types, suffixes;
  std::istringstream words(body.substr(close + 1));
  for (std::string word; words >> word;) {
    const std::size_t colon = word.find(':');
    types.push_back(word.substr(0, colon));
    suffixes.push_back(colon == std::string::npos ? "" : word.substr(colon + 1));
  }
  std::string destination;
  bool all_outputs = false;
  std::istringstream options(bar == std::string::npos ? "" : text.substr(bar + 1));
  for (std::string word; options >> word;) {
    const std::size_t equal = word.find('=');
    const std::string key = word.substr(0, equal),
                      value = equal == std::string::npos ? "" : word.substr(equal + 1);
    if (key == "expect")
      line.expect = value;
    else if (key == "dst")
      destination = value;
    else if (key == "outputs" && value == "all")
      all_outputs = true;
    else if (key == "special" && value == "yes")
      line.special = true;
    else if (key == "tolerance")
      line.tolerance = std::stod(value);
    else if (key == "range") {
      line.low = std::stod(value);
      line.high = std::stod(value.substr(value.find(':') + 1));
    } else
      throw Error(ErrorCode::invalid_argument, "unknown option '" + word + "'");
  }

  std::string graph_text;
  for (std::size_t i = 0; i < types.size(); ++i)
    graph_text += "%" + std::to_string(i) + " = input \"x" + std::to_string(i) + "\" " + types[i] + "\n";
  const Graph inputs = parse_graph(graph_text);
  std::vector<ValueType> sources;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const ValueType& type = inputs.value(inputs.inputs()[i]).type;
    sources.push_back(type);
    line.problem.srcs.push_back(
        with_suffix(TensorDesc::dense(type.dtype, to_shape(type.shape)), suffixes[i]));
  }
  line.problem.op = parse_op(body.substr(0, close + 1), types);
  ShapeProgram program;
  for (const ValueType& type : infer_types(line.problem.op, sources, program))
    line.problem.dsts.push_back(
        with_suffix(TensorDesc::dense(type.dtype, to_shape(type.shape)), destination));
  const bool optional =
      std::holds_alternative<Pool>(line.problem.op) || std::holds_alternative<LayerNorm>(line.problem.op);
  if (optional && !all_outputs) line.problem.dsts.resize(1);
  return line;
}

}  // namespace

std::vector<ProblemLine> read_problem_lines(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::io, "cannot read " + path);
  std::vector<ProblemLine> lines;
  int number = 0;
  for (std::string text; std::getline(file, text);) {
    ++number;
    if (text.empty() || text[0] == '#') continue;
    try {
      ProblemLine line = parse(text);
      line.file = path.substr(path.rfind('/') + 1);
      line.line = number;
      line.text = text;
      lines.push_back(std::move(line));
    } catch (Error& e) {
      throw e.add_context("in " + path + ":" + std::to_string(number) + ": " + text);
    }
  }
  return lines;
}

}  // namespace headrace::test
