// The cache of compiled kernels on disk: kept, found again, never trusted blindly.
#ifdef HEADRACE_CUDA
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/cuda/nvrtc.h"
#include "base/file.h"

namespace headrace::cuda {
namespace {

namespace fs = std::filesystem;

const std::string kSource = "extern \"C\" __global__ void headrace_kernel(int* p) { *p = 7; }\n";

class KernelCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (!nvrtc_found(&why)) GTEST_SKIP() << why;
    root_ = fs::temp_directory_path() / ("headrace_kernels_" + std::to_string(::getpid()));
    fs::remove_all(root_);
    folder_ = root_ / "kernels";
  }
  void TearDown() override { fs::remove_all(root_); }
  std::vector<fs::path> entries() const {
    std::vector<fs::path> files;
    if (fs::exists(folder_))
      for (const auto& e : fs::directory_iterator(folder_)) files.push_back(e.path());
    return files;
  }
  fs::path root_, folder_;
};

TEST_F(KernelCacheTest, KeepsOneEntryPerSourceAndArchitectureInAPrivateFolder) {
  const DiskCache disk(folder_);
  const KernelCache cache(disk);
  const Cubin first = cache.compile(kSource, "k", "sm_90");
  EXPECT_EQ(cache.compile(kSource, "k", "sm_90"), first);
  EXPECT_EQ(entries().size(), 1u);
  cache.compile(kSource, "k", "sm_80");
  cache.compile(kSource + "// other", "k", "sm_90");
  EXPECT_EQ(entries().size(), 3u);
  struct stat info {};
  ASSERT_EQ(::stat(folder_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(KernelCacheTest, AnEntryIsReadAgain) {
  const DiskCache disk(folder_);
  const KernelCache cache(disk);
  cache.compile(kSource, "k", "sm_90");
  // The entry of one source under the name of another: its key does not fit, so it is compiled and replaced.
  const fs::path one = entries().at(0);
  cache.compile(kSource + "// other", "k", "sm_90");
  for (const fs::path& file : entries())
    if (file != one) fs::copy_file(one, file, fs::copy_options::overwrite_existing);
  const Cubin other = cache.compile(kSource + "// other", "k", "sm_90");
  EXPECT_EQ(other, compile_uncached(kSource + "// other", "k", "sm_90"));
  // An intact entry is not written anew.
  const auto before = fs::last_write_time(one);
  cache.compile(kSource, "k", "sm_90");
  EXPECT_EQ(fs::last_write_time(one), before);
}

TEST_F(KernelCacheTest, DamagedEntriesAreCompiledAnew) {
  const DiskCache disk(folder_);
  const KernelCache cache(disk);
  const Cubin good = cache.compile(kSource, "k", "sm_90");
  const fs::path file = entries().at(0);
  std::vector<std::byte> bytes = read_file(file);
  for (const std::size_t at : {std::size_t{0}, std::size_t{20}, bytes.size() / 2, bytes.size() - 1}) {
    std::vector<std::byte> bad = bytes;
    bad[at] ^= std::byte{0x40};
    write_file_atomic(file, bad);
    EXPECT_EQ(cache.compile(kSource, "k", "sm_90"), good) << "byte " << at;
    EXPECT_EQ(read_file(file), bytes) << "byte " << at;
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{47}, bytes.size() - 1}) {
    write_file_atomic(file, std::span<const std::byte>(bytes).first(size));
    EXPECT_EQ(cache.compile(kSource, "k", "sm_90"), good) << "cut to " << size;
  }
}

TEST_F(KernelCacheTest, AFolderThatOthersCanOpenIsNotUsed) {
  fs::create_directories(folder_);
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  const DiskCache disk(folder_);
  EXPECT_FALSE(KernelCache(disk).compile(kSource, "k", "sm_90").empty());
  EXPECT_TRUE(entries().empty());
}

TEST_F(KernelCacheTest, ALinkIsNotFollowed) {
  const DiskCache disk(folder_);
  const KernelCache cache(disk);
  const Cubin good = cache.compile(kSource, "k", "sm_90");
  const fs::path file = entries().at(0), elsewhere = root_ / "elsewhere";
  fs::rename(file, elsewhere);
  fs::create_symlink(elsewhere, file);
  EXPECT_EQ(cache.compile(kSource, "k", "sm_90"), good);
  EXPECT_FALSE(fs::is_symlink(file));
}

// Of what is kept, the part that was not used for longest goes when the folder is full.
TEST(DiskCacheTest, IsBounded) {
  const fs::path root = fs::temp_directory_path() / ("headrace_bounded_" + std::to_string(::getpid()));
  fs::remove_all(root);
  const DiskCache cache(root / "kernels", 64 << 10);
  const std::vector<std::byte> bytes(4000, std::byte{7});
  const auto name = [](int i) { return "entry " + std::to_string(i); };
  for (int i = 0; i < 300; ++i) cache.keep(name(i), "test", bytes);
  std::uint64_t total = 0;
  for (const auto& e : fs::directory_iterator(root / "kernels")) total += e.file_size();
  EXPECT_LE(total, (64u << 10) + 32 * 4048u);
  EXPECT_GT(total, 20u << 10);
  EXPECT_EQ(cache.find(name(299), "test"), bytes);
  EXPECT_EQ(cache.find(name(299), "other"), std::nullopt);
  EXPECT_EQ(cache.find(name(0), "test"), std::nullopt);
  fs::remove_all(root);
}

}  // namespace
}  // namespace headrace::cuda
#endif
