// The small value helpers: checked arithmetic, hashes, handles, hooks, the processor.
#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <headrace/error.h>

#include "base/checked.h"
#include "base/cpu.h"
#include "base/file.h"
#include "base/handle.h"
#include "base/hash.h"
#include "base/hooks.h"

namespace headrace {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();

TEST(Checked, ExactOrError) {
  EXPECT_EQ(checked_add(kMax - 1, 1, "x"), kMax);
  EXPECT_EQ(checked_sub(kMin + 1, 1, "x"), kMin);
  EXPECT_EQ(checked_mul(std::int64_t{1} << 31, std::int64_t{1} << 31, "x"), std::int64_t{1} << 62);
  EXPECT_EQ(align_up(65, 64, "x"), 128);
  EXPECT_EQ(align_up(64, 64, "x"), 64);
  EXPECT_THROW(static_cast<void>(checked_add(kMax, 1, "x")), Error);
  EXPECT_THROW(static_cast<void>(checked_sub(kMin, 1, "x")), Error);
  EXPECT_THROW(static_cast<void>(checked_mul(kMin, -1, "x")), Error);
  EXPECT_THROW(static_cast<void>(align_up(kMax, 64, "x")), Error);
}

TEST(Checked, SizesOfShapes) {
  using Dims = std::vector<std::int64_t>;
  EXPECT_EQ(size_bytes(Dims{2, 3, 4}, 4, "t"), 96u);
  EXPECT_EQ(size_bytes(Dims{}, 8, "scalar"), 8u);
  EXPECT_EQ(size_bytes(Dims{kMax, kMax, 0}, 4, "empty"), 0u);
  EXPECT_THROW(static_cast<void>(size_bytes(Dims{2, -1}, 4, "t")), Error);
  try {
    static_cast<void>(size_bytes(Dims{kMax / 2, 4}, 4, "tensor 'big'"));
    FAIL() << "no overflow";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tensor 'big'"), std::string::npos) << error.what();
  }
}

TEST(Hash, IsTheKnownXxh3) {
  EXPECT_EQ(hash64(""), 0x2d06800538d394c2u);
  EXPECT_EQ(to_string(hash128("")), "99aa06d3014798d86001c324468d497f");
  EXPECT_NE(hash64("a"), hash64("b"));
  EXPECT_NE(hash64("a", 1), hash64("a", 2));
}

TEST(Hash, PiecesEqualTheWhole) {
  std::string text(100'000, 'x');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 31);
  const auto bytes = std::as_bytes(std::span(text));
  Hasher hasher;
  hasher.update(bytes.first(1)).update(bytes.subspan(1, 70'000)).update(bytes.subspan(70'001));
  EXPECT_EQ(hasher.digest128(), hash128(bytes));
  EXPECT_EQ(hasher.digest64(), hash64(bytes));
}

std::vector<int> g_closed;
int close_number(int number) {
  g_closed.push_back(number);
  return 0;
}
using Number = Handle<int, close_number, -1>;

TEST(Handle, ReleasesOnce) {
  g_closed.clear();
  {
    Number empty, one(1), two(2);
    Number moved = std::move(one);
    EXPECT_FALSE(one);
    two = std::move(moved);  // 2 goes
    EXPECT_EQ(g_closed, (std::vector<int>{2}));
    *empty.out() = 3;
    Number kept(4);
    EXPECT_EQ(kept.release(), 4);
  }
  EXPECT_EQ(g_closed, (std::vector<int>{2, 1, 3}));
}

struct Recorder : hooks::Observer {
  std::vector<std::pair<char, const void*>> calls;
  void on_release(const void* token) noexcept override { calls.emplace_back('r', token); }
  void on_acquire(const void* token) noexcept override { calls.emplace_back('a', token); }
};

TEST(Hooks, ReachTheObserverWhileItIsInstalled) {
  Recorder recorder;
  const int token = 0;
  hooks::release(&token);
  EXPECT_EQ(hooks::set_observer(&recorder), nullptr);
  hooks::release(&token);
  hooks::acquire(&token);
  EXPECT_EQ(hooks::set_observer(nullptr), &recorder);
  hooks::acquire(&token);
  EXPECT_EQ(recorder.calls, (std::vector<std::pair<char, const void*>>{{'r', &token}, {'a', &token}}));
}

TEST(Cpu, IsDescribed) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_FALSE(cpu_model_name().empty());
  EXPECT_TRUE(isa_name() == "avx512" || isa_name() == "avx2" || isa_name() == "sse4.1" ||
              isa_name() == "generic");
}

TEST(Cpu, TheSmallestQuotaOfTheGroupAndItsParentsCounts) {
  namespace fs = std::filesystem;
  std::string root = testing::TempDir() + "/headrace-cgroup-XXXXXX";
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  fs::create_directories(root + "/a/b");
  write_file_atomic(root + "/a/cpu.max", "150000 100000\n");
  write_file_atomic(root + "/a/b/cpu.max", "max 100000\n");
  EXPECT_DOUBLE_EQ(detail::cgroup_quota(root, "/a/b"), 1.5);
  EXPECT_DOUBLE_EQ(detail::cgroup_quota(root, "/"), 0);
  write_file_atomic(root + "/cpu.max", "50000 100000\n");
  EXPECT_DOUBLE_EQ(detail::cgroup_quota(root, "/a/b"), 0.5);
  fs::remove_all(root);
}

}  // namespace
}  // namespace headrace
