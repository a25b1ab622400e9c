// Every kernel that the CUDA tactics generate for the lines of tests/ops/*.txt compiles; needs NVRTC, no GPU.
#ifdef HEADRACE_CUDA
#include <filesystem>

#include <gtest/gtest.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/nvrtc.h"
#include "ops/problem_line.h"

namespace headrace::test {
namespace {

std::vector<const cuda::GeneratedTactic*> tactics() {
  static const Backend backend = make_cuda_backend();
  std::vector<const cuda::GeneratedTactic*> list;
  for (const auto& tactic : backend.tactics)
    if (const auto* generated = dynamic_cast<const cuda::GeneratedTactic*>(tactic.get()))
      list.push_back(generated);
  return list;
}

/// The same line with f16 in place of f32, which most networks run with.
Problem in_f16(Problem problem) {
  for (auto* list : {&problem.srcs, &problem.dsts})
    for (TensorDesc& d : *list)
      if (d.dtype == DType::f32) d.dtype = DType::f16;
  if (auto* op = std::get_if<Pointwise>(&problem.op))
    for (PwInstr& i : op->expr.code)
      if (i.dtype == DType::f32) i.dtype = DType::f16;
  return problem;
}

class CudaSources : public testing::TestWithParam<std::string> {};

TEST_P(CudaSources, Compile) {
  std::string why;
  if (!cuda::nvrtc_found(&why)) GTEST_SKIP() << why;
  int programs = 0;
  for (const ProblemLine& line : read_problem_lines(HEADRACE_SOURCE_DIR "/tests/ops/" + GetParam()))
    for (const Problem& problem : {line.problem, in_f16(line.problem)})
      for (const auto* tactic : tactics()) {
        if (tactic->refuses(problem)) continue;
        std::vector<Choice> choices = tactic->candidates(problem);
        choices.resize(std::min<std::size_t>(choices.size(), 2));  // all of them run where there is a GPU
        for (const Choice& choice : choices) {
          SCOPED_TRACE(line.file + ":" + std::to_string(line.line) + ": " + line.text + " " +
                       std::string(tactic->id()) + " '" + choice + "'");
          ++programs;
          try {
            for (const cuda::KernelSource& kernel : tactic->generate(problem, choice).launches) {
              const cuda::Cubin cubin = cuda::compile_uncached(kernel.source, "test", "sm_90");
              EXPECT_GT(cubin.size(), 0u);
            }
          } catch (const Error& e) {
            ADD_FAILURE() << e.what();
          }
        }
      }
  EXPECT_GT(programs, 0);
}

std::vector<std::string> files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(HEADRACE_SOURCE_DIR "/tests/ops")) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() == ".txt" && name != "golden.txt" &&
        !name.starts_with("matmul"))  // cuBLASLt has these
      names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}
INSTANTIATE_TEST_SUITE_P(Files, CudaSources, testing::ValuesIn(files()),
                         [](const auto& info) { return info.param.substr(0, info.param.find('.')); });

TEST(CudaNvrtc, AnErrorCarriesTheLog) {
  std::string why;
  if (!cuda::nvrtc_found(&why)) GTEST_SKIP() << why;
  try {
    cuda::compile_uncached("extern \"C\" __global__ void k() { undeclared_name = 1; }", "broken", "sm_90");
    FAIL() << "it compiled";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("undeclared_name"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("broken"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace headrace::test
#endif
