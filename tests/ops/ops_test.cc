// Every line of tests/ops/*.txt on every tactic of every backend that does not refuse it, against the
// reference kernels.
//
// Sources are seeded random numbers; destinations, gaps between their elements, the bytes around them and
// workspaces are poisoned before. Weights are tried as they are and packed, where the tactic packs.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>

#include <gtest/gtest.h>

#include "ops/problem_line.h"

namespace headrace::test {
namespace {

constexpr std::byte kPoison{0xC5};
constexpr std::size_t kGuard = 256;

const std::vector<Backend>& backends() {
  static const std::vector<Backend> all = [] {
    std::vector<Backend> list;
    list.push_back(make_reference_backend());
    list.push_back(make_cpu_backend());
    return list;
  }();
  return all;
}

/// Poisoned bytes with room around `size` of them, 64-byte aligned.
class Region {
 public:
  explicit Region(std::size_t size) : bytes_(size + 2 * kGuard + 64, kPoison), size_(size) {
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data()) + kGuard;
    begin_ = kGuard + (64 - address % 64) % 64;
  }
  std::byte* data() { return bytes_.data() + begin_; }
  /// Whether only elements of `desc` may have changed.
  bool outside_is_intact(const TensorDesc* desc) const {
    std::vector<bool> mine(bytes_.size(), false);
    if (!desc) {
      std::fill_n(mine.begin() + static_cast<std::ptrdiff_t>(begin_), size_, true);
    } else {
      for_each(*desc, [&](std::size_t offset) {
        std::fill_n(mine.begin() + static_cast<std::ptrdiff_t>(begin_ + offset), size_bytes(desc->dtype),
                    true);
      });
    }
    for (std::size_t i = 0; i < bytes_.size(); ++i)
      if (!mine[i] && bytes_[i] != kPoison) return false;
    return true;
  }
  /// f(byte offset) of each element, in row-major order.
  template <class F>
  static void for_each(const TensorDesc& desc, F&& f) {
    std::vector<std::int64_t> index(desc.shape.size(), 0);
    for (std::int64_t count = desc.elements(); count > 0; --count) {
      std::int64_t offset = 0;
      for (std::size_t i = 0; i < index.size(); ++i) offset += index[i] * desc.strides[i];
      f(static_cast<std::size_t>(offset) * size_bytes(desc.dtype));
      for (std::size_t axis = index.size(); axis-- > 0;) {
        if (++index[axis] < desc.shape[axis]) break;
        index[axis] = 0;
      }
    }
  }

 private:
  std::vector<std::byte> bytes_;
  std::size_t size_, begin_ = 0;
};

HostTensor random_source(const TensorDesc& desc, const ProblemLine& line, std::uint64_t seed) {
  HostTensor tensor(desc.dtype, desc.shape);
  std::mt19937_64 random(seed);
  const bool usual = line.low == -1 && line.high == 1;
  std::uniform_real_distribution<double> reals(line.low, line.high);
  std::int64_t low = usual ? -4 : static_cast<std::int64_t>(line.low),
               high = usual ? 4 : static_cast<std::int64_t>(line.high);
  if (is_unsigned_int(desc.dtype)) low = std::max<std::int64_t>(low, 0);
  std::uniform_int_distribution<std::int64_t> integers(low, high);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    if (is_float(desc.dtype))
      tensor.set_double(i, reals(random));
    else if (desc.dtype == DType::boolean)
      tensor.set_int(i, integers(random) & 1);
    else
      tensor.set_int(i, integers(random));
  }
  return tensor;
}

void scatter(const HostTensor& tensor, const TensorDesc& desc, std::byte* to) {
  const std::byte* from = tensor.bytes().data();
  Region::for_each(desc, [&](std::size_t offset) {
    std::memcpy(to + offset, from, size_bytes(desc.dtype));
    from += size_bytes(desc.dtype);
  });
}
HostTensor collect(const TensorDesc& desc, const std::byte* data) {
  HostTensor tensor(desc.dtype, desc.shape);
  std::byte* to = tensor.mutable_bytes().data();
  Region::for_each(desc, [&](std::size_t offset) {
    std::memcpy(to, data + offset, size_bytes(desc.dtype));
    to += size_bytes(desc.dtype);
  });
  return tensor;
}

/// "" when equal within the tolerance.
std::string difference(const HostTensor& have, const HostTensor& want, double tolerance) {
  double scale = 1e-3;
  for (std::int64_t i = 0; i < want.elements(); ++i)
    if (std::isfinite(want.at_double(i))) scale = std::max(scale, std::abs(want.at_double(i)));
  if (tolerance == 0)
    tolerance = want.dtype() == DType::f64 ? 1e-11 : want.dtype() == DType::f16 ? 4e-3 : 2e-5;
  for (std::int64_t i = 0; i < want.elements(); ++i) {
    bool equal;
    if (!is_float(want.dtype()))
      equal = have.at_int(i) == want.at_int(i);
    else {
      const double a = have.at_double(i), b = want.at_double(i);
      equal = std::isnan(b) ? std::isnan(a) : std::isinf(b) ? a == b : std::abs(a - b) <= tolerance * scale;
    }
    if (!equal)
      return "element " + std::to_string(i) + " is " + std::to_string(have.at_double(i)) +
             ", the reference has " + std::to_string(want.at_double(i));
  }
  return {};
}

struct Trial {
  const ProblemLine& line;
  std::vector<HostTensor> sources, expected;

  /// Runs the kernel of `problem`, whose source i may be `packed[i]` bytes instead.
  void run(const Tactic& tactic, const Problem& problem, const Choice& choice,
           const std::vector<std::optional<Packed>>& packed) const {
    const auto kernel = tactic.make(problem, choice);
    std::vector<Region> regions;
    regions.reserve(problem.srcs.size() + problem.dsts.size() + 1);
    std::vector<std::byte*> data;
    for (std::size_t i = 0; i < problem.srcs.size(); ++i) {
      regions.emplace_back(packed[i] ? packed[i]->bytes.size() : problem.srcs[i].span_bytes());
      data.push_back(regions.back().data());
      if (packed[i])
        std::memcpy(data.back(), packed[i]->bytes.data(), packed[i]->bytes.size());
      else
        scatter(sources[i], problem.srcs[i], data.back());
    }
    for (const TensorDesc& dst : problem.dsts) {
      regions.emplace_back(dst.span_bytes());
      data.push_back(regions.back().data());
    }
    Region& workspace = regions.emplace_back(kernel->workspace_bytes());
    kernel->launch(nullptr, data, workspace.data());
    EXPECT_TRUE(workspace.outside_is_intact(nullptr))
        << "it wrote outside its workspace of " << kernel->workspace_bytes();
    for (std::size_t i = 0; i < problem.dsts.size(); ++i) {
      const std::size_t at = problem.srcs.size() + i;
      EXPECT_TRUE(regions[at].outside_is_intact(&problem.dsts[i])) << "it wrote outside destination " << i;
      EXPECT_EQ(difference(collect(problem.dsts[i], data[at]), expected[i], line.tolerance), "")
          << "destination " << i;
    }
    for (std::size_t i = 0; i < problem.srcs.size(); ++i) {
      if (packed[i]) continue;
      EXPECT_EQ(collect(problem.srcs[i], data[i]), sources[i]) << "it changed source " << i;
    }
  }
};

class Ops : public testing::TestWithParam<ProblemLine> {};

TEST_P(Ops, EveryTacticAgreesWithTheReference) {
  const ProblemLine& line = GetParam();
  SCOPED_TRACE(line.file + ":" + std::to_string(line.line) + ": " + line.text);
  Trial trial{line, {}, {}};
  std::vector<const HostTensor*> pointers;
  for (std::size_t i = 0; i < line.problem.srcs.size(); ++i)
    trial.sources.push_back(
        random_source(line.problem.srcs[i], line, static_cast<std::uint64_t>(line.line) * 16 + i));
  for (const HostTensor& source : trial.sources) pointers.push_back(&source);
  trial.expected = evaluate_reference(line.problem.op, pointers);

  int ran = 0;
  bool expected_ran = line.expect.empty();
  std::string refusals;
  for (const Backend& backend : backends())
    for (const auto& tactic : backend.tactics) {
      Problem problem = line.problem;
      problem.threads = 2;
      if (const auto refusal = tactic->refuses(problem)) {
        const bool other =
            refusal->reason.starts_with("another operator") || refusal->reason.starts_with("not a ");
        if (!other) refusals += "\n  " + std::string(tactic->id()) + ": " + refusal->reason;
        continue;
      }
      ++ran;
      expected_ran |= std::string_view(tactic->id()).starts_with(line.expect);
      const std::vector<Choice> choices = tactic->candidates(problem);
      ASSERT_FALSE(choices.empty()) << tactic->id();
      for (const Choice& choice : choices) {
        SCOPED_TRACE(std::string(tactic->id()) + " '" + choice + "'");
        std::vector<std::optional<Packed>> packed(problem.srcs.size());
        trial.run(*tactic, problem, choice, packed);
        Problem with_packed = problem;
        bool any = false;
        for (std::size_t i = 1; i < problem.srcs.size(); ++i) {
          if (!problem.srcs[i].is_dense() || problem.srcs[i].layout != Layout::plain) continue;
          packed[i] = tactic->pack(problem, choice, i, trial.sources[i]);
          if (!packed[i]) continue;
          any = true;
          with_packed.srcs[i].layout = Layout::packed;
          with_packed.srcs[i].format = packed[i]->format;
        }
        if (!any) continue;
        SCOPED_TRACE("packed");
        ASSERT_FALSE(tactic->refuses(with_packed)) << tactic->refuses(with_packed)->reason;
        trial.run(*tactic, with_packed, choice, packed);
      }
    }
  EXPECT_GE(ran, 1);
#ifndef HEADRACE_ONEDNN
  const Op& op = line.problem.op;  // this build has no tactics but the reference for these
  if (std::holds_alternative<Conv>(op) || std::holds_alternative<ConvTranspose>(op) ||
      std::holds_alternative<MatMul>(op))
    return;
#endif
  EXPECT_TRUE(expected_ran) << "no tactic '" << line.expect << "...' took it:" << refusals;
}

std::vector<ProblemLine> all_lines() {
  std::vector<ProblemLine> lines;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(HEADRACE_SOURCE_DIR "/tests/ops"))
    if (entry.path().extension() == ".txt" && entry.path().filename() != "golden.txt")
      paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths)
    for (ProblemLine& line : read_problem_lines(path)) lines.push_back(std::move(line));
  return lines;
}
INSTANTIATE_TEST_SUITE_P(Lines, Ops, testing::ValuesIn(all_lines()), [](const auto& info) {
  return info.param.file.substr(0, info.param.file.find('.')) + "_" + std::to_string(info.param.line);
});

}  // namespace

void PrintTo(const ProblemLine& line, std::ostream* out) { *out << line.text; }

}  // namespace headrace::test
