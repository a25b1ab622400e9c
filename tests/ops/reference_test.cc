// The reference kernels against expected values that numpy and ONNX's Python reference computed (golden.txt),
// on dense tensors and on strided ones.
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "ops/problem_line.h"
#include "support/paths.h"

namespace headrace::test {
namespace {

struct Golden {
  std::string name, op;
  std::vector<HostTensor> inputs, outputs;
  std::vector<std::string> input_types;
};

HostTensor parse_tensor(const std::string& text, std::string& type) {
  std::istringstream words(text);
  words >> type;
  const Op carrier = parse_op("Reorder()", {type});
  static_cast<void>(carrier);  // checks the type's text
  const std::size_t bracket = type.find('[');
  static const std::map<std::string, DType> dtypes = {
      {"f32", DType::f32}, {"f16", DType::f16}, {"f64", DType::f64}, {"i8", DType::i8},
      {"i16", DType::i16}, {"i32", DType::i32}, {"i64", DType::i64}, {"u8", DType::u8},
      {"u16", DType::u16}, {"u32", DType::u32}, {"u64", DType::u64}, {"bool", DType::boolean}};
  Shape shape;
  std::string extents = type.substr(bracket + 1, type.size() - bracket - 2);
  if (extents != "scalar") {
    for (char& c : extents) c = c == 'x' ? ' ' : c;
    std::istringstream numbers(extents);
    for (std::int64_t n; numbers >> n;) shape.push_back(n);
  }
  HostTensor tensor(dtypes.at(type.substr(0, bracket)), shape);
  std::int64_t i = 0;
  for (std::string word; words >> word; ++i) {
    if (is_float(tensor.dtype()))
      tensor.set_double(i, std::stod(word));
    else if (tensor.dtype() == DType::u64)
      tensor.set_int(i, static_cast<std::int64_t>(std::stoull(word)));
    else
      tensor.set_int(i, std::stoll(word));
  }
  if (i != tensor.elements()) throw Error(ErrorCode::invalid_argument, "wrong number of values: " + text);
  return tensor;
}

std::vector<Golden> read_goldens() {
  std::ifstream file(test::source_dir() + "/tests/ops/golden.txt");
  std::vector<Golden> goldens;
  std::string type;
  for (std::string line; std::getline(file, line);) {
    const std::size_t blank = line.find(' ');
    const std::string key = line.substr(0, blank),
                      rest = blank == std::string::npos ? "" : line.substr(blank + 1);
    if (key == "test")
      goldens.push_back({.name = rest});
    else if (key == "op")
      goldens.back().op = rest;
    else if (key == "in") {
      goldens.back().inputs.push_back(parse_tensor(rest, type));
      goldens.back().input_types.push_back(type);
    } else if (key == "out") {
      goldens.back().outputs.push_back(parse_tensor(rest, type));
    }
  }
  return goldens;
}

void expect_close(const HostTensor& have, const HostTensor& want) {
  ASSERT_EQ(have.dtype(), want.dtype());
  ASSERT_EQ(have.shape(), want.shape());
  const double tolerance = want.dtype() == DType::f64 ? 1e-12 : want.dtype() == DType::f16 ? 1e-3 : 5e-6;
  for (std::int64_t i = 0; i < want.elements(); ++i) {
    if (!is_float(want.dtype())) {
      ASSERT_EQ(have.at_int(i), want.at_int(i)) << "element " << i;
      continue;
    }
    const double a = have.at_double(i), b = want.at_double(i);
    if (std::isnan(b) || std::isinf(b))
      ASSERT_TRUE(std::isnan(b) ? std::isnan(a) : a == b) << "element " << i << ": " << a;
    else
      ASSERT_NEAR(a, b, tolerance * std::max(1.0, std::abs(b))) << "element " << i;
  }
}

class Reference : public testing::TestWithParam<Golden> {};

TEST_P(Reference, IsNumpy) {
  const Golden& golden = GetParam();
  std::vector<const HostTensor*> inputs;
  for (const HostTensor& input : golden.inputs) inputs.push_back(&input);
  const std::vector<HostTensor> outputs = evaluate_reference(parse_op(golden.op, golden.input_types), inputs);
  ASSERT_GE(outputs.size(), golden.outputs.size());
  for (std::size_t i = 0; i < golden.outputs.size(); ++i) {
    SCOPED_TRACE("output " + std::to_string(i));
    expect_close(outputs[i], golden.outputs[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Reference, testing::ValuesIn(read_goldens()),
                         [](const auto& info) { return info.param.name; });

TEST(ReferenceBackend, HasATacticForEveryOperatorButCustom) {
  const Backend backend = make_reference_backend();
  EXPECT_EQ(backend.tactics.size(), std::variant_size_v<Op> - 1);
}

TEST(ReferenceBackend, RefusesShapesThatTheRuleDoesNotGive) {
  const Backend backend = make_reference_backend();
  Problem problem{
      Concat{.axis = 0}, {TensorDesc::dense(DType::f32, {2, 2})}, {TensorDesc::dense(DType::f32, {1, 2})}};
  for (const auto& tactic : backend.tactics) {
    if (tactic->id() == "reference.concat") {
      EXPECT_THROW(static_cast<void>(tactic->make(problem, {})), Error);
    }
  }
}

TEST(ReferenceBackend, LaunchWithTooFewOperandsIsAnError) {
  const Backend backend = make_reference_backend();
  Problem problem{Reorder{}, {TensorDesc::dense(DType::f32, {2})}, {TensorDesc::dense(DType::f32, {2})}};
  for (const auto& tactic : backend.tactics) {
    if (tactic->id() != "reference.reorder") continue;
    std::byte* none[1] = {nullptr};
    EXPECT_THROW(tactic->make(problem, {})->launch(nullptr, none, nullptr), Error);
  }
}

}  // namespace
}  // namespace headrace::test
