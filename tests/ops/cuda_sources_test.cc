// Every kernel that the CUDA tactics generate for the lines of tests/ops/*.txt compiles, each for one
// architecture in turn and the first of each tactic for all; and every core operator has a tactic. Needs
// NVRTC, no GPU.
#ifdef HEADRACE_CUDA
#include <filesystem>
#include <set>

#include <gtest/gtest.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/nvrtc.h"
#include "backends/cuda/stem.h"
#include "ops/problem_line.h"
#include "support/paths.h"

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

/// The same line with 16 bits in place of f32, which most networks run with.
Problem in_half(Problem problem, DType half) {
  for (auto* list : {&problem.srcs, &problem.dsts})
    for (TensorDesc& d : *list)
      if (d.dtype == DType::f32) d.dtype = half;
  if (auto* op = std::get_if<Pointwise>(&problem.op))
    for (PwInstr& i : op->expr.code)
      if (i.dtype == DType::f32) i.dtype = half;
  return problem;
}

/// Those that headrace runs on, as far as this NVRTC knows them.
std::vector<std::string> architectures() {
  std::vector<std::string> list{"sm_90", "sm_75", "sm_80", "sm_86", "sm_89"};
  if (std::stoi(cuda::nvrtc_version()) >= 13) list.insert(list.end(), {"sm_100", "sm_120"});
  return list;
}

class CudaSources : public testing::TestWithParam<std::string> {};

TEST_P(CudaSources, Compile) {
  std::string why;
  if (!cuda::nvrtc_found(&why)) GTEST_SKIP() << why;
  const std::vector<std::string> all = architectures();
  std::set<std::string> met, compiled;  // tactics; sources
  std::size_t programs = 0;
  for (const ProblemLine& line : read_problem_lines(test::source_dir() + "/tests/ops/" + GetParam()))
    for (const Problem& problem :
         {line.problem, in_half(line.problem, DType::f16), in_half(line.problem, DType::bf16)})
      for (const auto* tactic : tactics()) {
        if (tactic->refuses(problem)) continue;
        std::vector<Choice> choices = tactic->candidates(problem);
        choices.resize(std::min<std::size_t>(choices.size(), 2));  // all of them run where there is a GPU
        for (const Choice& choice : choices) {
          SCOPED_TRACE(line.file + ":" + std::to_string(line.line) + ": " + line.text + " " +
                       std::string(tactic->id()) + " '" + choice + "'");
          const bool first = met.insert(std::string(tactic->id())).second;
          const std::vector<std::string> some{all[programs++ % all.size()]};
          for (const std::string& arch : first ? all : some) {
            try {
              for (const cuda::KernelSource& kernel : tactic->generate(problem, choice).launches) {
                if (first || compiled.insert(kernel.source).second) {
                  EXPECT_GT(cuda::compile_uncached(kernel.source, "test", arch).size(), 0u);
                }
              }
            } catch (const Error& e) {
              ADD_FAILURE() << e.what();
            }
          }
        }
      }
  EXPECT_GT(programs, 0u);
}

std::vector<std::string> files() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_dir() + "/tests/ops")) {
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

TEST(CudaTactics, EveryCoreOperatorHasOne) {
  const Backend backend = make_cuda_backend();
  std::set<std::string_view> asked, taken;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_dir() + "/tests/ops")) {
    if (entry.path().extension() != ".txt" || entry.path().filename() == "golden.txt") continue;
    for (const ProblemLine& line : read_problem_lines(entry.path().string())) {
      asked.insert(name(line.problem.op));
      for (const auto& tactic : backend.tactics)
        if (!tactic->refuses(line.problem)) taken.insert(name(line.problem.op));
    }
  }
#if !__has_include(<cublasLt.h>)
  taken.insert("MatMul");
#endif
  EXPECT_EQ(asked.size(), std::variant_size_v<Op> - 1) << "all but Custom have lines in tests/ops";
  EXPECT_EQ(taken, asked);
}

TEST(CudaStem, WarpgroupsCompileForHopper) {
  std::string why;
  if (!cuda::nvrtc_found(&why)) GTEST_SKIP() << why;
  int compiled = 0;
  for (const ProblemLine& line : read_problem_lines(test::source_dir() + "/tests/ops/conv_stem_f16.txt")) {
    SCOPED_TRACE(line.text);
    if (cuda::refuse_stem(line.problem) || line.problem.dsts[0].elements() == 0) continue;
    const cuda::Stem stem(line.problem);
    for (const cuda::StemTile& tile : cuda::stem_tiles(stem, true)) {
      if (!tile.warpgroups) continue;
      const cuda::KernelSource kernel = cuda::stem_source(line.problem, stem, tile);
      EXPECT_GT(cuda::compile_uncached(kernel.source, "stem", "sm_90a").size(), 0u);
      ++compiled;
      break;
    }
  }
  EXPECT_GT(compiled, 10);
}

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
