// Runs the headrace binary as a process of its own and keeps what it said.
//
// Use: struct MyTest : CliTest {};  CommandResult r = headrace({"run", plan, "--seed", "1"});
// EXPECT_EQ(r.exit_code, 0); Contract: every test has a fresh folder, removed at its end. A process that a
// signal ended has the exit code 128 + signal.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include <headrace/headrace.h>

#include "support/onnx_writer.h"
#include "support/paths.h"

namespace headrace::test {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::HasSubstr;

struct CommandResult {
  int exit_code = -1;
  std::string out, err;
};

inline std::string read_all(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_all(const fs::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  ASSERT_TRUE(file.good()) << path;
}

/// Weights of the small model, in [-0.5, 0.5).
inline std::vector<float> weights(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(random() >> 8) / (1 << 24) - 0.5f;
  return values;
}

/// x Nx3x6x6 -> Conv 3x3 (pads 1, 4 maps) -> Relu -> Flatten -> Gemm (transB, 5 outputs) -> y Nx5.
struct SmallModel {
  std::vector<float> conv_w = weights(4 * 3 * 3 * 3, 1), conv_b = weights(4, 2);
  std::vector<float> gemm_w = weights(5 * 144, 3), gemm_b = weights(5, 4);

  std::string onnx(bool with_relu = true) const {
    OnnxWriter w;
    w.input("x", kOnnxFloat, {"N", 3, 6, 6});
    w.initializer("conv_w", kOnnxFloat, {4, 3, 3, 3}, conv_w);
    w.initializer("conv_b", kOnnxFloat, {4}, conv_b);
    w.initializer("gemm_w", kOnnxFloat, {5, 144}, gemm_w);
    w.initializer("gemm_b", kOnnxFloat, {5}, gemm_b);
    w.node(
        "Conv", {"x", "conv_w", "conv_b"}, {"conv"},
        {{"kernel_shape", std::vector<std::int64_t>{3, 3}}, {"pads", std::vector<std::int64_t>{1, 1, 1, 1}}},
        "conv1");
    if (with_relu) w.node("Relu", {"conv"}, {"relu"}, {}, "relu1");
    w.node("Flatten", {with_relu ? "relu" : "conv"}, {"flat"}, {{"axis", std::int64_t{1}}}, "flatten1");
    w.node("Gemm", {"flat", "gemm_w", "gemm_b"}, {"y"}, {{"transB", std::int64_t{1}}}, "gemm1");
    w.output("y", kOnnxFloat, {"N", 5});
    return w.model();
  }

  /// The same in plain loops.
  std::vector<double> evaluate(const std::vector<float>& x, int batch) const {
    std::vector<double> y;
    for (int n = 0; n < batch; ++n) {
      std::vector<double> maps(144);
      for (int m = 0; m < 4; ++m)
        for (int i = 0; i < 6; ++i)
          for (int j = 0; j < 6; ++j) {
            double sum = conv_b[static_cast<std::size_t>(m)];
            for (int c = 0; c < 3; ++c)
              for (int u = 0; u < 3; ++u)
                for (int v = 0; v < 3; ++v) {
                  const int a = i + u - 1, b = j + v - 1;
                  if (a < 0 || a > 5 || b < 0 || b > 5) continue;
                  sum +=
                      static_cast<double>(conv_w[static_cast<std::size_t>(((m * 3 + c) * 3 + u) * 3 + v)]) *
                      static_cast<double>(x[static_cast<std::size_t>(((n * 3 + c) * 6 + a) * 6 + b)]);
                }
            maps[static_cast<std::size_t>((m * 6 + i) * 6 + j)] = std::max(sum, 0.0);
          }
      for (std::size_t o = 0; o < 5; ++o) {
        double sum = gemm_b[o];
        for (std::size_t k = 0; k < 144; ++k) sum += static_cast<double>(gemm_w[o * 144 + k]) * maps[k];
        y.push_back(sum);
      }
    }
    return y;
  }
};

class CliTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/headrace-cli-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    ASSERT_TRUE(fs::exists(test::headrace_binary())) << "build the target `headrace` first";
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  CommandResult headrace(const std::vector<std::string>& arguments) const {
    const std::string out = path("stdout.txt"), err = path("stderr.txt");
    const pid_t pid = ::fork();
    if (pid == 0) {
      std::vector<char*> argv;
      std::string binary = test::headrace_binary();
      argv.push_back(binary.data());
      std::vector<std::string> copy = arguments;
      for (std::string& a : copy) argv.push_back(a.data());
      argv.push_back(nullptr);
      ::alarm(limit_s_);  // survives exec
      if (!temporary_folder_.empty()) ::setenv("TMPDIR", temporary_folder_.c_str(), 1);
      if (::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1) != 1 ||
          ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2) != 2)
        ::_exit(126);
      ::execv(binary.c_str(), argv.data());
      ::_exit(127);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    CommandResult result;
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.out = read_all(out);
    result.err = read_all(err);
    fs::remove(out);
    fs::remove(err);
    return result;
  }

  /// Writes the model and builds it with a batch of 1 to 4.
  std::string build_small(const std::vector<std::string>& more = {}) const {
    write_all(path("small.onnx"), SmallModel().onnx());
    std::vector<std::string> arguments = {"build",     path("small.onnx"), "-o",          path("small.plan"),
                                          "--profile", "*=1:2:4",          "--opt-level", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult r = headrace(arguments);
    EXPECT_EQ(r.exit_code, 0) << r.err;
    return path("small.plan");
  }

  /// Fails with this code, says `message` on stderr, in one error line that is no internal error.
  void expect_failure(const std::vector<std::string>& arguments, int exit_code,
                      const std::string& message) const {
    const CommandResult r = headrace(arguments);
    EXPECT_EQ(r.exit_code, exit_code) << r.err;
    EXPECT_THAT(r.err, HasSubstr(message));
    EXPECT_THAT(r.err, testing::Not(HasSubstr("internal error")));
  }

  std::string save_f32(const std::string& name, const Shape& shape, const std::vector<float>& values) const {
    save_npy(path(name), ConstTensorView(std::span(values), shape));
    return path(name);
  }

  fs::path folder_;
  std::string temporary_folder_;  ///< of the command; empty: that of the machine
  unsigned limit_s_ = 600;        ///< a command that runs longer ends with 128 + SIGALRM
};

}  // namespace headrace::test
