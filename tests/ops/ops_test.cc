// Every line of tests/ops/*.txt on every tactic of every backend that does not refuse it, against the
// reference kernels.
//
// Sources are seeded random numbers; destinations, gaps between their elements, the bytes around them and
// workspaces are poisoned before. Weights are tried as they are and packed, where the tactic packs.
// Everything goes through the Device: uploaded, launched, downloaded. The lines run twice: on the backends of
// the host, and on cuda where there is a GPU.
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <random>

#include <gtest/gtest.h>

#ifdef HEADRACE_CUDA
#include "backends/cuda/codegen_tactic.h"
#endif
#include "device/test_kernels.h"
#include "ops/problem_line.h"
#include "support/paths.h"

namespace headrace::test {
namespace {

constexpr std::byte kPoison{0xC5};
constexpr std::size_t kGuard = 512;  ///< operands begin in the middle of it: 256 bytes on

/// A backend with its device, and a stream to run on.
struct Machine {
  Backend backend;
  DeviceRef device;
  std::unique_ptr<Stream> stream;

  explicit Machine(Backend b)
      : backend(std::move(b)),
        device(backend.make_device(backend.name)),
        stream(device->make_stream({.name = "ops", .inline_execution = true, .threads = 2})) {}
};

/// The backends of a group of tests: "host" or "cuda".
const std::vector<std::unique_ptr<Machine>>& machines(const std::string& group) {
  static std::map<std::string, std::vector<std::unique_ptr<Machine>>> all;
  auto& list = all[group];
  if (!list.empty()) return list;
  if (group == "host") {
    list.push_back(std::make_unique<Machine>(make_reference_backend()));
    list.push_back(std::make_unique<Machine>(make_cpu_backend()));
  }
#ifdef HEADRACE_CUDA
  if (group == "cuda") list.push_back(std::make_unique<Machine>(make_cuda_backend()));
#endif
  return list;
}

/// f(byte offset) of each element, in row-major order.
template <class F>
void for_each(const TensorDesc& desc, F&& f) {
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

/// Memory of a device, `size` bytes with room around them, and its poisoned image on the host. Of a large
/// workspace only the room has an image.
class Region {
 public:
  /// `shift`: bytes by which the operand begins after an aligned address.
  Region(Machine& machine, std::size_t size, bool workspace = false, std::size_t shift = 0)
      : machine_(machine),
        size_(size),
        imaged_(workspace && size > kLargeWorkspace ? 0 : size),
        begin_(workspace ? kGuard : kGuard / 2 + shift),  // workspaces are 256-byte aligned
        memory_(machine.device->allocate(size + 2 * kGuard, MemoryKind::device, MemoryUse::activations)),
        image_(machine.device->allocate(imaged_ + 2 * kGuard, MemoryKind::pinned, MemoryUse::io)) {
    std::memset(image_->host_data(), static_cast<int>(kPoison), image_->size_bytes());
  }
  std::byte* data() { return image_->host_data() + begin_; }
  Operand operand(Access access) { return {memory_.get(), begin_, size_, access}; }
  void upload() {
    machine_.stream->copy(front(*memory_), front(*image_));
    machine_.stream->copy(back(*memory_), back(*image_));
  }
  void download() {
    machine_.stream->copy(front(*image_), front(*memory_));
    machine_.stream->copy(back(*image_), back(*memory_));
  }
  /// Whether only elements of `desc` (any byte, when that is null) may have changed.
  bool outside_is_intact(const TensorDesc* desc) const {
    std::vector<bool> mine(image_->size_bytes(), false);
    if (!desc)
      std::fill_n(mine.begin() + static_cast<std::ptrdiff_t>(begin_), imaged_, true);
    else
      for_each(*desc, [&](std::size_t offset) {
        std::fill_n(mine.begin() + static_cast<std::ptrdiff_t>(begin_ + offset), size_bytes(desc->dtype),
                    true);
      });
    for (std::size_t i = 0; i < mine.size(); ++i)
      if (!mine[i] && image_->host_data()[i] != kPoison) return false;
    return true;
  }

 private:
  static constexpr std::size_t kLargeWorkspace = std::size_t{1} << 20;
  Operand front(Buffer& b) const {
    return {&b, 0, imaged_ == size_ ? kGuard + imaged_ : begin_, Access::write};
  }
  Operand back(Buffer& b) const { return {&b, b.size_bytes() - kGuard, kGuard, Access::write}; }
  Machine& machine_;
  std::size_t size_, imaged_, begin_;
  BufferRef memory_, image_;
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
  const double specials[] = {std::numeric_limits<double>::infinity(), std::nan(""), -1e6};
  if (line.special && seed % 16 == 0)
    for (std::int64_t i = 40, k = 0; i < tensor.elements(); i += 97, ++k)
      tensor.set_double(i, specials[k % 3]);
  return tensor;
}

void scatter(const HostTensor& tensor, const TensorDesc& desc, std::byte* to) {
  const std::byte* from = tensor.bytes().data();
  for_each(desc, [&](std::size_t offset) {
    std::memcpy(to + offset, from, size_bytes(desc.dtype));
    from += size_bytes(desc.dtype);
  });
}
HostTensor collect(const TensorDesc& desc, const std::byte* data) {
  HostTensor tensor(desc.dtype, desc.shape);
  std::byte* to = tensor.mutable_bytes().data();
  for_each(desc, [&](std::size_t offset) {
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
    tolerance = want.dtype() == DType::f64    ? 1e-11
                : want.dtype() == DType::f16  ? 4e-3
                : want.dtype() == DType::bf16 ? 1.6e-2
                                              : 2e-5;
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

  /// Runs the kernel of `problem`, whose source i may be `packed[i]` bytes instead. `shifted`: operands begin
  /// one element after an aligned address, as windows of larger tensors may.
  void run(Machine& machine, const Tactic& tactic, const Problem& problem, const Choice& choice,
           const std::vector<std::optional<Packed>>& packed, bool shifted = false) const {
    const auto shift = [&](const TensorDesc& d) { return shifted ? size_bytes(d.dtype) : 0; };
    const auto kernel = tactic.make(problem, choice);
    std::vector<Region> regions;
    regions.reserve(problem.srcs.size() + problem.dsts.size() + 1);
    std::vector<Operand> operands;
    for (std::size_t i = 0; i < problem.srcs.size(); ++i) {
      Region& region =
          regions.emplace_back(machine, packed[i] ? packed[i]->bytes.size() : problem.srcs[i].span_bytes(),
                               false, packed[i] ? 0 : shift(problem.srcs[i]));
      if (packed[i])
        std::memcpy(region.data(), packed[i]->bytes.data(), packed[i]->bytes.size());
      else
        scatter(sources[i], problem.srcs[i], region.data());
      operands.push_back(region.operand(Access::read));
    }
    for (const TensorDesc& dst : problem.dsts)
      operands.push_back(
          regions.emplace_back(machine, dst.span_bytes(), false, shift(dst)).operand(Access::write));
    Region& workspace = regions.emplace_back(machine, kernel->workspace_bytes(), true);
    for (Region& region : regions) region.upload();
    machine.stream->launch(*kernel, operands, workspace.operand(Access::write));
    for (Region& region : regions) region.download();
    machine.stream->synchronize();
    EXPECT_TRUE(workspace.outside_is_intact(nullptr))
        << "it wrote outside its workspace of " << kernel->workspace_bytes();
    for (std::size_t i = 0; i < problem.dsts.size(); ++i) {
      Region& region = regions[problem.srcs.size() + i];
      EXPECT_TRUE(region.outside_is_intact(&problem.dsts[i])) << "it wrote outside destination " << i;
      EXPECT_EQ(difference(collect(problem.dsts[i], region.data()), expected[i], line.tolerance), "")
          << "destination " << i;
    }
    for (std::size_t i = 0; i < problem.srcs.size(); ++i) {
      if (packed[i]) continue;
      EXPECT_EQ(collect(problem.srcs[i], regions[i].data()), sources[i]) << "it changed source " << i;
    }
  }
};

/// All, or the first and a sample of the rest where a library offers very many.
std::vector<Choice> some_of(std::vector<Choice> choices) {
  constexpr std::size_t kFirst = 8, kMost = 20;
  if (choices.size() <= kMost) return choices;
  std::vector<Choice> some(choices.begin(), choices.begin() + kFirst);
  for (std::size_t i = kFirst; i < kMost; ++i)
    some.push_back(choices[kFirst + (i - kFirst) * (choices.size() - kFirst) / (kMost - kFirst)]);
  return some;
}

/// Kernels of our own look at the alignment when they run; libraries are promised it.
bool takes_any_address([[maybe_unused]] const Tactic& tactic) {
#ifdef HEADRACE_CUDA
  return dynamic_cast<const cuda::GeneratedTactic*>(&tactic) != nullptr;
#else
  return false;
#endif
}

struct Case {
  ProblemLine line;
  std::string group;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.line.text; }
};

/// Says at the end how often each tactic ran.
class Tally final : public testing::Environment {
 public:
  std::map<std::string, int> runs;
  void TearDown() override {
    for (const auto& [tactic, count] : runs) std::printf("%5d runs of %s\n", count, tactic.c_str());
  }
};
Tally& tally = *static_cast<Tally*>(testing::AddGlobalTestEnvironment(new Tally));

class Ops : public testing::TestWithParam<Case> {};

TEST_P(Ops, EveryTacticAgreesWithTheReference) {
  const ProblemLine& line = GetParam().line;
  SCOPED_TRACE(line.file + ":" + std::to_string(line.line) + ": " + line.text);
  Trial trial{line, {}, {}};
  std::vector<const HostTensor*> pointers;
  for (std::size_t i = 0; i < line.problem.srcs.size(); ++i)
    trial.sources.push_back(
        random_source(line.problem.srcs[i], line, static_cast<std::uint64_t>(line.line) * 16 + i));
  for (const HostTensor& source : trial.sources) pointers.push_back(&source);
  trial.expected = evaluate_reference(line.problem.op, pointers);

  int ran = 0;
  const bool on_host = GetParam().group == "host", wants_cuda = line.expect.starts_with("cuda");
  bool expected_ran = line.expect.empty() || wants_cuda == on_host;
  std::string refusals;
  for (const auto& machine : machines(GetParam().group)) {
    const auto inside = machine->device->enter();
    for (const auto& tactic : machine->backend.tactics) {
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
      for (const Choice& choice : some_of(choices)) {
        SCOPED_TRACE(std::string(tactic->id()) + " '" + choice + "'");
        std::vector<std::optional<Packed>> packed(problem.srcs.size());
        ++tally.runs[std::string(tactic->id())];
        trial.run(*machine, *tactic, problem, choice, packed);
        if (takes_any_address(*tactic)) {
          SCOPED_TRACE("shifted by one element");
          trial.run(*machine, *tactic, problem, choice, packed, true);
        }
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
        trial.run(*machine, *tactic, with_packed, choice, packed);
      }
    }
  }
#ifndef HEADRACE_ONEDNN
  const Op& op = line.problem.op;  // this build has no tactics but the reference for these
  if (std::holds_alternative<Conv>(op) || std::holds_alternative<ConvTranspose>(op) ||
      std::holds_alternative<MatMul>(op))
    expected_ran |= on_host;
#endif
  EXPECT_TRUE(expected_ran) << "no tactic '" << line.expect << "...' took it:" << refusals;
  if (on_host)
    EXPECT_GE(ran, 1);
  else if (ran == 0)
    GTEST_SKIP() << "no tactic of " << GetParam().group << " takes it:" << refusals;
}

std::vector<ProblemLine> all_lines() {
  std::vector<ProblemLine> lines;
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::directory_iterator(test::source_dir() + "/tests/ops"))
    if (entry.path().extension() == ".txt" && entry.path().filename() != "golden.txt")
      paths.push_back(entry.path().string());
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths)
    for (ProblemLine& line : read_problem_lines(path)) lines.push_back(std::move(line));
  return lines;
}
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::string group : {"host", "cuda"})
    if (group == "host" || has_cuda())
      for (const ProblemLine& line : all_lines()) all.push_back({line, group});
  return all;
}
INSTANTIATE_TEST_SUITE_P(Lines, Ops, testing::ValuesIn(cases()), [](const auto& info) {
  const ProblemLine& line = info.param.line;
  return info.param.group + "_" + line.file.substr(0, line.file.find('.')) + "_" + std::to_string(line.line);
});

TEST(GpuOps, JoinTheLines) {
  std::string why;
  if (!has_cuda(&why)) GTEST_SKIP() << all_lines().size() << " lines were not run on cuda: " << why;
}

}  // namespace
}  // namespace headrace::test
